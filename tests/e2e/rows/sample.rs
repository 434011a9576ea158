//! The sample data through every sink, sequentially and in parallel, compared
//! with the model row by row.

use jiff::civil::date;
use mixflow_tests::sim::{Data, Endpoint, EngageQuery, ExportQuery, Simulator};

use crate::rows::form::{
    Event, Profile, Row, assert_same, expected_events, expected_profiles, in_lines, in_parquet,
    in_table, sorted,
};
use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, profiles, sim, started, workers};

const PARQUET_FILE: &str = "[sink]\ntype = \"parquet\"\npath = \"out.parquet\"\n";
const PARQUET_FOLDER: &str = "[sink]\ntype = \"parquet\"\npath = \"out\"\n";
const JSONL_FILE: &str = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";

/// The sample, its 8,000 events spread over its days instead of standing
/// nearly all in the last one.
fn sample() -> Data {
    Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14))
}

fn all() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14))
}

/// Runs into every sink and returns the rows of each, by name.
fn through_all_sinks<R: Row>(
    source: &str,
    workers_: usize,
    table: &str,
    rows: u64,
) -> Vec<(&'static str, Vec<R>)> {
    let place = Place::new();
    let mut found = Vec::new();
    for (name, sink) in [
        ("duckdb", DUCKDB),
        ("stdout", STDOUT),
        ("jsonl", JSONL_FILE),
        ("parquet file", PARQUET_FILE),
        ("parquet folder", PARQUET_FOLDER),
    ] {
        let (ran, report) = place.run(&pipeline(&[source, sink, &workers(workers_)]));
        let ran = ran.ended(0);
        assert_eq!(report["row_count"], rows, "{name}");
        assert_eq!(report["rejected"], 0, "{name}");
        assert_eq!(report["status"], "committed", "{name}");
        let rows = match name {
            "duckdb" => in_table(&place.path("out.db"), table),
            "stdout" => in_lines(&ran.stdout),
            "jsonl" => in_lines(&std::fs::read(place.path("out.jsonl")).unwrap()),
            "parquet file" => in_parquet(&place.path("out.parquet")),
            _ => in_parquet(&place.path("out")),
        };
        found.push((name, rows));
    }
    found
}

fn sample_sim() -> Simulator {
    started(sim(sample()).page_size(150))
}

#[test]
fn events_read_one_after_the_other_are_the_models_in_its_order() {
    let sim = sample_sim();
    let expected = expected_events(&sim, &all());
    assert_eq!(expected.len(), 8_000);
    let source = events(&sim, "window_days = 1");
    for (sink, rows) in through_all_sinks::<Event>(&source, 1, "events", 8_000) {
        eprintln!("{sink}");
        assert_same(&rows, &expected);
    }
    assert_eq!(sim.peak_concurrency(), 1);
}

#[test]
fn events_read_in_parallel_are_the_same_rows() {
    let sim = started(sim(sample()).latency(std::time::Duration::from_millis(20)));
    let expected = sorted(expected_events(&sim, &all()));
    let source = events(&sim, "window_days = 1");
    for (sink, rows) in through_all_sinks::<Event>(&source, 4, "events", 8_000) {
        eprintln!("{sink}");
        assert_same(&sorted(rows), &expected);
    }
    assert_eq!(sim.peak_concurrency(), 4);
}

#[test]
fn the_sample_as_it_is_has_nearly_all_events_in_one_day() {
    let sim = started(sim(Data::sample()));
    let expected = expected_events(&sim, &all());
    let source = events(&sim, "");
    for (sink, rows) in through_all_sinks::<Event>(&source, 1, "events", 8_000) {
        eprintln!("{sink}");
        match sink {
            // A folder is read in the order of its days.
            "parquet folder" => assert_same(&sorted(rows), &sorted(expected.clone())),
            _ => assert_same(&rows, &expected),
        }
    }
}

#[test]
fn profiles_are_the_same_table_sequentially_and_in_parallel() {
    let sim = sample_sim();
    let expected = expected_profiles(&sim, &EngageQuery::default());
    assert!(expected.len() > 1_900);
    for workers in [1, 5] {
        let source = profiles(&sim, "");
        let rows = expected.len() as u64;
        for (sink, rows) in through_all_sinks::<Profile>(&source, workers, "profiles", rows) {
            eprintln!("{sink}, {workers} workers");
            assert_same(&rows, &expected);
        }
    }
}

#[test]
fn raw_records_are_the_bytes_that_were_sent() {
    let sim = sample_sim();
    let place = Place::new();
    let raw = format!("{STDOUT}format = \"raw\"\n");
    let (ran, _) = place.run(&pipeline(&[&events(&sim, "window_days = 3"), &raw]));
    let mut expected = sim.expected_events(&all()).join(&b"\n"[..]);
    expected.push(b'\n');
    assert!(ran.ended(0).stdout == expected);

    let (ran, _) = place.run(&pipeline(&[&profiles(&sim, ""), &raw, &workers(3)]));
    let mut expected = sim
        .expected_profiles(&EngageQuery::default())
        .join(&b"\n"[..]);
    expected.push(b'\n');
    assert!(ran.ended(0).stdout == expected);
}

#[test]
fn filters_of_events_are_passed_on() {
    let sim = sample_sim();
    let place = Place::new();
    let one = sim.expected_events(&all());
    let name = mixflow_tests::sim::model::normalize_event(&one[0], false)
        .unwrap()
        .event_name;
    let source = events(
        &sim,
        &format!(
            "events = [\"{name}\", \"no such event\"]\ntime_in_ms = true\nlimit = 40\nwindow_days = 14"
        ),
    );
    let (ran, _) = place.run(&pipeline(&[&source, STDOUT]));
    let query = ExportQuery {
        events: vec![name, "no such event".to_owned()],
        limit: Some(40),
        time_in_ms: true,
        ..all()
    };
    let expected = expected_events(&sim, &query);
    assert_eq!(expected.len(), 40);
    assert_same(&in_lines::<Event>(&ran.ended(0).stdout), &expected);

    let source = events(&sim, "where = 'properties[\"$os\"] == \"iOS\"'");
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB]));
    ran.ended(0);
    let query = ExportQuery {
        where_: Some("properties[\"$os\"] == \"iOS\"".to_owned()),
        ..all()
    };
    let expected = expected_events(&sim, &query);
    assert_eq!(report["row_count"], expected.len());
    let filters = place.sql("out.db", "SELECT filters->>'where' FROM _metadata");
    assert_eq!(filters, [["properties[\"$os\"] == \"iOS\""]]);
}

#[test]
fn filters_of_profiles_are_passed_on() {
    let sim = sample_sim();
    let all = expected_profiles(&sim, &EngageQuery::default());
    let place = Place::new();
    let run = |more: &str| {
        let (ran, _) = place.run(&pipeline(&[&profiles(&sim, more), STDOUT]));
        in_lines::<Profile>(&ran.ended(0).stdout)
    };
    let ids: Vec<String> = all[3..6].iter().map(|p| p.distinct_id.clone()).collect();
    assert_same(&run(&format!("distinct_id = \"{}\"", ids[0])), &all[3..4]);
    assert_same(&run(&format!("distinct_ids = {ids:?}")), &all[3..6]);
    let query = EngageQuery {
        cohort: Some(3),
        include_all_users: Some(false),
        ..EngageQuery::default()
    };
    assert_same(
        &run("cohort_id = 3\ninclude_all_users = false"),
        &expected_profiles(&sim, &query),
    );
    let query = EngageQuery {
        output_properties: Some(vec!["$email".to_owned(), "$last_seen".to_owned()]),
        ..EngageQuery::default()
    };
    assert_same(
        &run("output_properties = [\"$email\", \"$last_seen\"]"),
        &expected_profiles(&sim, &query),
    );
    sim.clear_log();
    run(
        "behaviors = [{ window = \"7d\", name = \"b\", event_selectors = [{ event = \"Buy\" }] }]\nas_of_timestamp = 1704067200",
    );
    let requests = sim.requests_to(Endpoint::Engage);
    let sent = requests[0].param("behaviors").unwrap();
    let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
    assert_eq!(sent[0]["event_selectors"][0]["event"], "Buy");
    assert_eq!(requests[0].param("as_of_timestamp"), Some("1704067200"));
    // A group's profiles are others.
    sim.clear_log();
    assert!(run("group_id = 77").is_empty());
    assert_eq!(
        sim.requests_to(Endpoint::Engage)[0].param("data_group_id"),
        Some("77")
    );
}
