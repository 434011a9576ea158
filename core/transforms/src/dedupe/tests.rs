//! Which of several copies stays, and what is told of the others.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::ErrorKind;
use mixflow_core::testing::{counted, unit_context};
use proptest::prelude::*;

use super::super::tests::{events, jsons, rejected};
use super::*;

/// What Mixpanel's source says of its events.
const ROLES: ColumnRoles = ColumnRoles {
    kind: "event_name",
    identity: &["event_name", "distinct_id", "insert_id"],
    time: "event_time",
    version: ("properties", "mp_processing_time_ms"),
};

/// The four parts of a key, and `mp_processing_time_ms`.
type Row = (String, i64, String, String, Option<i64>);

fn batch(rows: &[Row], first: usize) -> RecordBatch {
    let texts = |part: &dyn Fn(&Row) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(part)))
    };
    let times = rows.iter().map(|row| row.1);
    let columns: Vec<ArrayRef> = vec![
        texts(&|row| row.0.clone()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        texts(&|row| row.2.clone()),
        texts(&|row| row.3.clone()),
        Arc::new(StringArray::from_iter_values(rows.iter().zip(first..).map(
            |(row, n)| match row.4 {
                Some(ms) => format!("{{\"n\":{n},\"mp_processing_time_ms\":{ms}}}"),
                None => format!("{{\"n\":{n}}}"),
            },
        ))),
    ];
    RecordBatch::try_new(events(&[]).schema(), columns).expect("columns fit")
}

fn dedupe(limits: Limits) -> Dedupe {
    Dedupe {
        limits,
        ..Dedupe::new(&events(&[]).schema(), Some(&ROLES)).expect("these are events")
    }
}

/// Returns the numbers of the rows that stay, and the count of the others.
fn deduped(rows: &[Row], batch_rows: usize, limits: Limits) -> (Vec<usize>, u64) {
    let dedupe = dedupe(limits);
    let (cx, _) = unit_context();
    let batches: Vec<_> = rows
        .chunks(batch_rows)
        .enumerate()
        .map(|(n, rows)| Ok(batch(rows, n * batch_rows)))
        .collect();
    let mut stay = Vec::new();
    for records in dedupe.stream(Box::new(batches.into_iter()), &cx) {
        let records = records.expect("it can be read");
        assert!(Arc::ptr_eq(&records.schema(), &dedupe.schema));
        let numbers = jsons(&records).into_iter().map(|json| {
            let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            json["n"].as_u64().expect("a number") as usize
        });
        let numbers: Vec<usize> = numbers.collect();
        for (at, n) in numbers.iter().enumerate() {
            let times = records.column(1).as_primitive::<TimestampMicrosecondType>();
            assert_eq!(times.value(at), rows[*n].1);
        }
        stay.extend(numbers);
    }
    let duplicates = counted(&cx).duplicates;
    (stay, duplicates)
}

fn row(name: &str, processed: Option<i64>) -> Row {
    (
        name.to_owned(),
        0,
        "d".to_owned(),
        "i".to_owned(),
        processed,
    )
}

#[test]
fn the_largest_processing_time_stays_or_the_first() {
    let rows = [
        row("a", Some(1)),
        row("b", None),
        row("a", Some(3)),
        row("a", Some(3)),
        row("b", None),
        row("c", Some(0)),
        row("c", None),
        row("d", None),
        row("d", Some(-5)),
    ];
    assert_eq!(deduped(&rows, 2, LIMITS), (vec![1, 2, 5, 8], 5));
}

#[test]
fn each_of_the_four_parts_makes_another_event() {
    let same = row("a", Some(1));
    let mut rows = vec![same.clone(); 6];
    rows[1].0 = "b".to_owned();
    rows[2].1 = 1;
    rows[3].2 = "e".to_owned();
    rows[4].3 = "j".to_owned();
    assert_eq!(deduped(&rows, 10, LIMITS), (vec![0, 1, 2, 3, 4], 1));
    // Texts do not run into each other.
    let ends = [("a", "bc"), ("ab", "c"), ("abc", "")];
    let rows = ends.map(|(name, id)| (name.to_owned(), 0, id.to_owned(), String::new(), None));
    assert_eq!(deduped(&rows, 10, LIMITS), (vec![0, 1, 2], 0));
}

#[test]
fn no_rows_are_none() {
    assert_eq!(deduped(&[], 1, LIMITS), (Vec::new(), 0));
}

#[test]
fn processing_times_are_numbers_of_any_form() {
    let keys = Keys::new(&events(&[]).schema(), &ROLES).expect("these are events");
    let jsons = [
        r#"{"mp_processing_time_ms":1700000000000}"#,
        r#"{"mp_processing_time_ms":1.7e12}"#,
        r#"{"mp_processing_time_ms":"1700000000000"}"#,
        r#"{"mp_processing_time_ms":1e300}"#,
        "{}",
    ];
    let mut records = Vec::new();
    keys.read(&events(&jsons), &mut records)
        .expect("they are JSON");
    let processed: Vec<i64> = records.iter().map(|record| record.version).collect();
    let known = 1_700_000_000_000;
    assert_eq!(processed, [known, known, i64::MIN, i64::MAX, i64::MIN]);
}

#[test]
fn a_cancelled_run_ends_in_the_passes_and_in_the_replay() {
    let (guard, cancel) = CancelToken::never().child();
    let (mut cx, _) = unit_context();
    cx.cancel = cancel;
    let dedupe = dedupe(LIMITS);
    let two = [row("a", None), row("b", None)];
    let batches = || Box::new([Ok(batch(&two[..1], 0)), Ok(batch(&two[1..], 1))].into_iter());
    let mut begun = dedupe.stream(batches(), &cx);
    assert!(begun.next().is_some_and(|records| records.is_ok()));
    drop(guard);
    for mut stream in [begun, dedupe.stream(batches(), &cx)] {
        let error = stream
            .next()
            .expect("an error")
            .expect_err("it is cancelled");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(stream.next().is_none());
    }
}

#[test]
fn an_error_of_the_source_is_the_error() {
    let (cx, _) = unit_context();
    let error = mixflow_core::context::incomplete("the body ends too early");
    let batches = Box::new([Ok(batch(&[row("a", None)], 0)), Err(error)].into_iter());
    let dedupe = dedupe(LIMITS);
    let mut stream = dedupe.stream(batches, &cx);
    let error = stream.next().expect("an error").expect_err("it breaks off");
    assert_eq!(error.message(), "the body ends too early");
    assert!(stream.next().is_none());
    assert_eq!(counted(&cx).duplicates, 0);
}

#[test]
fn what_is_no_event_is_refused_when_the_pipeline_is_built() {
    let without = |at: usize| {
        let schema = events(&[]).schema();
        let left: Vec<usize> = (0..5).filter(|n| *n != at).collect();
        let schema = Arc::new(schema.project(&left).expect("columns"));
        rejected(Dedupe::new(&schema, Some(&ROLES)))
    };
    assert_eq!(
        rejected(Dedupe::new(&events(&[]).schema(), None)),
        ": the rows of this source have no copies; only events have duplicates"
    );
    assert_eq!(
        without(0),
        ": `dedupe` needs the column `event_name`; transforms that rename or drop it stand behind this one"
    );
    assert_eq!(
        without(3),
        ": `dedupe` needs the column `insert_id`; transforms that rename or drop it stand behind this one"
    );
    assert!(without(4).contains("`properties`"));
    let text = |name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, false);
    let texts = [
        "event_name",
        "event_time",
        "distinct_id",
        "insert_id",
        "properties",
    ]
    .map(text);
    assert_eq!(
        rejected(Dedupe::new(
            &Arc::new(Schema::new(texts.to_vec())),
            Some(&ROLES)
        )),
        ": the column `event_time` is text, and `dedupe` needs timestamp"
    );
}

#[test]
fn the_options_are_described() {
    mixflow_core::testing::assert_described::<DedupeOptions>(&DOC);
}

/// Prints how fast it is: `cargo test --release -p mixflow-transforms -- --ignored
/// --nocapture a_million`.
#[test]
#[ignore = "takes seconds, and a release build to say anything"]
#[allow(clippy::print_stderr)]
fn a_million_rows() {
    let filler = "x".repeat(400);
    let json = |n: u64| {
        format!("{{\"$browser\":\"{filler}\",\"mp_processing_time_ms\":{n},\"mp_lib\":\"web\"}}")
    };
    let text = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let make = |first: u64| {
        let rows = first..first + 2_000;
        // Each tenth row is there twice.
        let id = |n: u64| if n % 10 == 9 { n - 1 } else { n };
        let times = rows.clone().map(|n| id(n) as i64);
        let columns: Vec<ArrayRef> = vec![
            text(rows.clone().map(|_| "page view".to_owned()).collect()),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            text(
                rows.clone()
                    .map(|n| format!("user-{}", id(n) % 9_000))
                    .collect(),
            ),
            text(rows.clone().map(|n| format!("{:016x}", id(n))).collect()),
            text(rows.map(json).collect()),
        ];
        RecordBatch::try_new(events(&[]).schema(), columns).expect("columns fit")
    };
    let batches: Vec<RecordBatch> = (0..500).map(|n| make(n * 2_000)).collect();
    let dedupe = dedupe(LIMITS);
    let (cx, _) = unit_context();
    let started = std::time::Instant::now();
    let batches = Box::new(batches.into_iter().map(Ok));
    let rows = dedupe
        .stream(batches, &cx)
        .map(|r| r.expect("it can be read").num_rows());
    let rows: usize = rows.sum();
    eprintln!("{rows} of a million rows in {:?}", started.elapsed());
    assert_eq!(rows, 900_000);
}

proptest! {
    #[test]
    fn it_leaves_what_a_table_in_memory_leaves(
        rows in prop::collection::vec(
            ("[ab]{0,2}", 0i64..2, "[ab]{0,1}", "[ab]{0,1}", prop::option::of(0i64..3)),
            0..60,
        ),
        batch_rows in 1usize..9,
        pass in 1u64..20,
        spool in prop::sample::select(vec![0usize, 64, 1 << 20]),
    ) {
        let mut best: HashMap<_, usize> = HashMap::new();
        for (n, row) in rows.iter().enumerate() {
            let key = (&row.0, row.1, &row.2, &row.3);
            let stays = best.entry(key).or_insert(n);
            if row.4 > rows[*stays].4 {
                *stays = n;
            }
        }
        let mut expected: Vec<usize> = best.into_values().collect();
        expected.sort_unstable();
        let duplicates = (rows.len() - expected.len()) as u64;
        let limits = Limits { spool, pass };
        prop_assert_eq!(deduped(&rows, batch_rows, limits), (expected, duplicates));
    }
}
