//! What is entered of destinations whose sinks keep no ledger.

use std::fs;

use jiff::civil::{Date, date};
use mixflow_core::batch::PartitionId;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{
    DayRecord, DayState, Earlier, FetchedUnit, Ledger, LedgerStore as _, Recorded, UnitRecord,
};
use mixflow_core::unit::{Dataset, DayRange, UnitKey};
use rusqlite::Connection;
use serde_json::json;

use super::Folder;
use crate::State;

fn dataset(project: &str) -> Dataset {
    Dataset {
        project: project.to_owned(),
        ..Dataset::default()
    }
}

/// A unit of these days of January, each with so many rows.
fn unit(run_id: &str, days: &[(i8, u64)]) -> FetchedUnit {
    let (first, last) = (days[0].0, days[days.len() - 1].0);
    let fetched_at = "2024-02-01T00:00:00.123456789Z".parse().expect("a time");
    let unit_key = UnitKey::of(&dataset("1").key(), &json!([first, last]));
    let day = |(day, rows): &(i8, u64)| DayRecord {
        day: january(*day),
        state: match rows {
            0 => DayState::Empty,
            _ => DayState::Complete,
        },
        rows: Some(*rows),
        duplicates: 2,
        bytes: Some(rows * 100),
        fetched_at,
        run_id: run_id.to_owned(),
        unit_key: unit_key.clone(),
    };
    FetchedUnit {
        id: PartitionId(0),
        days: days.iter().map(day).collect(),
        record: UnitRecord {
            unit_key: unit_key.clone(),
            label: format!("{first} to {last}"),
            days: Some(DayRange {
                first: january(first),
                last: january(last),
                start_us: -7,
                end_us: 1 << 50,
            }),
            fetched_at,
            run_id: run_id.to_owned(),
            rows: days.iter().map(|(_, rows)| rows).sum(),
            duplicates: 3,
            rejected: 1,
            bytes: None,
            sha256: Some("ab".repeat(32)),
            latest_version: Some(1 << 41),
            outside: 0,
        },
    }
}

fn january(day: i8) -> Date {
    date(2024, 1, day)
}

fn stream() -> Destination {
    Destination::named("standard output")
}

fn record(state: &State, units: &[FetchedUnit], earlier: Earlier) {
    let done = Recorded { units, earlier };
    let recorded = state.record(&stream(), &dataset("1"), &done);
    recorded.expect("there is room");
}

fn ledger(state: &State) -> Ledger {
    let read = state.ledger(&stream(), &dataset("1"));
    read.expect("the state can be used")
}

/// The rows of each day, by its number.
fn rows(ledger: &Ledger) -> Vec<(i8, u64)> {
    let days = ledger.days();
    days.map(|day| (day.day.day(), day.rows.expect("counted")))
        .collect()
}

#[test]
fn what_is_recorded_is_read_back_as_it_was() {
    let folder = Folder::new();
    let mut unit = unit("run", &[(1, 0), (2, 7)]);
    unit.days[1].rows = None;
    record(&folder.state(), std::slice::from_ref(&unit), Earlier::Stay);
    let state = folder.state();
    let found = ledger(&state);
    assert_eq!(found.days().cloned().collect::<Vec<_>>(), unit.days);
    let units = state.units(&stream(), &dataset("1"));
    assert_eq!(units, Ok(vec![unit.record]));
    assert_eq!(Vec::from_iter(found.spans), [(january(1), january(2))]);
    // Nobody knows which rows of the second day are whose.
    assert_eq!(found.outside, 1);
}

#[test]
fn looking_makes_nothing() {
    let folder = Folder::new();
    let state = folder.state();
    assert_eq!(ledger(&state), Ledger::default());
    assert_eq!(state.units(&stream(), &dataset("1")), Ok(Vec::new()));
    assert!(!folder.path().exists());
}

#[test]
fn what_a_damaged_state_knew_is_lost_until_it_is_recorded_anew() {
    let folder = Folder::new();
    record(&folder.state(), &[unit("a", &[(1, 5)])], Earlier::Stay);
    std::fs::write(folder.path().join("state.db"), "no database").expect("there is room");
    for state in [folder.state(), folder.state()] {
        let lost = ledger(&state).lost.expect("nobody knows");
        assert!(lost.contains("in `state.db.damaged-"), "{lost}");
    }
    let state = folder.state();
    record(&state, &[unit("b", &[(1, 5)])], Earlier::Go);
    assert_eq!(ledger(&state).lost, None);
}

#[test]
fn rows_that_stay_are_added_up() {
    let state = &Folder::new().state();
    record(state, &[unit("a", &[(1, 5), (2, 0)])], Earlier::Stay);
    record(state, &[unit("b", &[(2, 4), (3, 1)])], Earlier::Stay);
    let found = ledger(state);
    assert_eq!(rows(&found), [(1, 5), (2, 4), (3, 1)]);
    let second = found.get(january(2)).expect("it is there");
    assert_eq!((second.duplicates, second.bytes), (4, Some(400)));
    assert_eq!(second.run_id, "b");
}

#[test]
fn days_that_were_fetched_again_are_replaced_and_their_units_go_with_the_last() {
    let state = &Folder::new().state();
    let labels = || {
        let units = state.units(&stream(), &dataset("1"));
        let units = units.expect("the state can be used");
        Vec::from_iter(units.into_iter().map(|unit| unit.run_id))
    };
    record(state, &[unit("a", &[(1, 5), (2, 6)])], Earlier::GoByDay);
    record(state, &[unit("b", &[(2, 1)])], Earlier::GoByDay);
    assert_eq!(rows(&ledger(state)), [(1, 5), (2, 1)]);
    assert_eq!(labels(), ["a", "b"]);
    record(state, &[unit("c", &[(1, 2)])], Earlier::GoByDay);
    assert_eq!(rows(&ledger(state)), [(1, 2), (2, 1)]);
    assert_eq!(labels(), ["c", "b"]);
    assert!(ledger(state).spans.is_empty());
    // The same unit again.
    record(state, &[unit("d", &[(1, 3)])], Earlier::GoByDay);
    assert_eq!(labels(), ["d", "b"]);
}

#[test]
fn a_day_that_a_run_has_fetched_in_parts_is_all_of_them() {
    let state = &Folder::new().state();
    let parts = [unit("a", &[(1, 5)]), unit("a", &[(1, 6), (2, 1)])];
    for _ in 0..2 {
        record(state, &parts, Earlier::GoByDay);
        assert_eq!(rows(&ledger(state)), [(1, 11), (2, 1)]);
    }
}

#[test]
fn where_all_of_it_goes_other_datasets_go_too() {
    let state = &Folder::new().state();
    let done = |units, earlier| Recorded { units, earlier };
    let one = [unit("a", &[(1, 5)])];
    let elsewhere = stream().with_table("events");
    for (destination, project) in [(stream(), "1"), (stream(), "2"), (elsewhere.clone(), "1")] {
        let recorded = state.record(
            &destination,
            &dataset(project),
            &done(&one, Earlier::GoByDay),
        );
        recorded.expect("there is room");
    }
    record(state, &[unit("b", &[(9, 1)])], Earlier::Go);
    assert_eq!(rows(&ledger(state)), [(9, 1)]);
    let held = |destination: &Destination, project| {
        let found = state.ledger(destination, &dataset(project));
        found.expect("the state can be used").days().count()
    };
    assert_eq!(held(&stream(), "2"), 0);
    assert_eq!(held(&elsewhere, "1"), 1);
}

#[test]
fn a_file_that_is_gone_holds_nothing_and_is_forgotten_by_the_next_run() {
    let folder = Folder::new();
    let state = &folder.state();
    let file = folder.0.path().join("a.jsonl");
    let destination = Destination::at(&file);
    fs::write(&file, "").expect("there is room");
    let done = Recorded {
        units: &[unit("a", &[(1, 5)])],
        earlier: Earlier::Stay,
    };
    let recorded = state.record(&destination, &dataset("1"), &done);
    recorded.expect("there is room");
    let held = || {
        let found = state.ledger(&destination, &dataset("1"));
        found.expect("the state can be used").days().count()
    };
    assert_eq!(held(), 1);
    fs::remove_file(&file).expect("it is there");
    assert_eq!(held(), 0);
    // Looking has changed nothing.
    fs::write(&file, "").expect("there is room");
    assert_eq!(held(), 1);
    fs::remove_file(&file).expect("it is there");
    let read = state.read(&destination, &dataset("1"));
    assert!(read.expect("the state can be used").is_empty());
    // It dies after the commit, before its record.
    fs::write(&file, "").expect("there is room");
    assert_eq!(held(), 0);
}

#[test]
fn pages_are_not_entered() {
    let folder = Folder::new();
    let mut page = unit("a", &[(1, 5)]);
    page.days = Vec::new();
    page.record.days = None;
    record(&folder.state(), &[page], Earlier::Stay);
    assert!(!folder.path().exists());
}

#[test]
fn a_database_of_the_version_before_is_brought_up_to_date() {
    let folder = Folder::new();
    super::count(&folder.state());
    let conn = Connection::open(folder.db()).expect("it is there");
    conn.execute_batch(
        "DROP TABLE doubts; DROP TABLE ledgers; DROP TABLE ledger_days; DROP TABLE ledger_units; PRAGMA user_version = 1",
    )
    .expect("it can be written");
    drop(conn);
    let state = folder.state();
    record(&state, &[unit("a", &[(1, 5)])], Earlier::Stay);
    assert_eq!(rows(&ledger(&state)), [(1, 5)]);
    assert_eq!(super::count(&state), 2);
    assert_eq!(state.take_warnings(), Vec::<String>::new());
}

#[test]
fn a_thousand_days_have_a_thousand_units() {
    let state = &Folder::new().state();
    let first = january(1);
    let days: Vec<FetchedUnit> = (0..1_000)
        .map(|n| {
            let mut one = unit("a", &[(1, 5)]);
            let day = first.saturating_add(jiff::Span::new().days(n));
            let key = UnitKey::of(&dataset("1").key(), &json!(n));
            one.days[0].day = day;
            one.days[0].unit_key = key.clone();
            one.record.unit_key = key;
            one
        })
        .collect();
    record(state, &days, Earlier::GoByDay);
    record(state, &days, Earlier::GoByDay);
    assert_eq!(ledger(state).days().count(), 1_000);
    let units = state.units(&stream(), &dataset("1"));
    assert_eq!(units.map(|units| units.len()), Ok(1_000));
}

#[test]
fn what_is_known_of_one_uri_is_told_apart_by_service_and_found_as_it_was_before() {
    let folder = Folder::new();
    let state = folder.state();
    let plain = Destination::named("s3://bucket/events.parquet");
    let at = |service: &str| plain.clone().with_service(Some(service.to_owned()));
    let (one, two) = (at("http://one"), at("http://two"));
    let enter = |destination: &Destination, units: &[FetchedUnit], earlier| {
        let done = Recorded { units, earlier };
        let recorded = state.record(destination, &dataset("1"), &done);
        recorded.expect("there is room");
    };
    let held = |destination: &Destination| {
        let read = state.ledger(destination, &dataset("1"));
        rows(&read.expect("the state can be used"))
    };
    // A version that did not know services has left it.
    enter(&plain, &[unit("a", &[(1, 5)])], Earlier::Stay);
    assert_eq!(held(&one), [(1, 5)]);
    enter(&one, &[unit("b", &[(2, 6)])], Earlier::Stay);
    assert_eq!(held(&one), [(1, 5), (2, 6)]);
    // From then on it is known whose it is.
    assert_eq!(held(&two), []);
    enter(&two, &[unit("c", &[(3, 7)])], Earlier::Go);
    assert_eq!(held(&two), [(3, 7)]);
    assert_eq!(held(&one), [(1, 5), (2, 6)]);
}
