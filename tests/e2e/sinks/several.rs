//! One fetch into several sinks.

use std::process::{Command, Stdio};
use std::time::Instant;

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};
use serde_json::{Value, json};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::support::{Place, Ran, events, pipeline, sim, started, workers};

const FIVE: &str = "from = \"2024-01-01\"\nto = \"2024-01-05\"\nwindow_days = 1\n";

const DUCKDB: &str = "[[sink]]\ntype = \"duckdb\"\npath = \"out.db\"\n";
const JSONL: &str = "[[sink]]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
const PARQUET: &str = "[[sink]]\ntype = \"parquet\"\npath = \"out\"\n";

/// A program that does what the script `sink.sh` says.
const SCRIPT: &str =
    "[[sink]]\ntype = \"exec\"\ncommand = [\"/bin/sh\", \"sink.sh\"]\nformat = \"jsonl\"\n";

/// A script that keeps its rows.
const KEEPS: &str = "cat > got.jsonl\n";

fn five_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_000, 50, 7)
}

/// What the sinks are to hold.
fn expected(sim: &Simulator) -> Vec<Event> {
    let all = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 5));
    sorted(expected_events(sim, &all))
}

/// The days that were asked for since the last call, in order.
fn asked(sim: &Simulator) -> Vec<String> {
    let requests = sim.requests();
    let days = requests
        .iter()
        .filter_map(|request| request.param("from_date"));
    let mut days: Vec<String> = days.map(str::to_owned).collect();
    days.sort();
    sim.clear_log();
    days
}

fn statuses(report: &Value) -> Vec<&str> {
    let sinks = report["sinks"].as_array().unwrap().iter();
    sinks.map(|sink| sink["status"].as_str().unwrap()).collect()
}

#[test]
fn all_sinks_hold_the_rows_of_one_fetch() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    for n in [1, 3] {
        let mode = if n == 1 { "create" } else { "replace" };
        let sinks = [DUCKDB, JSONL, PARQUET].map(|sink| format!("{sink}mode = \"{mode}\"\n"));
        let text = pipeline(&[&events(&sim, FIVE), &sinks.concat(), &workers(n)]);
        let (ran, report) = place.run(&text);
        ran.ended(0).says(
            "committed 1,000 rows from 5 partitions to table events in out.db and out.jsonl and out in ",
        );
        assert_eq!(asked(&sim).len(), 5);
        assert_eq!(statuses(&report), ["committed"; 3]);
        assert_eq!(report["sinks"][1]["destination"]["uri"], "out.jsonl");
        assert_eq!(report["sinks"][0]["table"], "events");
        assert_eq!(report["sinks"][2]["row_count"], 1_000);
        for (kind, path) in [
            ("duckdb", "out.db"),
            ("jsonl", "out.jsonl"),
            ("parquet", "out"),
        ] {
            assert_same(&written_by(kind, &place.path(path)), &expected(&sim));
        }
        let ledger = "SELECT count(*), sum(rows) FROM _mixflow_days WHERE state = 'complete'";
        assert_eq!(place.sql("out.db", ledger), [["5", "1000"]]);
    }
}

#[test]
fn a_sink_that_fails_is_repaired_without_a_request() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    place.write("sink.sh", "cat > /dev/null\necho 'no room' >&2\nexit 3\n");
    let text = pipeline(&[&events(&sim, FIVE), SCRIPT, DUCKDB]);
    let (ran, report) = place.run(&text);
    let ran = ran
        .ended(3)
        .says("committed 1,000 rows from 5 partitions to table events in out.db in ")
        .says("no room")
        .says("nothing was written; `/bin/sh sink.sh` is as it was before")
        .says("--only-failed");
    assert!(!ran.stderr.contains("missing:"), "{}", ran.stderr);
    assert_eq!(report["status"], "partial");
    assert_eq!(report["error"], Value::Null);
    assert_eq!(statuses(&report), ["aborted", "committed"]);
    assert_eq!(report["sinks"][1].get("error"), None);
    assert_same(
        &written_by("duckdb", &place.path("out.db")),
        &expected(&sim),
    );
    let runs = place.mixflow(&["runs", "--format", "json"]).ended(0);
    let runs = runs.stdout_lossy();
    assert!(
        runs.contains("`/bin/sh sink.sh`, table events in out.db"),
        "{runs}"
    );
    assert!(runs.contains("`/bin/sh sink.sh` failed: "), "{runs}");
    place.mixflow(&["report"]).ended(0);
    let page = place.read("report.html");
    assert!(page.contains("all of it from `/bin/sh sink.sh`"), "{page}");
    asked(&sim);
    // It still fails: then it is still lacking.
    place.run_with(&text, &["--only-failed"]).0.ended(1);
    place.write("sink.sh", KEEPS);
    // A table that is there would refuse to be made.
    let (ran, report) = place.run_with(&text, &["--only-failed"]);
    ran.ended(0).says("to `/bin/sh sink.sh` in ");
    assert_eq!(asked(&sim), [""; 0]);
    assert_eq!(report.get("sinks"), None);
    assert_same(
        &written_by("jsonl", &place.path("got.jsonl")),
        &expected(&sim),
    );
    let (ran, report) = place.run_with(&text, &["--only-failed"]);
    ran.ended(0).says("nothing is missing");
    assert_eq!(statuses(&report), ["committed"; 2]);
    assert_eq!(asked(&sim), [""; 0]);
}

#[test]
fn a_sink_and_a_day_that_fail_are_both_repaired_in_one_run() {
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 2)), Action::Drop);
    let sim = started(sim(five_days()).fault(fault));
    let place = Place::new();
    place.write("sink.sh", "cat > /dev/null\nexit 3\n");
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB, SCRIPT, JSONL, &workers(3)]);
    let (ran, report) = place.run(&text);
    ran.ended(3).says("; missing: 2024-01-02");
    assert_eq!(statuses(&report), ["partial", "aborted", "partial"]);
    sim.clear_faults();
    asked(&sim);
    place.write("sink.sh", KEEPS);
    let (ran, report) = place.run_with(&text, &["--only-failed"]);
    ran.ended(0);
    assert_eq!(asked(&sim), ["2024-01-02"]);
    let rows: Vec<&Value> = report["sinks"].as_array().unwrap().iter().collect();
    assert_eq!(rows[1]["row_count"], 1_000);
    assert!(rows[0]["row_count"].as_u64() < Some(500), "{report}");
    for (kind, path) in [
        ("duckdb", "out.db"),
        ("jsonl", "got.jsonl"),
        ("jsonl", "out.jsonl"),
    ] {
        assert_same(&written_by(kind, &place.path(path)), &expected(&sim));
    }
    place
        .run_with(&text, &["--only-failed"])
        .0
        .ended(0)
        .says("nothing is missing");
}

#[test]
fn a_destination_that_cannot_be_written_is_found_before_a_request() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    place.write("out.jsonl", "mine\n");
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB, JSONL]);
    let (ran, report) = place.run(&text);
    ran.ended(6)
        .says("out.jsonl")
        .says("nothing was written to table events in out.db");
    assert_eq!(statuses(&report), ["aborted"; 2]);
    assert_eq!(asked(&sim), [""; 0]);
    assert_eq!(place.names(), ["out.jsonl"]);
}

#[test]
fn two_names_of_one_file_are_one_destination() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    std::os::unix::fs::symlink("out.jsonl", place.path("other.jsonl")).unwrap();
    let other = JSONL.replace("out.jsonl", "other.jsonl");
    let text = pipeline(&[&events(&sim, FIVE), JSONL, &other]);
    let (ran, _) = place.run_with(&text, &["--wait=1m"]);
    ran.ended(2).says("another sink writes to it, as `");
    assert_eq!(asked(&sim), [""; 0]);
    let text = pipeline(&[&events(&sim, FIVE), JSONL, JSONL]);
    place.write("test.toml", &text);
    place
        .mixflow(&["check", "test.toml"])
        .ended(2)
        .says("`sink.0` writes to out.jsonl, too");
}

#[test]
fn check_plan_and_overrides_know_all_sinks() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, FIVE), DUCKDB, JSONL]),
    );
    place
        .mixflow(&["check", "test.toml"])
        .ended(0)
        .says("mixpanel_events to duckdb, jsonl");
    let plan = place.mixflow(&["plan", "test.toml", "--set", "sink.1.path=b.jsonl"]);
    let plan = plan.ended(0).stdout_lossy();
    assert!(
        plan.contains("out.db") && plan.contains("b.jsonl"),
        "{plan}"
    );
    place
        .mixflow(&["check", "test.toml", "--set", "sink.mode=replace"])
        .ended(2)
        .says("there are 2 of `[[sink]]`: say which, such as `sink.0.mode`");
    let report = ["run", "test.toml", "--report", "out.jsonl"];
    place
        .mixflow(&report)
        .ended(2)
        .says("the rows of the run go there");
}

/// Runs a pipeline on a day of January, early in the morning.
fn run_on(place: &Place, day: i8, args: &[&str]) -> Ran {
    let mut command = place.command(args);
    command.env("MIXFLOW_NOW", format!("2024-01-{day:02}T03:00:00Z"));
    Ran::of(command.output().unwrap())
}

#[test]
fn a_day_is_held_when_every_sink_has_it() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    let days = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-01\"\nwindow_days = 1\n";
    let by_window = |sink: &str| format!("{sink}mode = \"replace_window\"\n");
    let sinks = [by_window(DUCKDB), by_window(PARQUET)].concat();
    place.write("test.toml", &pipeline(&[&events(&sim, days), &sinks]));
    run_on(&place, 3, &["run", "test.toml"]).ended(0);
    assert_eq!(asked(&sim), ["2024-01-01", "2024-01-02"]);
    let gaps = ["gaps", "test.toml", "--format", "csv"];
    run_on(&place, 3, &gaps).ended(0);
    run_on(&place, 4, &["run", "test.toml"]).ended(0);
    assert_eq!(asked(&sim), ["2024-01-03"]);
    std::fs::remove_file(place.path("out.db")).unwrap();
    let ran = run_on(&place, 4, &gaps).ended(3);
    assert!(ran.stdout_lossy().contains("2024-01-01,2024-01-03,3"));
    run_on(&place, 5, &["run", "test.toml"]).ended(0);
    assert_eq!(asked(&sim).len(), 4);
    let [one, other] = [("duckdb", "out.db"), ("parquet", "out")]
        .map(|(kind, path)| written_by(kind, &place.path(path)));
    assert_same(&one, &other);
    assert!(one.len() > 500);
}

#[test]
fn backfill_fills_what_one_of_the_sinks_lacks() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, FIVE), DUCKDB, PARQUET]),
    );
    let days = ["--from", "2024-01-01", "--to", "2024-01-05"];
    let backfill = [&["backfill", "test.toml"][..], &days].concat();
    run_on(&place, 9, &backfill).ended(0);
    assert_eq!(asked(&sim).len(), 5);
    std::fs::remove_dir_all(place.path("out")).unwrap();
    run_on(&place, 9, &backfill).ended(0);
    assert_eq!(asked(&sim).len(), 5);
    run_on(&place, 9, &backfill)
        .ended(0)
        .says("nothing is missing");
    for (kind, path) in [("duckdb", "out.db"), ("parquet", "out")] {
        assert_same(&written_by(kind, &place.path(path)), &expected(&sim));
    }
}

/// Starts a run of `text` whose second sink hangs when it is to commit, and
/// returns when it does.
fn hanging(place: &Place, text: &str) -> std::process::Child {
    place.write("test.toml", text);
    place.write("sink.sh", "cat > /dev/null\n: > committing\nsleep 60\n");
    let mut command = place.command(&["run", "test.toml", "--report", "report.json"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !place.path("committing").exists() {
        assert!(started.elapsed().as_secs() < 60, "the run hangs elsewhere");
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_process_that_is_killed_in_the_second_commit_leaves_the_first() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    let db = format!("{DUCKDB}mode = \"replace_window\"\n");
    let text = pipeline(&[&events(&sim, FIVE), &db, SCRIPT]);
    let mut child = hanging(&place, &text);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_same(
        &written_by("duckdb", &place.path("out.db")),
        &expected(&sim),
    );
    asked(&sim);
    // Nobody knows what became of it.
    place
        .run_with(&text, &["--only-failed"])
        .0
        .ended(2)
        .says("it is not known how the run ");
    place.write("sink.sh", KEEPS);
    place.run(&text).0.ended(0);
    assert_eq!(asked(&sim), [""; 0]);
    for (kind, path) in [("duckdb", "out.db"), ("jsonl", "got.jsonl")] {
        assert_same(&written_by(kind, &place.path(path)), &expected(&sim));
    }
}

#[test]
fn ctrl_c_in_the_second_commit_is_told_as_what_it_is() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB, SCRIPT]);
    let child = hanging(&place, &text);
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let ran = Ran::of(child.wait_with_output().unwrap()).ended(130);
    assert!(
        ran.stderr
            .contains("nothing more goes to `/bin/sh sink.sh`"),
        "{}",
        ran.stderr
    );
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(statuses(&report), ["committed", "aborted"]);
    assert_eq!(report["sinks"][1]["error"]["kind"], json!("interrupted"));
    asked(&sim);
    place.write("sink.sh", KEEPS);
    place.run_with(&text, &["--only-failed"]).0.ended(0);
    assert_eq!(asked(&sim), [""; 0]);
    assert_same(
        &written_by("jsonl", &place.path("got.jsonl")),
        &expected(&sim),
    );
}
