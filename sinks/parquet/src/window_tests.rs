//! Replacing just what was fetched, whatever rows say of their time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::ErrorKind;
use mixflow_core::ledger::Scope;
use mixflow_core::sink::WriteMode;
use mixflow_core::unit::Dataset;

use crate::days::{whole_days, zone_of};
use crate::made_up::{HOUR_US, Place, Run, dataset, days, file};
use crate::tree::OURS;

fn date(text: &str) -> Date {
    text.parse().expect("a day")
}

fn hour(text: &str) -> i64 {
    let time: Timestamp = text.parse().expect("a time");
    time.as_microsecond() / HOUR_US
}

/// Returns every hour of the days that a zone has them.
fn hours_of(first: Date, last: Date, dataset: &Dataset) -> Vec<i64> {
    let range = whole_days(first, last, &zone_of(dataset));
    (range.start_us / HOUR_US..range.end_us / HOUR_US).collect()
}

fn replacing<'p>(place: &'p Place, id: &'p str, dataset: &Dataset) -> Run<'p> {
    Run {
        place,
        id,
        mode: WriteMode::ReplaceWindow,
        scope: Scope::Window,
        dataset: dataset.clone(),
    }
}

#[test]
fn three_runs_give_the_same_rows_where_days_begin_at_other_hours() {
    // Days of 23 and of 25 hours, and ends of days in two UTC days.
    for (zone, first, last) in [
        ("US/Pacific", "2024-03-09", "2024-03-11"),
        ("US/Pacific", "2024-11-02", "2024-11-04"),
        ("Australia/Lord_Howe", "2024-10-05", "2024-10-07"),
        ("UTC", "2024-02-28", "2024-03-01"),
    ] {
        let dataset = dataset(zone, None);
        let (first, last) = (date(first), date(last));
        let hours = hours_of(first, last, &dataset);
        let place = Place::new();
        let mut names = BTreeSet::new();
        for id in ["a", "b", "c"] {
            let run = replacing(&place, id, &dataset);
            let summary = run.fetch(&[(first, last, &hours)]).expect("commits");
            assert_eq!(summary.rows, hours.len() as u64);
            assert_eq!(place.hours(), hours, "{zone} {id}");
            let files = place.read().into_iter();
            for (name, hours) in files {
                let day = name[5..15].parse::<Date>().expect("a day");
                let of_day = hours_of(day, day, &self::dataset("UTC", None));
                assert!(hours.iter().all(|hour| of_day.contains(hour)), "{name}");
                names.insert(name);
            }
        }
        let folders: BTreeSet<&str> = names.iter().map(|name| &name[..15]).collect();
        // Each run has replaced all files of the one before.
        assert_eq!(place.read().len() * 3, names.len(), "{zone}: {folders:?}");
    }
}

#[test]
fn a_folder_of_a_utc_day_has_files_of_two_days_and_each_goes_by_itself() {
    let pacific = dataset("US/Pacific", None);
    let (one, two) = (date("2024-01-01"), date("2024-01-02"));
    let place = Place::new();
    let (late, early) = (hour("2024-01-02T07:00:00Z"), hour("2024-01-02T08:00:00Z"));
    let run = replacing(&place, "a", &pacific);
    run.fetch(&[(one, one, &[late]), (two, two, &[early])])
        .expect("commits");
    assert_eq!(
        place.read(),
        [
            file("date=2024-01-02/part-a-0.parquet", &[late]),
            file("date=2024-01-02/part-a-1.parquet", &[early]),
        ]
    );
    let run = replacing(&place, "b", &pacific);
    run.fetch(&[(two, two, &[early, early + 1])])
        .expect("commits");
    assert_eq!(
        place.read(),
        [
            file("date=2024-01-02/part-a-0.parquet", &[late]),
            file("date=2024-01-02/part-b-0.parquet", &[early, early + 1]),
        ]
    );
    // A day without rows any more.
    replacing(&place, "c", &pacific)
        .fetch(&[(one, one, &[])])
        .expect("commits");
    assert_eq!(place.hours(), [early, early + 1]);
}

/// What a server has, some of it at times of other days, and one day that the
/// zone skips.
fn server() -> (Dataset, BTreeMap<Date, Vec<i64>>) {
    let samoa = dataset("Pacific/Apia", None);
    let rows = [
        ("2011-12-28", vec!["2011-12-28T20:00:00Z"]),
        // Before its day, within it, after it, and long after it.
        (
            "2011-12-29",
            vec![
                "2011-12-29T09:00:00Z",
                "2011-12-29T12:00:00Z",
                "2011-12-31T12:00:00Z",
                "2030-01-01T00:00:00Z",
            ],
        ),
        // Was no day on Samoa.
        (
            "2011-12-30",
            vec!["2011-12-30T10:00:00Z", "2011-12-30T12:00:00Z"],
        ),
        (
            "2011-12-31",
            vec!["2011-12-30T10:00:00Z", "2011-12-31T09:00:00Z"],
        ),
        ("2012-01-01", vec![]),
    ];
    let rows = rows.into_iter();
    let rows = rows.map(|(day, times)| (date(day), times.into_iter().map(hour).collect()));
    (samoa, rows.collect())
}

#[test]
fn no_order_of_runs_doubles_or_loses_a_row_outside_its_day() {
    let (samoa, server) = server();
    let mut all: Vec<i64> = server.values().flatten().copied().collect();
    all.sort_unstable();
    let days: Vec<Date> = server.keys().copied().collect();
    // Some of the orders of single days, each there and back.
    for order in orders(&days).into_iter().step_by(19) {
        let place = Place::new();
        for (n, day) in order.iter().chain(order.iter().rev()).enumerate() {
            let id = format!("r{n}");
            let run = replacing(&place, &id, &samoa);
            run.fetch(&[(*day, *day, &server[day])]).expect("commits");
        }
        assert_eq!(place.hours(), all, "{order:?}");
        let ledger = place.ledger(&samoa);
        let rows: Vec<Option<u64>> = ledger.days().map(|day| day.rows).collect();
        assert_eq!(rows, [1, 4, 2, 2, 0].map(Some));
    }
}

fn orders(days: &[Date]) -> Vec<Vec<Date>> {
    let Some((first, others)) = days.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for order in orders(others) {
        for at in 0..=order.len() {
            let mut order = order.clone();
            order.insert(at, *first);
            all.push(order);
        }
    }
    all
}

#[test]
fn some_days_of_a_unit_of_several_are_replaced_alone() {
    let pacific = dataset("US/Pacific", None);
    let place = Place::new();
    let (first, last) = (date("2024-01-01"), date("2024-01-04"));
    let mut hours = hours_of(first, last, &pacific);
    // After the last day: it is that one's.
    hours.push(hour("2024-02-01T00:00:00Z"));
    replacing(&place, "a", &pacific)
        .fetch(&[(first, last, &hours)])
        .expect("commits");
    for (id, day) in [("b", first), ("c", date("2024-01-03"))] {
        let again = hours_of(day, day, &pacific);
        replacing(&place, id, &pacific)
            .fetch(&[(day, day, &again)])
            .expect("commits");
        assert_eq!(place.hours(), hours, "{id}");
    }
    let fewer = hours_of(last, last, &pacific);
    replacing(&place, "d", &pacific)
        .fetch(&[(last, last, &fewer)])
        .expect("commits");
    assert_eq!(place.hours(), hours_of(first, last, &pacific));
}

#[test]
fn a_day_that_would_shrink_is_named_as_its_project_has_it() {
    let pacific = dataset("US/Pacific", None);
    let place = Place::new();
    let day = date("2024-01-01");
    let hours = hours_of(day, day, &pacific);
    replacing(&place, "a", &pacific)
        .fetch(&[(day, day, &hours)])
        .expect("commits");
    let error = replacing(&place, "b", &pacific)
        .fetch(&[(day, day, &hours[..11])])
        .expect_err("refused");
    assert_eq!(
        error.causes(),
        ["this would shrink 2024-01-01 from 24 to 11 rows"]
    );
    assert_eq!(place.hours(), hours);
}

#[test]
fn another_dataset_is_refused_before_anything_is_done() {
    let place = Place::new();
    let day = date("2024-01-01");
    let (a, b) = (dataset("UTC", Some("A")), dataset("UTC", Some("B")));
    let start = hour("2024-01-01T00:00:00Z");
    replacing(&place, "a", &a)
        .fetch(&[(day, day, &[start])])
        .expect("commits");
    let run = replacing(&place, "b", &b);
    let error = run.preview(&[(day, day, &[])]).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(
        error.causes(),
        [r#"they were fetched with `events = ["A"]`, and this pipeline has `events = ["B"]`"#]
    );
    // What starts anew has nothing to do with what was there.
    let run = Run {
        mode: WriteMode::Replace,
        ..run
    };
    run.fetch(&[(day, day, &[start])]).expect("commits");
    assert!(place.ledger(&a).is_empty());
    replacing(&place, "c", &b)
        .fetch(&[(day, day, &[start])])
        .expect("commits");
}

#[test]
fn by_filter_each_dataset_replaces_its_own_rows_alone() {
    let place = Place::new();
    let (one, two) = (date("2024-01-01"), date("2024-01-02"));
    let (a, b) = (dataset("UTC", Some("A")), dataset("US/Pacific", Some("B")));
    let start = hour("2024-01-01T00:00:00Z");
    let fetch = |id: &str, dataset: &Dataset, windows: &[(Date, Date, &[i64])]| {
        let run = Run {
            scope: Scope::Filter,
            ..replacing(&place, id, dataset)
        };
        let summary = run.fetch(windows).expect("commits");
        assert_eq!(summary.warnings, Vec::<String>::new());
    };
    fetch("a", &a, &[(one, one, &[start]), (two, two, &[start + 24])]);
    fetch(
        "b",
        &b,
        &[(one, one, &[start + 9]), (two, two, &[start + 33])],
    );
    fetch("c", &a, &[(one, one, &[start + 1])]);
    assert_eq!(
        place.hours(),
        [start + 1, start + 9, start + 24, start + 33]
    );
    fetch("d", &b, &[(one, two, &[])]);
    assert_eq!(place.hours(), [start + 1, start + 24]);
    assert_eq!(place.ledger(&a).days().count(), 2);
    assert_eq!(place.ledger(&b).days().count(), 2);
    // Without it neither may.
    let refused = replacing(&place, "e", &a).preview(&[(one, one, &[])]);
    assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Destination);
}

/// Makes a folder of the 1st to the 3rd of January 1970, as an older mixflow
/// did.
fn without_ledger() -> Place {
    let place = Place::new();
    place.run("old", WriteMode::Create, &days(0, 3), &[1, 20, 25, 49]);
    fs::remove_dir_all(place.path.join(OURS)).expect("removed");
    place
}

#[test]
fn files_that_no_ledger_knows_are_replaced_by_utc_day() {
    let place = without_ledger();
    let utc = dataset("UTC", None);
    let two = date("1970-01-02");
    replacing(&place, "a", &utc)
        .fetch(&[(two, two, &[26])])
        .expect("commits");
    assert_eq!(place.hours(), [1, 20, 26, 49]);
    // Of another zone only where all of a folder was fetched.
    let pacific = dataset("US/Pacific", None);
    let days = |first: &str, last: &str| (date(first), date(last));
    let (first, last) = days("1969-12-31", "1970-01-02");
    let place = without_ledger();
    let hours = [1, 9, 33, 50];
    let run = replacing(&place, "b", &pacific);
    let error = run.preview(&[(first, last, &hours)]).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(
        error.causes(),
        [
            "nobody knows which days `date=1970-01-03/part-old-2.parquet` in it was fetched for, and only a part of its UTC day is fetched now"
        ]
    );
    let (first, last) = days("1969-12-31", "1970-01-03");
    for id in ["c", "d"] {
        replacing(&place, id, &pacific)
            .fetch(&[(first, last, &hours)])
            .expect("commits");
        assert_eq!(place.hours(), hours);
    }
}

#[test]
fn a_hole_between_windows_spares_no_part_of_a_file() {
    let place = without_ledger();
    let pacific = dataset("US/Pacific", None);
    let before = place.read();
    let windows: [(Date, Date, &[i64]); 2] = [
        (date("1969-12-31"), date("1970-01-01"), &[9]),
        (date("1970-01-03"), date("1970-01-03"), &[60]),
    ];
    let error = replacing(&place, "a", &pacific)
        .fetch(&windows)
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(place.read(), before);
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn by_filter_files_that_no_ledger_knows_stay_and_are_named() {
    let place = without_ledger();
    let utc = dataset("UTC", Some("A"));
    let two = date("1970-01-02");
    let run = Run {
        scope: Scope::Filter,
        ..replacing(&place, "a", &utc)
    };
    let summary = run.fetch(&[(two, two, &[26])]).expect("commits");
    assert_eq!(place.hours(), [1, 20, 25, 26, 49]);
    assert!(
        summary.warnings[0].starts_with("3 files in `"),
        "{:?}",
        summary.warnings
    );
}

#[test]
fn a_row_outside_is_replaced_though_nobody_recorded_its_unit() {
    let place = Place::new();
    // A row an hour before its window, and one long after it.
    let hours = [23, 25, 999];
    for id in ["a", "b", "c"] {
        place.run(id, WriteMode::ReplaceWindow, &days(1, 2), &hours);
        assert_eq!(place.hours(), hours);
    }
    place.run("d", WriteMode::ReplaceWindow, &days(0, 1), &[2]);
    place.run("e", WriteMode::ReplaceWindow, &days(41, 42), &[1_000]);
    assert_eq!(place.hours(), [2, 23, 25, 999, 1_000]);
    let ledger = place.ledger(&Dataset::default());
    assert_eq!(ledger.get(date("1970-01-02")), None);
}
