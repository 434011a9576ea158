//! `[run] metrics`: the file that Prometheus reads.

use mixflow_tests::sim::{Data, Fault, Simulator};
use serde_json::Value;

use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started, workers};

const SUCCESS: &str = "mixflow_last_success_timestamp_seconds";

fn store() -> Simulator {
    started(sim(Data::sample()))
}

/// Two days into a table, and their numbers into `m.prom`.
fn days(sim: &Simulator, name: &str) -> String {
    let source = events(
        sim,
        "from = \"2024-01-13\"\nto = \"2024-01-14\"\nwindow_days = 1\nretry = { max_attempts = 1 }",
    );
    let sink = format!("{DUCKDB}mode = \"replace_window\"\ntable = \"{name}\"");
    let run = format!("{}metrics = \"m.prom\"\n", workers(2));
    pipeline(&[&format!("name = '{name}'"), &source, &sink, &run])
}

fn run(place: &Place, text: &str) -> Ran {
    place.write("t.toml", text);
    place.mixflow(&["run", "t.toml"])
}

/// The value of a series of a pipeline.
fn value(place: &Place, name: &str, pipeline: &str) -> Option<f64> {
    let series = format!("{name}{{pipeline=\"{pipeline}\"}} ");
    let text = place.read("m.prom");
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&series))
        .collect();
    assert!(found.len() < 2, "{text}");
    found.first().map(|value| value.parse().unwrap())
}

#[test]
fn the_numbers_of_each_pipeline_stand_in_one_file() {
    let (sim, place) = (store(), Place::new());
    run(&place, &days(&sim, "a")).ended(0);
    let rows = value(&place, "mixflow_rows", "a").unwrap();
    let table = place.sql("out.db", "SELECT count(*) FROM a");
    assert_eq!(table, [[rows.to_string()]]);
    let first = value(&place, SUCCESS, "a").unwrap();
    assert!(first > 1.7e9);
    run(&place, &days(&sim, "b")).ended(0);
    assert_eq!(value(&place, SUCCESS, "a"), Some(first));
    assert!(value(&place, SUCCESS, "b").unwrap() >= first);
    // In the format that is read: each metric once, described, its series behind it.
    let text = place.read("m.prom");
    let shape: Vec<&str> = text
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .filter(|line| line.contains(SUCCESS) && !line.starts_with("# HELP"))
        .collect();
    assert_eq!(
        shape,
        [
            &format!("# TYPE {SUCCESS}"),
            &format!("{SUCCESS}{{pipeline=\"a\"}}"),
            &format!("{SUCCESS}{{pipeline=\"b\"}}"),
        ]
    );
    assert_eq!(text.matches("# HELP mixflow_rows ").count(), 1);
    assert!(text.ends_with('\n'));
    assert_eq!(place.names(), ["m.prom", "out.db"]);
}

#[test]
fn a_run_that_is_not_whole_is_no_success() {
    let (sim, place) = (store(), Place::new());
    let text = days(&sim, "a");
    sim.add_fault(Fault::parse("export from=2024-01-14 always status=500").unwrap());
    run(&place, &text).ended(3);
    assert_eq!(value(&place, SUCCESS, "a"), None);
    assert!(value(&place, "mixflow_rows", "a").unwrap() > 0.0);
    sim.clear_faults();
    run(&place, &text).ended(0);
    let last = value(&place, SUCCESS, "a").unwrap();
    sim.add_fault(Fault::parse("export from=2024-01-14 always status=500").unwrap());
    run(&place, &text).ended(3);
    assert_eq!(value(&place, SUCCESS, "a"), Some(last));
}

#[test]
fn missing_days_are_those_that_gaps_names() {
    let (sim, place) = (store(), Place::new());
    let text = days(&sim, "a");
    let gaps = || {
        let ran = place
            .mixflow(&["gaps", "t.toml", "--format", "json"])
            .ended(3);
        let ranges: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let ranges = ranges.as_array().unwrap().iter();
        ranges.map(|range| range["days"].as_f64().unwrap()).sum()
    };
    sim.add_fault(Fault::parse("export from=2024-01-14 always status=500").unwrap());
    run(&place, &text).ended(3);
    let missing = value(&place, "mixflow_missing_days", "a").unwrap();
    let named: f64 = gaps();
    assert_eq!(missing, named);
    sim.clear_faults();
    run(&place, &text).ended(0);
    assert_eq!(
        value(&place, "mixflow_missing_days", "a"),
        Some(missing - 1.0)
    );
    // Nobody knows what is in there.
    place.write("out.db", "no database");
    run(&place, &text).ended(6);
    assert_eq!(value(&place, "mixflow_missing_days", "a"), None);
}

#[test]
fn what_could_not_be_done_is_written_too() {
    let (sim, place) = (store(), Place::new());
    let text = days(&sim, "a");
    run(&place, &text).ended(0);
    let last = value(&place, SUCCESS, "a");
    for (from, to, code) in [
        ("username = \"sim\"", "username = \"nobody\"", 4),
        ("SIM_SECRET", "UNSET", 2),
        ("mode =", "mdoe =", 2),
    ] {
        run(&place, &text).ended(0);
        run(&place, &text.replace(from, to)).ended(code);
        assert_eq!(value(&place, "mixflow_rows", "a"), Some(0.0), "{to}");
        assert!(value(&place, SUCCESS, "a") >= last);
    }
}

#[test]
fn what_others_have_written_stays() {
    let (sim, place) = (store(), Place::new());
    let old = "# HELP other_total Of somebody else.\n# TYPE other_total counter\nother_total{a=\"}\"} 7 1700000000000\nup 1\n";
    place.write("m.prom", old);
    let text = days(&sim, "a").replace("name = 'a'", "name = 'quo\"te'");
    let wrong = text.replace("\"sim\"", "\"nobody\"");
    run(&place, &wrong).ended(4);
    let text = place.read("m.prom");
    assert!(text.starts_with(old), "{text}");
    assert!(
        text.contains("mixflow_rows{pipeline=\"quo\\\"te\"} 0"),
        "{text}"
    );
    // It is no file of metrics.
    place.write("m.prom", "{\"a\": 1}\n");
    run(&place, &days(&sim, "a"))
        .ended(0)
        .says("warning: cannot write the metrics to `m.prom`: what is there are no metrics");
    assert_eq!(place.read("m.prom"), "{\"a\": 1}\n");
}

#[test]
fn one_that_cannot_be_written_is_a_warning() {
    let (sim, place) = (store(), Place::new());
    let text = days(&sim, "a").replace("m.prom", "no/such/m.prom");
    run(&place, &text)
        .ended(0)
        .says("warning: cannot write the metrics to `no/such/m.prom`: ");
    assert_eq!(place.names(), ["out.db"]);
}

#[test]
fn metrics_onto_the_destination_are_refused_before_anything() {
    let (sim, place) = (store(), Place::new());
    let text = days(&sim, "a").replace("m.prom", "./out.db");
    run(&place, &text)
        .ended(2)
        .says("cannot write the metrics to `./out.db`")
        .says("choose another file for `metrics` in `[run]`");
    assert_eq!(place.names(), Vec::<String>::new());
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn several_at_a_time_lose_no_line() {
    let place = Place::new();
    let names: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
    let made = "[source]\ntype = \"synthetic_events\"\nrows = 3\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n[sink]\ntype = \"jsonl\"\n[run]\nmetrics = \"m.prom\"\n";
    for name in &names {
        place.write(&format!("{name}.toml"), made);
    }
    for _ in 0..3 {
        let children: Vec<_> = names
            .iter()
            .map(|name| place.spawn(&["run", &format!("{name}.toml")]))
            .collect();
        for child in children {
            Ran::of(child.wait_with_output().unwrap()).ended(0);
        }
        for name in &names {
            assert_eq!(value(&place, "mixflow_rows", name), Some(3.0));
            assert!(value(&place, SUCCESS, name).is_some());
        }
        std::fs::remove_file(place.path("m.prom")).unwrap();
    }
}
