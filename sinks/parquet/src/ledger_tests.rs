use mixflow_core::ledger::{DayState, Earlier, Scope};
use mixflow_core::sink::{Residue, Sink, WriteMode};

use super::*;
use crate::made_up::{Place, Run, Window, batch, context, dataset, days};
use crate::{ParquetOptions, ParquetSink};

const MODES: [WriteMode; 4] = [
    WriteMode::Create,
    WriteMode::Append,
    WriteMode::Replace,
    WriteMode::ReplaceWindow,
];

fn january(day: i8) -> Date {
    jiff::civil::date(1970, 1, day)
}

fn fetch(place: &Place, id: &str, mode: WriteMode, windows: &[Window<'_>]) {
    let run = Run {
        place,
        id,
        mode,
        scope: Scope::Window,
        dataset: dataset("UTC", None),
    };
    run.fetch(windows).expect("commits");
}

/// Returns the days that a folder holds: the day, its rows, the run.
fn held(place: &Place) -> Vec<(i8, u64, String)> {
    let ledger = place.ledger(&dataset("UTC", None));
    let days = ledger.days();
    days.map(|day| {
        (
            day.day.day(),
            day.rows.expect("they are counted"),
            day.run_id.clone(),
        )
    })
    .collect()
}

fn day(day: i8, rows: u64, run: &str) -> (i8, u64, String) {
    (day, rows, run.to_owned())
}

#[test]
fn what_a_run_does_to_rows_it_does_to_their_days() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[
            (january(1), january(1), &[1, 2]),
            (january(2), january(3), &[50]),
        ],
    );
    assert_eq!(
        held(&place),
        [day(1, 2, "a"), day(2, 0, "a"), day(3, 1, "a")]
    );
    fetch(
        &place,
        "b",
        WriteMode::Append,
        &[
            (january(1), january(1), &[3]),
            (january(4), january(4), &[72]),
        ],
    );
    assert_eq!(
        held(&place),
        [
            day(1, 3, "b"),
            day(2, 0, "a"),
            day(3, 1, "a"),
            day(4, 1, "b")
        ]
    );
    fetch(
        &place,
        "c",
        WriteMode::ReplaceWindow,
        &[
            (january(1), january(1), &[4]),
            (january(3), january(3), &[]),
        ],
    );
    assert_eq!(
        held(&place),
        [
            day(1, 1, "c"),
            day(2, 0, "a"),
            day(3, 0, "c"),
            day(4, 1, "b")
        ]
    );
    let ledger = place.ledger(&dataset("UTC", None));
    let third = ledger.get(january(3)).expect("it is held");
    assert_eq!(third.state, DayState::Empty);
    fetch(
        &place,
        "d",
        WriteMode::Replace,
        &[(january(2), january(2), &[30, 31, 32])],
    );
    assert_eq!(held(&place), [day(2, 3, "d")]);
}

#[test]
fn two_units_of_one_day_are_added_up() {
    let place = Place::new();
    for id in ["a", "b"] {
        let day: Window<'_> = (january(1), january(1), &[1]);
        fetch(&place, id, WriteMode::ReplaceWindow, &[day, day]);
        assert_eq!(held(&place), [self::day(1, 2, id)]);
        assert_eq!(place.hours(), [1, 1]);
    }
}

#[test]
fn a_unit_of_several_days_is_known_until_its_last_day_is_replaced() {
    let place = Place::new();
    let utc = dataset("UTC", None);
    // The last hour is of the 11th.
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(2), &[1, 25, 240])],
    );
    let ledger = place.ledger(&utc);
    assert_eq!(ledger.outside, 1);
    assert!(ledger.spans.contains(&(january(1), january(2))));
    fetch(
        &place,
        "b",
        WriteMode::ReplaceWindow,
        &[(january(2), january(2), &[25, 240])],
    );
    assert_eq!(place.ledger(&utc).outside, 1);
    fetch(
        &place,
        "c",
        WriteMode::ReplaceWindow,
        &[(january(1), january(1), &[1])],
    );
    let ledger = place.ledger(&utc);
    // Of a unit of one day everybody knows which day its rows are of.
    assert_eq!((ledger.outside, ledger.spans.len()), (0, 0));
    assert_eq!(place.hours(), [1, 25, 240]);
}

#[test]
fn a_day_whose_files_somebody_has_removed_is_not_held() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[
            (january(1), january(1), &[1]),
            // The 3rd is empty, and says so without a file.
            (january(2), january(3), &[25]),
        ],
    );
    fs::remove_dir_all(place.path.join("date=1970-01-02")).expect("removed");
    assert_eq!(held(&place), [day(1, 1, "a"), day(3, 0, "a")]);
    fetch(
        &place,
        "b",
        WriteMode::Append,
        &[(january(2), january(2), &[26])],
    );
    assert_eq!(
        held(&place),
        [day(1, 1, "a"), day(2, 1, "b"), day(3, 0, "a")]
    );
    for name in ["date=1970-01-01", "date=1970-01-02"] {
        fs::remove_dir_all(place.path.join(name)).expect("removed");
    }
    assert_eq!(held(&place), []);
}

#[test]
fn a_table_of_which_only_the_ledger_is_left_is_created_anew() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(1), &[1])],
    );
    fs::remove_dir_all(place.path.join("date=1970-01-01")).expect("removed");
    fetch(
        &place,
        "b",
        WriteMode::Create,
        &[(january(2), january(2), &[25])],
    );
    assert_eq!(held(&place), [day(2, 1, "b")]);
}

#[test]
fn to_ask_makes_nothing_and_what_is_not_there_holds_nothing() {
    let place = Place::new();
    assert_eq!(held(&place), []);
    assert_eq!(place.names(), Vec::<String>::new());
    place.run("old", WriteMode::Create, &days(0, 1), &[1]);
    fs::remove_dir_all(place.path.join(OURS)).expect("removed");
    assert_eq!(held(&place), []);
    assert!(!place.path.join(OURS).exists());
}

#[test]
fn a_file_keeps_no_ledger_and_is_written_whole() {
    for mode in [WriteMode::Create, WriteMode::Replace] {
        let sink = ParquetSink::new(ParquetOptions {
            path: "out.parquet".into(),
            mode: Some(mode),
            compression: None,
            partition_by: None,
            endpoint: None,
            region: None,
            allow_shrink: None,
            scope: None,
        })
        .expect("the options are fine");
        let ledger = sink.ledger(&dataset("UTC", None)).expect("no I/O");
        assert_eq!(ledger, None);
        assert_eq!(sink.earlier(), Earlier::Go);
    }
}

#[test]
fn readers_see_a_folder_whose_name_they_skip_and_no_file_of_theirs_in_it() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(1), &[1])],
    );
    let names = mixflow_core::testing::names_in(&place.path);
    assert_eq!(names, ["_mixflow", "date=1970-01-01"]);
    let inside = mixflow_core::testing::names_in(&place.path.join(OURS));
    assert_eq!(inside, ["ledger.json"]);
}

#[test]
fn a_run_that_is_given_up_leaves_the_ledger_as_it_was() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(1), &[1])],
    );
    let read = || fs::read(place.path.join(OURS).join(LEDGER)).expect("it is there");
    let before = read();
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let sink = place.sink(mode);
        let mut txn = sink.begin(&context("b")).expect("begins");
        txn.partition(&days(0, 1)).expect("is announced");
        txn.write(&batch(&[2])).expect("writes");
        assert_eq!(txn.abort().expect("aborts"), Residue::None);
        assert_eq!(read(), before);
    }
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn anything_else_beside_the_ledger_is_refused() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(1), &[1])],
    );
    fs::write(place.path.join(OURS).join("notes.txt"), "mine").expect("written");
    let sink = place.sink(WriteMode::Replace);
    let error = sink.preview(&context("b")).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert!(
        error.causes()[0].contains("_mixflow/notes.txt"),
        "{error:?}"
    );
}

#[test]
fn a_ledger_that_cannot_be_read_is_named_with_the_way_out() {
    let place = Place::new();
    fetch(
        &place,
        "a",
        WriteMode::Create,
        &[(january(1), january(1), &[1])],
    );
    let path = place.path.join(OURS).join(LEDGER);
    let text = fs::read_to_string(&path).expect("it is text");
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_ne!(newer, text);
    for damaged in [&newer, &text[..text.len() / 2], ""] {
        fs::write(&path, damaged).expect("written");
        for mode in MODES {
            let sink = place.sink(mode);
            let error = sink.ledger(&dataset("UTC", None)).expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::Destination);
            assert!(error.to_string().starts_with("cannot read the ledger `"));
        }
    }
    fs::remove_file(path).expect("removed");
    assert_eq!(held(&place), []);
}

#[test]
fn a_ledger_of_a_thousand_days_is_small() {
    let place = Place::new();
    let mut windows = Vec::new();
    let hours: Vec<[i64; 1]> = (0..1_000).map(|day| [day * 24]).collect();
    for (n, hours) in (0..).zip(&hours) {
        let day = january(1).saturating_add(jiff::Span::new().days(n));
        windows.push((day, day, &hours[..]));
    }
    fetch(&place, "a", WriteMode::Create, &windows);
    let path = place.path.join(OURS).join(LEDGER);
    let size = fs::metadata(path).expect("it is there").len();
    assert!(size < 2_000_000, "{size} bytes");
    assert_eq!(held(&place).len(), 1_000);
}
