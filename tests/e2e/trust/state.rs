//! What runs remember in the state folder, and what becomes of runs without it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};
use serde_json::{Value, json};

use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started};

const TWO: &str = "from = \"2024-01-01\"\nto = \"2024-01-02\"\nwindow_days = 1\n";

fn simulator() -> Simulator {
    let (first, last) = (date(2024, 1, 1), date(2024, 1, 2));
    started(sim(Data::generated_between(first, last, 60, 0, 7)))
}

fn replacing(sim: &Simulator) -> String {
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    pipeline(&[&events(sim, TWO), &sink])
}

fn runs(place: &Place) -> Vec<Value> {
    let ran = place.mixflow(&["runs", "--format", "json"]).ended(0);
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn only_failed(place: &Place) -> Ran {
    place.mixflow(&["run", "test.toml", "--only-failed"])
}

#[test]
fn after_a_run_that_was_killed_it_cannot_be_told_what_is_missing() {
    let sim = simulator();
    let place = Place::new();
    let text = replacing(&sim);
    place.run(&text).0.ended(0);
    only_failed(&place).ended(0).says("nothing is missing");
    let stall = Action::SlowFirstByte(Duration::from_secs(600));
    sim.add_fault(Fault::always(Matcher::export(), stall));
    sim.clear_log();
    let mut child = place.spawn(&["run", "test.toml"]);
    let since = Instant::now();
    while sim.requests().is_empty() {
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "it asks nothing"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    sim.clear_faults();
    let requests = sim.requests().len();
    only_failed(&place)
        .ended(2)
        .says("cannot tell what failed in `test`")
        .says("it is not known how the run")
        .says("run it without `--only-failed`");
    assert_eq!(sim.requests().len(), requests);
    // The run that is whole again is believed.
    place.run(&text).0.ended(0);
    only_failed(&place).ended(0).says("nothing is missing");
    assert_eq!(runs(&place).len(), 2);
}

#[test]
fn pipelines_of_one_name_and_destinations_of_one_end_are_told_apart() {
    let sim = simulator();
    let place = Place::new();
    let text = replacing(&sim);
    place.run(&text).0.ended(0);
    for (folder, sink) in [("one", "out.db"), ("two", "../about.db")] {
        std::fs::create_dir(place.path(folder)).unwrap();
        place.write(
            &format!("{folder}/test.toml"),
            &text.replace("out.db", sink),
        );
        let mut command = place.command(&["run", "test.toml", "--only-failed"]);
        command.current_dir(place.path(folder));
        Ran::of(command.output().unwrap())
            .ended(2)
            .says("no run of it to this destination is in the history");
    }
    // Another folder, and the same file and database.
    let mut command = place.command(&["run", "../test.toml", "--only-failed"]);
    place.write(
        "test.toml",
        &text.replace("out.db", place.path("out.db").to_str().unwrap()),
    );
    command.current_dir(place.path("one"));
    let ran = Ran::of(command.output().unwrap());
    ran.ended(0).says("nothing is missing");
}

#[test]
fn the_history_of_earlier_versions_is_taken_in() {
    let sim = simulator();
    let place = Place::new();
    let (_, report) = place.run(&replacing(&sim));
    let old = |id: &str| {
        let mut report = report.clone();
        report["run_id"] = json!(id);
        report["destination"] = json!("table events in out.db");
        report.to_string()
    };
    let text = format!(
        "{}\n{}\n{{\"run_id\": \"to",
        old("20240101T000000Z-1"),
        old("20240102T000000Z-2")
    );
    let place = Place::new();
    std::fs::create_dir(place.path("state")).unwrap();
    place.write("state/runs.jsonl", &text);
    let ran = place.mixflow(&["runs", "--format", "json"]).ended(0);
    let found: Vec<Value> = serde_json::from_slice(&ran.stdout).unwrap();
    let ids = found.iter().map(|run| run["run_id"].as_str().unwrap());
    let expected = ["20240102T000000Z-2", "20240101T000000Z-1"];
    assert_eq!(ids.collect::<Vec<_>>(), expected);
    assert!(ran.stderr.contains("1 lines of"), "{}", ran.stderr);
    place.run(&replacing(&sim)).0.ended(0);
    let ran = place.mixflow(&["runs", "--format", "json"]).ended(0);
    assert_eq!(ran.stderr, "");
    assert_eq!(runs(&place).len(), 3);
}

#[test]
fn a_damaged_state_is_set_aside_and_named_once() {
    let sim = simulator();
    let place = Place::new();
    let text = replacing(&sim);
    place.run(&text).0.ended(0);
    // What is in the log as well would be read from there.
    let _ = std::fs::remove_file(place.path("state/state.db-wal"));
    let damage = b"no database ".repeat(1_000);
    std::fs::write(place.path("state/state.db"), damage).unwrap();
    let (ran, report) = place.run(&text);
    let ran = ran
        .ended(0)
        .says("warning: the state in")
        .says("is damaged");
    assert_eq!(
        ran.stderr.matches("state.db.damaged-").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_eq!(report["row_count"], 60);
    let (ran, _) = place.run(&text);
    assert!(!ran.ended(0).stderr.contains("damaged"));
    assert_eq!(runs(&place).len(), 2);
}

/// Runs with the state folder mounted so that nobody can write to it; `None`
/// where nothing can be mounted.
fn read_only(place: &Place, args: &[&str]) -> Option<Ran> {
    let mount = "mount --bind state state && mount -o remount,ro,bind state";
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let plain = place.command(args);
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &script]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
        .current_dir(place.path(""))
        .env_clear()
        .stdin(Stdio::null());
    for (key, value) in plain.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let ran = Ran::of(command.output().unwrap());
    if ran.stderr.contains("unshare") || ran.stderr.contains("mount:") {
        eprintln!("nothing can be mounted here: {}", ran.stderr);
        return None;
    }
    Some(ran)
}

#[test]
fn a_state_that_cannot_be_written_fails_no_run_and_is_known() {
    let sim = simulator();
    let place = Place::new();
    place.run(&replacing(&sim)).0.ended(0);
    let before = runs(&place).len();
    let Some(ran) = read_only(&place, &["run", "test.toml"]) else {
        return;
    };
    let ran = ran.ended(0).says("committed 60 rows");
    let told = "so the history lacks this run, and the quota is not shared";
    assert_eq!(ran.stderr.matches(told).count(), 1, "{}", ran.stderr);
    // It can still be read, and is not taken for the whole of it.
    let shown = read_only(&place, &["runs", "--format", "json"]).unwrap();
    let shown: Vec<Value> = serde_json::from_slice(&shown.ended(0).stdout).unwrap();
    assert_eq!(shown.len(), before);
    read_only(&place, &["run", "test.toml", "--only-failed"])
        .unwrap()
        .ended(2)
        .says("the history cannot be written");
}
