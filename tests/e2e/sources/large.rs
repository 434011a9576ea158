//! Bodies that are large enough to be decoded by several threads, where there
//! are several cores.

use jiff::civil::{Date, date};
use mixflow_tests::sim::{Data, ExportQuery, Fault, Simulator};
use serde_json::Value;

use crate::rows::form::{Event, assert_same, expected_events, in_lines, in_parquet, sorted};
use crate::support::{Place, Ran, STDOUT, events, pipeline, sim, started};

const DAY: Date = date(2024, 1, 4);
const PARQUET: &str = "[sink]\ntype = \"parquet\"\npath = \"out.parquet\"\n";

/// Twenty batches, and perhaps lines between them that are no records.
fn data(bad_lines: bool) -> Data {
    let mut data = Data::default();
    for seed in 0..4 {
        data = data.merged(Data::generated_between(DAY, DAY, 10_000, 0, seed));
        if bad_lines {
            data.add_raw_line(DAY, format!("{{\"event\":\"none {seed}\"}}"));
            data.add_raw_line(DAY, "");
        }
    }
    data
}

fn large(fault: Option<&str>) -> Simulator {
    let sim = started(sim(data(true)));
    if let Some(fault) = fault {
        sim.add_fault(Fault::parse(fault).unwrap());
    }
    sim
}

fn run(sim: &Simulator, place: &Place, sink: &str) -> (Ran, Value) {
    let day = format!("from = \"{DAY}\"\nto = \"{DAY}\"\n");
    place.run(&pipeline(&[&events(sim, &day), sink]))
}

/// Runs into a sink that takes everything, and reads what it has.
fn rows_and_report(sim: &Simulator, place: &Place, sink: &str) -> (Vec<Event>, Value) {
    let (ran, report) = run(sim, place, sink);
    let ran = ran.ended(0);
    let rows = match sink {
        PARQUET => in_parquet(&place.path("out.parquet")),
        _ => in_lines(&ran.stdout),
    };
    (rows, report)
}

fn expected() -> Vec<Event> {
    let sim = started(sim(data(false)));
    expected_events(&sim, &ExportQuery::new(DAY, DAY))
}

/// Returns the lines of the rejects, and the records.
fn rejects(report: &Value) -> Vec<(u64, String)> {
    let file = std::fs::read_to_string(report["reject_file"].as_str().unwrap()).unwrap();
    let rejects = file.lines().map(|line| {
        let reject: Value = serde_json::from_str(line).unwrap();
        let record = reject["record"].as_str().unwrap().to_owned();
        (reject["line"].as_u64().unwrap(), record)
    });
    rejects.collect()
}

/// Where the lines that are no records stand in the body.
fn bad_lines() -> Vec<(u64, String)> {
    let data = data(true);
    let lines = (1..).zip(data.events_on(DAY));
    let bad = lines.filter(|(_, line)| line.starts_with(b"{\"event\":\"none"));
    bad.map(|(n, line)| (n, String::from_utf8(line.to_vec()).unwrap()))
        .collect()
}

#[test]
fn rows_and_rejects_of_a_large_body_keep_their_order() {
    let sim = large(None);
    for sink in [PARQUET, STDOUT] {
        let place = Place::new();
        let (rows, report) = rows_and_report(&sim, &place, sink);
        assert_same(&rows, &expected());
        assert_eq!(rejects(&report), bad_lines());
    }
}

#[test]
fn a_large_body_that_breaks_off_comes_whole() {
    for fault in [
        "export cut=0.3",
        "export cut=0.9",
        "export cut_clean=middle",
    ] {
        for sink in [PARQUET, STDOUT] {
            let sim = large(Some(fault));
            let place = Place::new();
            let (rows, report) = rows_and_report(&sim, &place, sink);
            assert_same(&sorted(rows), &sorted(expected()));
            assert_eq!(report["retries"], 1, "{fault}");
            assert_eq!(rejects(&report), bad_lines(), "{fault}");
        }
    }
}
