//! Pipelines for several projects, and several at once.

use std::time::Duration;

use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};
use serde_json::Value;

use crate::support::{Place, events, pipeline, started};

const PROJECTS: &str = "[[project]]\nname = \"shop\"\nid = 1\n[[project]]\nid = 2\n[[project]]\nid = 3\nauth = { username = \"sim\", secret = { env = \"OTHER\" } }\n";

const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"db-{project}.db\"\ntable = \"events_{project}\"\nmode = \"replace_window\"\n";

/// A simulator that takes any project.
fn any_project(faults: Vec<Fault>) -> Simulator {
    let mut builder = Simulator::builder()
        .data(Data::sample())
        .credentials("sim", crate::support::SECRET);
    for fault in faults {
        builder = builder.fault(fault);
    }
    started(builder)
}

fn text(sim: &Simulator) -> String {
    let days = "from = \"2024-01-01\"\nto = \"2024-01-02\"";
    let source = events(sim, days);
    pipeline(&[PROJECTS, &source, SINK])
}

fn place(sim: &Simulator) -> Place {
    let place = Place::new();
    place.write("all.toml", &text(sim));
    place
}

fn reports(place: &Place) -> Vec<Value> {
    serde_json::from_str(&place.read("report.json")).unwrap()
}

#[test]
fn a_file_is_run_for_each_of_its_projects() {
    let sim = any_project(vec![]);
    let place = place(&sim);
    let mut command = place.command(&["run", "all.toml", "--report", "report.json"]);
    command.env("OTHER", crate::support::SECRET);
    assert!(command.status().unwrap().success());
    assert_eq!(place.names(), ["db-2.db", "db-3.db", "db-shop.db"]);
    let count = |db: &str, table: &str| {
        let sql = format!("SELECT count(*) > 0 FROM {table}");
        assert_eq!(place.sql(db, &sql), [["true"]]);
    };
    count("db-shop.db", "events_shop");
    count("db-3.db", "events_3");
    let names: Vec<_> = reports(&place)
        .iter()
        .map(|r| r["pipeline"].clone())
        .collect();
    assert_eq!(names, ["all-shop", "all-2", "all-3"]);
    for id in ["1", "2", "3"] {
        let wanted = ("project_id".to_owned(), id.to_owned());
        let asked = sim.requests();
        let of = asked
            .iter()
            .filter(|request| request.query.contains(&wanted));
        assert_eq!(of.count(), 2, "{id}");
    }
    // One alone.
    sim.clear_log();
    place
        .mixflow(&["run", "all.toml", "--set", "project=shop"])
        .ended(0);
    assert_eq!(sim.requests().len(), 2);
    place
        .mixflow(&[
            "status",
            "all.toml",
            "--set",
            "project=2",
            "--format",
            "csv",
        ])
        .ended(0);
    place
        .mixflow(&["status", "all.toml"])
        .ended(2)
        .says("choose one with `--set project=NAME`, of `shop`, `2`, `3`");
}

#[test]
fn several_pipelines_run_at_once() {
    let slow = Action::SlowFirstByte(Duration::from_millis(300));
    let sim = any_project(vec![Fault::always(Matcher::export(), slow)]);
    let place = place(&sim);
    let args = ["run", "all.toml", "--jobs", "3", "--report", "report.json"];
    // The third one has a secret that is not set.
    let ran = place.mixflow(&args).ended(2);
    let ran = ran.says("1 of 3 pipelines did not end well");
    assert!(sim.peak_concurrency() >= 2, "{}", sim.peak_concurrency());
    assert!(ran.lines.contains("[all-shop "), "{}", ran.lines);
    let reports = reports(&place);
    let said: Vec<_> = reports
        .iter()
        .map(|report| {
            (
                report["pipeline"].as_str().unwrap(),
                report["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("all-shop", "committed"),
            ("all-2", "committed"),
            ("all-3", "aborted")
        ]
    );
    assert_eq!(place.names(), ["db-2.db", "db-shop.db"]);
}

#[test]
fn rows_of_pipelines_that_run_at_once_are_not_mixed_up() {
    let sim = any_project(vec![]);
    let place = Place::new();
    let text = text(&sim);
    let (before, _) = text.split_once("[sink]").unwrap();
    let before = before.replace("\"OTHER\"", "\"SIM_SECRET\"");
    place.write("all.toml", &format!("{before}[sink]\ntype = \"jsonl\"\n"));
    let ran = place.mixflow(&["run", "all.toml", "-j", "3"]).ended(0);
    let text = ran.stdout_lossy();
    let mut lines: Vec<&str> = text.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(all, lines.len() * 3);
}

#[test]
fn an_interrupt_ends_all_that_run_at_once() {
    let slow = Action::SlowFirstByte(Duration::from_secs(60));
    let sim = any_project(vec![Fault::always(Matcher::export(), slow)]);
    let place = place(&sim);
    let child = place.spawn(&["run", "all.toml", "--jobs", "2"]);
    let begun = std::time::Instant::now();
    while sim.requests().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "they begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(place.names(), Vec::<String>::new());
}
