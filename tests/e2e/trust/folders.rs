//! A folder of Parquet files holds just what was fetched, and says what that is.

use jiff::civil::{Date, date};
use mixflow_tests::sim::{Data, Simulator};

use crate::rows::form::{Event, in_parquet, sorted};
use crate::support::{Place, Ran, events, pipeline, sim, started};

const SINK: &str =
    "[sink]\ntype = \"parquet\"\npath = \"out\"\nmode = \"replace_window\"\nallow_shrink = true\n";

fn line(name: &str, time: &str, id: &str) -> String {
    let time: jiff::Timestamp = time.parse().unwrap();
    let seconds = time.as_second();
    format!(
        r#"{{"event":"{name}","properties":{{"time":{seconds},"distinct_id":"u","$insert_id":"{id}"}}}}"#
    )
}

/// Four days about the one on which the clocks go forward in `US/Pacific`, in
/// the project's own time, as such a project has them. Of the 10th, some events
/// say that they happened on others, and one at an hour that there was not.
fn data() -> Data {
    let mut data = Data::default();
    for (day, time, id) in [
        (9, "2024-03-09T00:30:00Z", "a"),
        (9, "2024-03-09T23:30:00Z", "b"),
        (10, "2024-03-10T00:30:00Z", "c"),
        (10, "2024-03-10T02:30:00Z", "hour that was not"),
        (10, "2024-03-09T12:00:00Z", "early"),
        (10, "2024-03-11T12:00:00Z", "late"),
        (10, "2024-05-01T12:00:00Z", "much later"),
        (11, "2024-03-11T12:00:00Z", "d"),
        (11, "2024-03-11T23:59:59Z", "e"),
        (12, "2024-03-12T00:00:00Z", "f"),
    ] {
        let name = if id < "d" { "A" } else { "B" };
        data.add_raw_line(date(2024, 3, day), line(name, time, id).as_bytes());
    }
    data
}

fn fetch(place: &Place, sim: &Simulator, days: (i8, i8), more: &str, sink: &str) -> Ran {
    let days = format!(
        "from = \"2024-03-{:02}\"\nto = \"2024-03-{:02}\"\ntimezone = \"US/Pacific\"\nwindow_days = 1\n{more}",
        days.0, days.1
    );
    place.run(&pipeline(&[&events(sim, &days), sink])).0
}

fn rows(place: &Place) -> Vec<(String, i64)> {
    let rows = sorted(in_parquet::<Event>(&place.path("out")));
    let rows = rows.into_iter();
    rows.map(|row| (row.insert_id, row.event_time_us)).collect()
}

fn ids(place: &Place) -> String {
    let mut ids: Vec<String> = rows(place).into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.join(", ")
}

/// Returns the days of each dataset, with their state and rows.
fn ledger(place: &Place) -> Vec<(Date, String, u64)> {
    let text = place.read("out/_mixflow/ledger.json");
    let ledger: serde_json::Value = serde_json::from_str(&text).unwrap();
    let datasets = ledger["datasets"].as_array().unwrap();
    let days = datasets
        .iter()
        .flat_map(|held| held["days"].as_array().unwrap());
    days.map(|day| {
        (
            day["day"].as_str().unwrap().parse().unwrap(),
            day["state"].as_str().unwrap().to_owned(),
            day["rows"].as_u64().unwrap(),
        )
    })
    .collect()
}

#[test]
fn no_order_of_runs_doubles_or_loses_rows_where_days_are_of_another_zone() {
    let sim = started(sim(data()));
    let place = Place::new();
    fetch(&place, &sim, (9, 12), "", SINK)
        .ended(0)
        .says("rows lie outside the days that they were fetched for");
    let before = rows(&place);
    assert_eq!(before.len(), 10);
    for days in [
        (9, 12),
        (10, 10),
        (11, 11),
        (9, 9),
        (12, 12),
        (10, 11),
        (10, 10),
    ] {
        fetch(&place, &sim, days, "", SINK).ended(0);
        assert_eq!(rows(&place), before, "after {days:?}");
    }
    let day = |n, rows| (date(2024, 3, n), "complete".to_owned(), rows);
    assert_eq!(
        ledger(&place),
        [day(9, 2), day(10, 5), day(11, 2), day(12, 1)]
    );
    // What is gone at the server goes here, wherever it lies.
    let mut fewer = data();
    fewer.clear_day(date(2024, 3, 10));
    sim.set_data(fewer);
    fetch(&place, &sim, (10, 10), "", SINK).ended(0);
    assert_eq!(ids(&place), "a, b, d, e, f");
    assert_eq!(
        ledger(&place)[1],
        (date(2024, 3, 10), "empty".to_owned(), 0)
    );
}

#[test]
fn rows_of_other_filters_are_refused_or_kept_apart() {
    let sim = started(sim(data()));
    let place = Place::new();
    let (a, b) = ("events = [\"A\"]\n", "events = [\"B\"]\n");
    fetch(&place, &sim, (9, 12), a, SINK).ended(0);
    sim.clear_log();
    fetch(&place, &sim, (9, 12), b, SINK)
        .ended(6)
        .says("cannot replace days of the folder `out`, which has rows of another dataset")
        .says(r#"they were fetched with `events = ["A"]`, and this pipeline has `events = ["B"]`"#)
        .says("scope = \"filter\"");
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(ids(&place), "a, b, c");
    let apart = format!("{SINK}scope = \"filter\"\n");
    for _ in 0..3 {
        fetch(&place, &sim, (9, 12), b, &apart).ended(0);
        fetch(&place, &sim, (10, 11), a, &apart).ended(0);
        assert_eq!(
            ids(&place),
            "a, b, c, d, e, early, f, hour that was not, late, much later"
        );
    }
}

#[test]
fn a_file_that_is_no_folder_has_no_ledger_beside_it() {
    let sim = started(sim(data()));
    let place = Place::new();
    let sink = "[sink]\ntype = \"parquet\"\npath = \"out.parquet\"\n";
    fetch(&place, &sim, (9, 12), "", sink).ended(0);
    assert_eq!(place.names(), ["out.parquet"]);
}
