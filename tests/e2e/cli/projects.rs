//! Pipelines for several projects, and several at once.

use std::time::Duration;

use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};
use serde_json::Value;

use crate::support::{Place, Ran, events, pipeline, started};

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
}

/// Runs a command with the secret that the third project needs.
fn with_secret(place: &Place, args: &[&str]) -> Ran {
    let mut command = place.command(args);
    command.env("OTHER", crate::support::SECRET);
    Ran::of(command.output().unwrap())
}

const BOTH_DAYS: [&str; 4] = ["--from", "2024-01-01", "--to", "2024-01-02"];

fn of_days<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [command, "all.toml"].into_iter().chain(BOTH_DAYS);
    args.chain(more.iter().copied()).collect()
}

#[test]
fn the_days_of_all_projects_are_shown_together() {
    let sim = any_project(vec![]);
    let place = place(&sim);
    with_secret(&place, &["run", "all.toml"]).ended(0);
    let csv = ["--format", "csv"];
    let status = place.mixflow(&of_days("status", &csv)).ended(0);
    let status = status.stdout_lossy();
    let cells: Vec<String> = status
        .lines()
        .map(|line| line.splitn(4, ',').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        cells,
        [
            "project day state",
            "shop 2024-01-01 complete",
            "shop 2024-01-02 complete",
            "2 2024-01-01 complete",
            "2 2024-01-02 complete",
            "3 2024-01-01 complete",
            "3 2024-01-02 complete",
        ]
    );
    let json = place.mixflow(&of_days("status", &["--format", "json"]));
    let json: Vec<Value> = serde_json::from_slice(&json.ended(0).stdout).unwrap();
    assert_eq!(json[2]["project"], "2");
    // Of one it is as ever.
    let one = ["--set", "project=2", "--format", "csv"];
    let one = place.mixflow(&of_days("status", &one)).ended(0);
    assert!(one.stdout_lossy().starts_with("day,state,rows,"));

    let gaps = place.mixflow(&of_days("gaps", &csv)).ended(0);
    assert_eq!(gaps.stdout_lossy(), "project,first,last,days\n");
    std::fs::remove_file(place.path("db-2.db")).unwrap();
    let gaps = place.mixflow(&of_days("gaps", &csv)).ended(3);
    let missing = "project,first,last,days\n2,2024-01-01,2024-01-02,2\n";
    assert_eq!(gaps.stdout_lossy(), missing);
    // What is wrong with one hides nothing of the others, and is not hidden by them.
    place.write("db-shop.db", "no database");
    let gaps = place.mixflow(&of_days("gaps", &csv)).ended(6);
    assert_eq!(gaps.stdout_lossy(), missing);
    gaps.says("all.toml for shop is left out");
}

#[test]
fn what_all_projects_lack_is_filled_one_after_another_or_at_once() {
    for jobs in ["1", "3"] {
        let slow = Action::SlowFirstByte(Duration::from_millis(300));
        let sim = any_project(vec![Fault::always(Matcher::export(), slow)]);
        let place = place(&sim);
        let dry = with_secret(&place, &of_days("backfill", &["--dry-run"])).ended(0);
        for name in ["all-shop", "all-2", "all-3"] {
            let line = format!("pipeline  {name}\n");
            let said = dry.stdout_lossy();
            assert!(said.contains(&line), "{said}");
        }
        assert_eq!(sim.requests().len(), 0);
        let more = ["--commit-every", "1", "--jobs", jobs];
        let mut args = of_days("backfill", &more);
        args.extend(["--report", "report.json"]);
        // The third one has a secret that is not set, and waits for nobody.
        place.mixflow(&args).ended(2);
        let names = |place: &Place| -> Vec<String> {
            let all = reports(place);
            let name = |report: &Value| report["pipeline"].as_str().unwrap().to_owned();
            all.iter().map(name).collect()
        };
        assert_eq!(
            names(&place)[..4],
            ["all-shop", "all-shop", "all-2", "all-2"]
        );
        assert_eq!(sim.peak_concurrency() >= 2, jobs == "3");
        assert_eq!(sim.requests().len(), 4);
        place.mixflow(&of_days("gaps", &[])).ended(3);
        // The next one does what is left.
        with_secret(&place, &args).ended(0);
        assert_eq!(names(&place), ["all-3", "all-3"], "{jobs}");
        assert_eq!(sim.requests().len(), 6);
        place.mixflow(&of_days("gaps", &[])).ended(0);
        with_secret(&place, &args)
            .ended(0)
            .says("nothing is missing");
        assert_eq!(sim.requests().len(), 6);
    }
}

#[test]
fn all_projects_are_replayed_from_an_archive_that_they_share() {
    let sim = any_project(vec![]);
    let place = Place::new();
    let text = text(&sim) + "[archive]\npath = \"kept\"\n";
    place.write("all.toml", &text);
    with_secret(&place, &["run", "all.toml"]).ended(0);
    let rows = |name: &str| {
        let sql = format!("SELECT count(*) FROM events_{name}");
        place.sql(&format!("db-{name}.db"), &sql)
    };
    let before = ["shop", "2", "3"].map(rows);
    for name in ["shop", "2", "3"] {
        std::fs::remove_file(place.path(format!("db-{name}.db"))).unwrap();
    }
    sim.clear_log();
    place
        .mixflow(&["replay", "all.toml", "--report", "report.json"])
        .ended(0);
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(["shop", "2", "3"].map(rows), before);
    assert_eq!(reports(&place).len(), 3);
    // What is kept is listed once, not for each of the three.
    let list = ["archive", "list", "all.toml", "--format", "csv"];
    let list = place.mixflow(&list).ended(0);
    assert_eq!(list.stdout_lossy().lines().count(), 1 + 6);
    place.mixflow(&["archive", "verify", "all.toml"]).ended(0);
    place.mixflow(&["vacuum", "all.toml"]).ended(0);
    let prune = ["archive", "prune", "all.toml", "--older-than", "1d"];
    place.mixflow(&prune).ended(0);
    assert_eq!(sim.requests().len(), 0);
    place.mixflow(&["replay", "all.toml"]).ended(1);
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
