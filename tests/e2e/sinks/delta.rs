//! Delta tables, as others read them: the Python package `deltalake`, and a plain
//! reader of the log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use crate::packages::python_with;
use crate::rows::form::{
    Event, Profile, assert_same, delta_files, expected_events, expected_profiles, in_delta, sorted,
    written_by,
};
use crate::support::{Place, events, pipeline, profiles, sim, started, workers};
use crate::trust::kills::{assert_no_leftovers, kill_at};

const SINK: &str = "[sink]\ntype = \"delta\"\npath = \"out\"\n";

fn sink(mode: &str) -> String {
    format!("{SINK}mode = \"{mode}\"\n")
}

fn days(from: i8, to: i8) -> String {
    format!("from = \"2024-01-{from:02}\"\nto = \"2024-01-{to:02}\"\n")
}

fn expected(sim: &Simulator, from: i8, to: i8) -> Vec<Event> {
    let query = ExportQuery::new(date(2024, 1, from), date(2024, 1, to));
    sorted(expected_events(sim, &query))
}

fn rows(place: &Place) -> Vec<Event> {
    written_by("delta", &place.path("out"))
}

/// The other reader; it reads and writes Arrow.
fn deltalake() -> Option<PathBuf> {
    python_with(
        "deltalake",
        &["deltalake==1.*", "pyarrow"],
        "deltalake, pyarrow",
    )
}

/// Has Python say something of the table `t`.
#[track_caller]
fn said(python: &Path, table: &Path, script: &str) -> String {
    let script = format!(
        "import sys, json, deltalake\nt = deltalake.DeltaTable(sys.argv[1])\n\
         rows = lambda: t.to_pyarrow_table()\n{script}\n\
         import os\nsys.stdout.flush()\n\
         os._exit(0) # pyarrow's threads may abort the process at its end"
    );
    let output = Command::new(python)
        .args(["-c", &script])
        .arg(table)
        .output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn another_reader_sees_the_rows_their_types_and_statistics() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let table = place.path("out");
    place
        .run(&pipeline(&[&events(&sim, ""), &sink("create")]))
        .0
        .ended(0);
    let all = expected(&sim, 1, 14);
    assert_same(&rows(&place), &all);
    let Some(python) = deltalake() else { return };
    assert_eq!(
        said(&python, &table, "print(t.version(), rows().num_rows)"),
        format!("0 {}", all.len())
    );
    let types = said(
        &python,
        &table,
        "print(*[f'{f.name}:{f.type.type}' for f in t.schema().fields])",
    );
    assert_eq!(
        types,
        "event_name:string event_time:timestamp distinct_id:string insert_id:string properties:string date:date"
    );
    // The partition is the UTC day of the time, and properties are JSON.
    let agree = said(
        &python,
        &table,
        "r = rows().to_pylist()\n\
         print(all(x['event_time'].date() == x['date'] and isinstance(json.loads(x['properties']), dict) for x in r))",
    );
    assert_eq!(agree, "True");
    let ids = said(
        &python,
        &table,
        "print(*sorted(rows()['insert_id'].to_pylist()))",
    );
    let mut ours: Vec<String> = rows(&place).into_iter().map(|row| row.insert_id).collect();
    ours.sort();
    assert_eq!(ids, ours.join(" "));
    let partitions = said(
        &python,
        &table,
        "print(t.metadata().partition_columns, len(t.partitions()))",
    );
    assert_eq!(partitions, "['date'] 14");
    // By what the log says of files a reader skips those of other days.
    let stats = said(
        &python,
        &table,
        "import pyarrow as pa\na = pa.table(t.get_add_actions(flatten=True)).to_pylist()\n\
         print(sum(x['num_records'] for x in a), all(x['min.event_time'].date() == x['partition.date'] == x['max.event_time'].date() and x['min.event_name'] <= x['max.event_name'] for x in a))",
    );
    assert_eq!(stats, format!("{} True", all.len()));
    let one = said(
        &python,
        &table,
        "print(t.to_pyarrow_table(filters=[('date', '=', __import__('datetime').date(2024, 1, 5))]).num_rows)",
    );
    assert_eq!(one, expected(&sim, 5, 5).len().to_string());
}

#[test]
fn profiles_are_a_table_without_partitions() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    for mode in ["create", "replace"] {
        place
            .run(&pipeline(&[&profiles(&sim, ""), &sink(mode)]))
            .0
            .ended(0);
        let found: Vec<Profile> = sorted(in_delta(&place.path("out")));
        let all = expected_profiles(&sim, &mixflow_tests::sim::EngageQuery::default());
        assert_same(&found, &sorted(all));
    }
    let (live, _) = delta_files(&place.path("out"));
    assert!(live.iter().all(|file| !file.contains("date=")), "{live:?}");
    place
        .run(&pipeline(&[&profiles(&sim, ""), &sink("replace_window")]))
        .0
        .ended(2);
}

#[test]
fn days_are_replaced_and_the_ledger_knows_them() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let two = |more: &str| events(&sim, &format!("{}{more}", days(1, 3)));
    // A day cannot be had: the others are there, and it is named.
    sim.add_fault(Fault::always(
        Matcher::export_from(date(2024, 1, 2)),
        Action::Status {
            code: 400,
            retry_after: None,
            body: None,
        },
    ));
    let text = pipeline(&[&two(""), &sink("replace_window"), &workers(2)]);
    place.run(&text).0.ended(3);
    let gaps = |place: &Place| {
        place.mixflow(&[
            "gaps",
            "test.toml",
            "--from",
            "2024-01-01",
            "--to",
            "2024-01-05",
            "--format",
            "csv",
        ])
    };
    let lacks = |place: &Place| gaps(place).stdout_lossy();
    assert_eq!(
        lacks(&place),
        "first,last,days\n2024-01-02,2024-01-02,1\n2024-01-04,2024-01-05,2\n"
    );
    sim.clear_faults();
    place
        .mixflow(&["run", "test.toml", "--only-failed"])
        .ended(0);
    assert_same(&rows(&place), &expected(&sim, 1, 3));
    place
        .mixflow(&[
            "backfill",
            "test.toml",
            "--from",
            "2024-01-01",
            "--to",
            "2024-01-05",
            "--commit-every",
            "1",
        ])
        .ended(0);
    assert_same(&rows(&place), &expected(&sim, 1, 5));
    gaps(&place).ended(0);
    // `last` goes on where the table ends.
    let before = sim.requests().len();
    let catch_up = events(
        &sim,
        "from = \"last\"\nto = \"2024-01-06\"\nstart = \"2024-01-01\"\n",
    );
    place
        .run(&pipeline(&[&catch_up, &sink("replace_window")]))
        .0
        .ended(0);
    assert_eq!(sim.requests().len(), before + 1);
    assert_same(&rows(&place), &expected(&sim, 1, 6));
    let status = place.mixflow(&[
        "status",
        "test.toml",
        "--from",
        "2024-01-06",
        "--to",
        "2024-01-07",
        "--format",
        "csv",
    ]);
    let status = status.ended(0).stdout_lossy();
    assert!(
        status.contains(&format!(
            "2024-01-06,complete,{}",
            expected(&sim, 6, 6).len()
        )),
        "{status}"
    );
    assert!(status.contains("2024-01-07,missing"), "{status}");
}

#[test]
fn typed_columns_come_by_themselves() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let run = |from, to, extract: &str, code| {
        let source = events(&sim, &days(from, to));
        place
            .run(&pipeline(&[&source, extract, &sink("append")]))
            .0
            .ended(code)
    };
    run(1, 1, "", 0);
    let extract = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"browser\", path = \"$browser\", type = \"text\" }, { name = \"browser_version\", path = \"$browser_version\", type = \"int\" }]\n";
    run(2, 2, extract, 0);
    assert_same(&rows(&place), &expected(&sim, 1, 2));
    // A pipeline without them would leave them out for no reason that it gives.
    run(3, 3, "", 6);
    if let Some(python) = deltalake() {
        let script = "c = rows()\nprint(*c.column_names, c['browser'].null_count == EXPECTED, c['browser_version'].type)"
            .replace("EXPECTED", &expected(&sim, 1, 1).len().to_string());
        let told = said(&python, &place.path("out"), &script);
        assert!(
            told.starts_with("event_name event_time distinct_id insert_id properties")
                && told.contains("browser browser_version"),
            "{told}"
        );
        assert!(told.ends_with("int64"), "{told}");
    }
}

#[test]
fn a_foreign_table_is_refused_before_any_request() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let folder = "[sink]\ntype = \"parquet\"\npath = \"out\"\n";
    place
        .run(&pipeline(&[&events(&sim, &days(1, 1)), folder]))
        .0
        .ended(0);
    let before = sim.requests().len();
    for mode in ["create", "append", "replace", "replace_window"] {
        let text = pipeline(&[&events(&sim, &days(1, 1)), &sink(mode)]);
        let (ran, report) = place.run(&text);
        ran.ended(6).says("out");
        assert_eq!(report["error"]["kind"], "destination");
    }
    if let Some(python) = deltalake() {
        let other = Place::new();
        let script = "import sys, deltalake, pyarrow\n\
                      deltalake.write_deltalake(sys.argv[1], pyarrow.table({'event_name': ['a']}))";
        let made = Command::new(&python)
            .args(["-c", script])
            .arg(other.path("out"))
            .status();
        assert!(made.unwrap().success());
        for mode in ["create", "append", "replace", "replace_window"] {
            let text = pipeline(&[&events(&sim, &days(1, 1)), &sink(mode)]);
            other
                .run(&text)
                .0
                .ended(6)
                .says("it was not made by mixflow");
        }
    }
    assert_eq!(sim.requests().len(), before);
}

/// When a process is killed: so long after it began to commit, in microseconds.
fn delays(n: u64) -> impl Iterator<Item = u64> {
    // Spread, and the same each time.
    (0..n).map(|n| n * 7_919 % 60 * 500)
}

#[test]
fn sixty_kills_leave_one_version_or_the_next() {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 3),
        3_000,
        0,
        1,
    )));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, &days(1, 3)), &sink("replace_window")]);
    place.run(&text).0.ended(0);
    let (mut before, mut after) = (0, 0);
    for (n, delay) in (2..).zip(delays(60)) {
        let old = rows(&place);
        sim.set_data(Data::generated_between(
            date(2024, 1, 1),
            date(2024, 1, 3),
            3_000,
            0,
            n,
        ));
        let mut child = place.spawn(&["run", "test.toml", "--progress", "json"]);
        let told = std::io::BufReader::new(child.stderr.take().unwrap());
        for line in std::io::BufRead::lines(told) {
            if line.unwrap().contains("\"committing\"") {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        // Else the next run takes the windows that this one has kept.
        std::fs::remove_dir_all(place.path("state")).unwrap();
        let found = rows(&place);
        if found == old {
            before += 1;
        } else {
            assert_same(&found, &expected(&sim, 1, 3));
            after += 1;
        }
    }
    eprintln!("as it was: {before}, as it should be: {after}");
    assert!(before > 0 && after > 0, "{before}, {after}");
    place.mixflow(&["vacuum", "test.toml"]).ended(0);
    assert_no_leftovers(&place.path("out"));
    place.run(&text).0.ended(0);
    assert_same(&rows(&place), &expected(&sim, 1, 3));
    if let Some(python) = deltalake() {
        let told = said(&python, &place.path("out"), "print(rows().num_rows)");
        assert_eq!(told, "3000");
    }
}

#[test]
fn vacuum_removes_what_dead_runs_have_left() {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 4),
        12_000,
        0,
        1,
    )));
    for kind in ["delta", "parquet"] {
        let place = Place::new();
        let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"out\"\n");
        place.write("test.toml", &pipeline(&[&events(&sim, &days(1, 4)), &sink]));
        kill_at(&place, ("partition_done", 2));
        let vacuum = || place.mixflow(&["vacuum", "test.toml"]).ended(0);
        vacuum().says("removed").says("left at");
        let names: Vec<String> = std::fs::read_dir(place.path("."))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "test.toml" && name != "state")
            .collect();
        assert_eq!(names, Vec::<String>::new(), "{kind}");
        vacuum().says("left nothing");
    }
}
