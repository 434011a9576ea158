//! What is at the destination before a run, and what it does to it.

use jiff::civil::date;
use mixflow_sink_duckdb::Store;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::support::{DUCKDB, Place, Ran, events, pipeline, profiles, sim, started};

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 600, 50, 7)
}

fn days(from: i8, to: i8) -> ExportQuery {
    ExportQuery::new(date(2024, 1, from), date(2024, 1, to))
}

fn source(sim: &Simulator, from: u8, to: u8) -> String {
    events(
        sim,
        &format!("from = \"2024-01-0{from}\"\nto = \"2024-01-0{to}\"\nwindow_days = 1\n"),
    )
}

fn sink(kind: &str, path: &str, mode: &str) -> String {
    format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n")
}

/// The sinks that keep what was there before, with where they write.
const SINKS: [(&str, &str); 4] = [
    ("duckdb", "out.db"),
    ("parquet", "out"),
    ("parquet", "out.parquet"),
    ("jsonl", "out.jsonl"),
];

fn rows(place: &Place, kind: &str, path: &str) -> Vec<Event> {
    written_by(kind, &place.path(path))
}

fn run(place: &Place, source: &str, sink: &str) -> Ran {
    place.run(&pipeline(&[source, sink])).0
}

#[test]
fn create_refuses_what_is_there_before_any_request() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        let place = Place::new();
        let sink = sink(kind, path, "create");
        run(&place, &source(&sim, 1, 1), &sink).ended(0);
        let before = rows(&place, kind, path);
        sim.clear_log();
        run(&place, &source(&sim, 2, 2), &sink)
            .ended(6)
            .says("already exists")
            .says("hint: ");
        assert_eq!(sim.requests().len(), 0, "{path}");
        assert_same(&rows(&place, kind, path), &before);
    }
}

#[test]
fn append_adds() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        if path == "out.parquet" {
            continue;
        }
        let place = Place::new();
        let sink = sink(kind, path, "append");
        run(&place, &source(&sim, 1, 1), &sink).ended(0);
        run(&place, &source(&sim, 2, 3), &sink).ended(0);
        assert_same(
            &rows(&place, kind, path),
            &sorted(expected_events(&sim, &days(1, 3))),
        );
    }
}

#[test]
fn replace_swaps_everything() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        let place = Place::new();
        let sink = sink(kind, path, "replace");
        run(&place, &source(&sim, 1, 2), &sink).ended(0);
        // As much as there was, so that the shrink guard has no say.
        run(&place, &source(&sim, 2, 3), &sink).ended(0);
        assert_same(
            &rows(&place, kind, path),
            &sorted(expected_events(&sim, &days(2, 3))),
        );
    }
}

#[test]
fn replace_window_replaces_the_days_that_were_fetched() {
    let sim = started(sim(data()));
    for (kind, path) in [("duckdb", "out.db"), ("parquet", "out")] {
        let place = Place::new();
        let sink = sink(kind, path, "replace_window");
        run(&place, &source(&sim, 1, 3), &sink).ended(0);
        let before = sorted(expected_events(&sim, &days(1, 3)));
        assert_same(&rows(&place, kind, path), &before);
        // Twice the same is the same.
        run(&place, &source(&sim, 2, 3), &sink).ended(0);
        assert_same(&rows(&place, kind, path), &before);
        // Rows came and went meanwhile.
        let changed = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 700, 0, 8);
        sim.set_data(changed);
        run(&place, &source(&sim, 2, 2), &sink).ended(0);
        let new = expected_events(&sim, &days(2, 2));
        sim.set_data(data());
        let expected = [
            expected_events(&sim, &days(1, 1)),
            new,
            expected_events(&sim, &days(3, 3)),
        ];
        assert_same(&rows(&place, kind, path), &sorted(expected.concat()));
    }
}

#[test]
fn a_day_that_would_shrink_a_lot_is_refused_unless_told_otherwise() {
    let sim = started(sim(data()));
    for (kind, path) in [("duckdb", "out.db"), ("parquet", "out")] {
        let place = Place::new();
        sim.set_data(data());
        let window = sink(kind, path, "replace_window");
        run(&place, &source(&sim, 1, 3), &window).ended(0);
        let before = rows(&place, kind, path);
        // The server has lost most of the second day.
        let mut lost = data();
        lost.clear_day(date(2024, 1, 2));
        sim.set_data(lost);
        run(&place, &source(&sim, 1, 3), &window)
            .ended(1)
            .says("this would shrink 2024-01-02 from ")
            .says("--set sink.allow_shrink=true");
        assert_same(&rows(&place, kind, path), &before);
        // Asked again, it is asked of the server, not of what was spooled.
        sim.set_data(data());
        sim.clear_log();
        run(&place, &source(&sim, 1, 3), &window).ended(0);
        assert_eq!(sim.requests().len(), 3);
        let mut lost = data();
        lost.clear_day(date(2024, 1, 2));
        sim.set_data(lost);
        let allowed = format!("{window}allow_shrink = true\n");
        run(&place, &source(&sim, 1, 3), &allowed).ended(0);
        let left = before
            .iter()
            .filter(|row| row.event_time_us / 86_400_000_000 != 19_724)
            .cloned()
            .collect::<Vec<_>>();
        assert!(left.len() < before.len());
        assert_same(&rows(&place, kind, path), &left);
    }
}

#[test]
fn a_failed_run_leaves_what_was_there() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        let place = Place::new();
        run(&place, &source(&sim, 1, 3), &sink(kind, path, "create")).ended(0);
        let before = rows(&place, kind, path);
        let names = place.names();
        sim.add_fault(Fault::always(
            Matcher::export_from(date(2024, 1, 2)),
            Action::Drop,
        ));
        for mode in ["append", "replace", "replace_window"] {
            let refused = match path {
                "out.parquet" => mode != "replace",
                "out.jsonl" => mode == "replace_window",
                _ => false,
            };
            run(&place, &source(&sim, 1, 3), &sink(kind, path, mode)).ended(if refused {
                2
            } else {
                1
            });
            assert_same(&rows(&place, kind, path), &before);
            assert_eq!(place.names(), names, "{path}, {mode}");
        }
        sim.clear_faults();
    }
}

#[test]
fn no_rows_make_a_table_all_the_same() {
    let sim = started(sim(Data::default()));
    for (kind, path) in SINKS {
        let place = Place::new();
        run(&place, &source(&sim, 1, 2), &sink(kind, path, "create"))
            .ended(0)
            .says("committed 0 rows");
        assert_eq!(rows(&place, kind, path), []);
    }
    let place = Place::new();
    run(&place, &profiles(&sim, ""), DUCKDB).ended(0);
    assert_eq!(
        place.sql("out.db", "SELECT count(*) FROM profiles"),
        [["0"]]
    );
}

#[test]
fn a_locked_database_names_its_holder_before_any_request() {
    let sim = started(sim(data()));
    let place = Place::new();
    let store = Store::open(place.path("out.db")).unwrap();
    run(&place, &source(&sim, 1, 1), DUCKDB)
        .ended(6)
        .says("cannot open `out.db`")
        .says(&format!("(PID {})", std::process::id()));
    assert_eq!(sim.requests().len(), 0);
    drop(store);
    run(&place, &source(&sim, 1, 1), DUCKDB).ended(0);
}

#[test]
fn places_where_nothing_can_be_written_are_told_apart_before_any_request() {
    let sim = started(sim(data()));
    let place = Place::new();
    place.write("garbage.db", &"not a database ".repeat(400));
    std::fs::create_dir(place.path("folder")).unwrap();
    place.write("folder/notes.txt", "mine");
    for (kind, path, says) in [
        ("duckdb", "garbage.db", "the file is not a DuckDB database"),
        (
            "duckdb",
            "no/such/out.db",
            "the folder `no/such` does not exist",
        ),
        ("duckdb", "folder", "it is a folder"),
        ("jsonl", "no/out.jsonl", "the folder `no` does not exist"),
        ("jsonl", "folder", "it is a folder"),
        (
            "parquet",
            "no/out.parquet",
            "the folder `no` does not exist",
        ),
        ("parquet", "no/out", "the folder `no` does not exist"),
        (
            "parquet",
            "folder",
            "`notes.txt` in it is neither a Parquet file",
        ),
        (
            "parquet",
            "garbage.db",
            "there is something that is not a folder",
        ),
    ] {
        for mode in ["create", "replace"] {
            let ran = run(&place, &source(&sim, 1, 1), &sink(kind, path, mode));
            ran.ended(6).says(says).says("hint: ");
        }
    }
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.read("folder/notes.txt"), "mine");
}

#[test]
fn a_table_of_another_shape_is_refused_before_any_request() {
    let sim = started(sim(data()));
    let place = Place::new();
    let store = Store::open(place.path("out.db")).unwrap();
    store
        .connection()
        .unwrap()
        .execute_batch(
            "CREATE TABLE Events (event_name VARCHAR, n INTEGER); CREATE VIEW v AS SELECT 1",
        )
        .unwrap();
    drop(store);
    for mode in ["append", "replace_window"] {
        // Names in DuckDB are the same in upper and lower case.
        run(&place, &source(&sim, 1, 1), &sink("duckdb", "out.db", mode)).ended(6);
    }
    run(&place, &source(&sim, 1, 1), DUCKDB)
        .ended(6)
        .says("already exists");
    let view = format!("{DUCKDB}table = \"v\"\nmode = \"replace\"\n");
    run(&place, &source(&sim, 1, 1), &view)
        .ended(6)
        .says("it is a view");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn a_full_disk_is_told_and_the_old_table_is_intact() {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 3),
        30_000,
        0,
        7,
    )));
    let place = Place::new();
    std::fs::create_dir(place.path("small")).unwrap();
    // A file system of 12 MB, in a namespace of its own, holds one day only.
    let first = sink("duckdb", "small/out.db", "create");
    let second = sink("duckdb", "small/out.db", "replace");
    place.write("first.toml", &pipeline(&[&source(&sim, 1, 1), &first]));
    place.write("second.toml", &pipeline(&[&source(&sim, 1, 3), &second]));
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let script = format!(
        "mount -t tmpfs -o size=12m tmpfs small || exit 99
         {binary} run -q first.toml || exit 98
         {binary} query --db small/out.db 'SELECT count(*) FROM events'
         {binary} run second.toml
         echo code $?
         {binary} query --db small/out.db 'SELECT count(*) FROM events'"
    );
    let Some(ran) = mounted(&place, &script) else {
        return;
    };
    let said = ran.stdout_lossy();
    eprintln!("{said}\n{}", ran.stderr);
    assert!(said.contains("code 1"), "{said}\n{}", ran.stderr);
    let rows = expected_events(&sim, &days(1, 1)).len().to_string();
    assert_eq!(said.matches(&rows).count(), 2, "{said}");
    ran.says("hint: free some disk space; what was there before is unchanged");
}

/// Runs a script that mounts, in a namespace of its own; `None` where that is
/// not possible.
pub fn mounted(place: &Place, script: &str) -> Option<Ran> {
    let command = place.command(&[]);
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .current_dir(place.path(""))
        .output();
    match output {
        Ok(output) if !matches!(output.status.code(), Some(1 | 99)) => Some(Ran::of(output)),
        other => {
            eprintln!("skipped: nothing can be mounted here: {other:?}");
            None
        }
    }
}

#[test]
fn a_read_only_folder_is_told_and_what_is_in_it_is_intact() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        let place = Place::new();
        std::fs::create_dir(place.path("fixed")).unwrap();
        let path = format!("fixed/{path}");
        place.write(
            "first.toml",
            &pipeline(&[&source(&sim, 1, 1), &sink(kind, &path, "create")]),
        );
        place.write(
            "second.toml",
            &pipeline(&[&source(&sim, 1, 3), &sink(kind, &path, "replace")]),
        );
        let binary = env!("CARGO_BIN_EXE_mixflow");
        let script = format!(
            "mount -t tmpfs tmpfs fixed || exit 99
             {binary} run -q first.toml || exit 98
             find fixed -type f -exec sha256sum {{}} +
             mount -o remount,ro fixed || exit 99
             {binary} run second.toml
             echo code $?
             find fixed -type f -exec sha256sum {{}} +"
        );
        let Some(ran) = mounted(&place, &script) else {
            return;
        };
        let said = ran.stdout_lossy();
        let (before, after) = said.split_once("code ").unwrap();
        let (code, after) = after.split_once('\n').unwrap();
        assert!(matches!(code, "1" | "6"), "{kind}: {said}\n{}", ran.stderr);
        assert!(!before.is_empty());
        assert_eq!(before, after);
        ran.says("Read-only file system");
    }
}

#[test]
fn the_default_path_is_named_after_the_project() {
    let sim = started(sim(data()));
    let place = Place::new();
    run(&place, &source(&sim, 1, 1), "[sink]\ntype = \"duckdb\"\n")
        .ended(0)
        .says(".mixpanel_data/12345.db");
    let count = place.sql(".mixpanel_data/12345.db", "SELECT count(*) FROM events");
    assert_eq!(
        count,
        [[expected_events(&sim, &days(1, 1)).len().to_string()]]
    );
}
