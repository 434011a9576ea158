//! Going on after a run that did not end well, and runs at the same time.

use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};
use serde_json::json;

use crate::rows::form::{
    Event, Profile, assert_same, expected_events, expected_profiles, in_parquet, in_table, sorted,
};
use crate::support::{
    DUCKDB, Place, Ran, STDOUT, events, pipeline, profiles, sim, started, workers,
};

fn five_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_000, 450, 7)
}

const FIVE: &str = "from = \"2024-01-01\"\nto = \"2024-01-05\"\nwindow_days = 1\n";

fn all() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 1), date(2024, 1, 5))
}

/// A simulator that drops every connection for a day.
fn without(day: i8) -> Simulator {
    let fault = Fault::always(Matcher::export_from(date(2024, 1, day)), Action::Drop);
    started(sim(five_days()).fault(fault))
}

/// The days that were asked for, in order.
fn asked(sim: &Simulator) -> Vec<String> {
    sim.requests()
        .iter()
        .filter_map(|request| request.param("from_date").map(str::to_owned))
        .collect()
}

fn spooled(place: &Place) -> usize {
    std::fs::read_dir(place.path("state/spool")).map_or(0, Iterator::count)
}

#[test]
fn a_run_after_one_that_failed_asks_only_for_the_rest() {
    let sim = without(4);
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB]);
    place.run(&text).0.ended(1);
    assert_eq!(spooled(&place), 3);
    sim.clear_faults();
    sim.clear_log();
    let (ran, report) = place.run(&text);
    ran.ended(0).says("reused 3 partitions that the run of ");
    assert_eq!(asked(&sim), ["2024-01-04", "2024-01-05"]);
    assert_eq!(
        report["reused_partitions"],
        json!(["2024-01-01", "2024-01-02", "2024-01-03"])
    );
    assert_same(
        &in_table::<Event>(&place.path("out.db"), "events"),
        &expected_events(&sim, &all()),
    );
    // What is committed is not needed again.
    assert_eq!(spooled(&place), 0);
    sim.clear_log();
    let again = format!("{text}mode = \"replace\"\n");
    place.run(&again).0.ended(0);
    assert_eq!(asked(&sim).len(), 5);
}

#[test]
fn a_body_of_another_request_is_not_used() {
    let sim = without(4);
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, FIVE), DUCKDB]))
        .0
        .ended(1);
    sim.clear_faults();
    sim.clear_log();
    let filtered = events(&sim, &format!("{FIVE}time_in_ms = true\n"));
    place.run(&pipeline(&[&filtered, DUCKDB])).0.ended(0);
    assert_eq!(asked(&sim).len(), 5);
}

#[test]
fn what_was_refused_for_what_it_says_is_asked_for_again() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB]);
    let strict = format!("{text}[run]\nmin_rows = 5000\n");
    place.run(&strict).0.ended(1);
    assert_eq!(spooled(&place), 0);
    sim.clear_log();
    place.run(&text).0.ended(0);
    assert_eq!(asked(&sim).len(), 5);
}

#[test]
fn only_failed_fetches_the_missing_windows_and_adds_them() {
    for sink in [DUCKDB, "[sink]\ntype = \"parquet\"\npath = \"out\"\n"] {
        let sim = without(2);
        let place = Place::new();
        let text = pipeline(&[&events(&sim, FIVE), sink, &workers(3)]);
        place.run(&text).0.ended(3);
        // Still not there: what was there stays.
        sim.clear_log();
        place.run_with(&text, &["--only-failed"]).0.ended(1);
        assert!(asked(&sim).iter().all(|day| day == "2024-01-02"));
        sim.clear_faults();
        sim.clear_log();
        place.run_with(&text, &["--only-failed"]).0.ended(0);
        assert_eq!(asked(&sim), ["2024-01-02"]);
        let rows: Vec<Event> = match sink {
            DUCKDB => {
                let metadata = "SELECT status, missing, row_count FROM _metadata";
                assert_eq!(place.sql("out.db", metadata), [["committed", "[]", "1000"]]);
                in_table(&place.path("out.db"), "events")
            }
            _ => in_parquet(&place.path("out")),
        };
        assert_same(&sorted(rows), &sorted(expected_events(&sim, &all())));
        // Nothing is missing any more.
        sim.clear_log();
        place
            .mixflow(&["run", "test.toml", "--only-failed"])
            .ended(0)
            .says("test: nothing is missing from the run of ");
        assert_eq!(asked(&sim).len(), 0);
    }
}

#[test]
fn only_failed_after_a_run_that_stored_nothing_fetches_all_of_its_windows() {
    let sim = without(5);
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB]);
    place.run(&text).0.ended(1);
    sim.clear_faults();
    // The dates of the file have moved on meanwhile.
    let later = text.replace("2024-01-05", "2024-01-06");
    place.run_with(&later, &["--only-failed"]).0.ended(0);
    assert_same(
        &in_table::<Event>(&place.path("out.db"), "events"),
        &expected_events(&sim, &all()),
    );
}

#[test]
fn only_failed_fetches_the_whole_snapshot_of_profiles_and_says_why() {
    let fault = Fault::always(Matcher::engage_page(3), Action::Drop);
    let sim = started(sim(five_days()).page_size(100).fault(fault));
    let place = Place::new();
    let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]);
    place.run(&text).0.ended(3);
    sim.clear_faults();
    let (ran, _) = place.run_with(&text, &["--only-failed"]);
    ran.ended(0).says("profiles are a snapshot");
    assert_same(
        &in_table::<Profile>(&place.path("out.db"), "profiles"),
        &expected_profiles(&sim, &Default::default()),
    );
}

#[test]
fn only_failed_without_a_run_before_it_says_so() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), DUCKDB]);
    place
        .run_with(&text, &["--only-failed"])
        .0
        .ended(2)
        .says("no run of it to this destination is in the history")
        .says("hint: run it without `--only-failed`");
    assert_eq!(asked(&sim).len(), 0);
}

/// A run that waits for its second day, and a second one meanwhile.
fn overlapping(sink: &str, args: &[&str]) -> (Ran, Ran, Simulator, Place) {
    let slow = Action::SlowFirstByte(Duration::from_secs(2));
    let fault = Fault::once(Matcher::export_from(date(2024, 1, 2)), slow);
    let sim = started(sim(five_days()).fault(fault));
    let place = Place::new();
    place.write("first.toml", &pipeline(&[&events(&sim, FIVE), sink]));
    place.write("second.toml", &pipeline(&[&events(&sim, FIVE), sink]));
    let first = place.spawn(&["run", "first.toml"]);
    let asked = Instant::now();
    while sim.requests().len() < 2 && asked.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let pid = first.id();
    let second = place.mixflow(&[&["run", "second.toml"], args].concat());
    let first = Ran::of(first.wait_with_output().unwrap());
    let who = format!("the pipeline `first` (PID {pid})");
    (first, second.says(&who), sim, place)
}

const REPLACING: [&str; 3] = [
    "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace\"\n",
    "[sink]\ntype = \"parquet\"\npath = \"out\"\nmode = \"replace\"\n",
    "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"replace\"\n",
];

#[test]
fn runs_to_one_destination_at_the_same_time_end_with_6_naming_the_holder() {
    for sink in REPLACING {
        let (first, second, sim, _place) = overlapping(sink, &[]);
        first.ended(0);
        second.ended(6).says("hint: run it later, or with `--wait`");
        assert_eq!(asked(&sim).len(), 5);
    }
}

#[test]
fn a_run_that_is_told_to_wait_waits() {
    let (first, second, sim, place) = overlapping(REPLACING[0], &["--wait"]);
    first.ended(0);
    second.ended(0).says("waiting for the pipeline `first`");
    assert_eq!(asked(&sim).len(), 10);
    assert_eq!(
        place.sql("out.db", "SELECT count(*) FROM events"),
        [["1000"]]
    );
}

#[test]
fn runs_to_different_destinations_do_not_wait() {
    let sim = started(sim(five_days()));
    let place = Place::new();
    place.write("test.toml", &pipeline(&[&events(&sim, FIVE), STDOUT]));
    let children = [0, 1, 2].map(|_| place.spawn(&["run", "test.toml"]));
    for child in children {
        Ran::of(child.wait_with_output().unwrap()).ended(0);
    }
}
