//! Rows to write, and rows that were read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray as _, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use jiff::{SignedDuration, Timestamp};

use super::under_test::Cells;
use crate::batch::{Batch, PartitionId, json_field};
use crate::error::Result;
use crate::roles::ColumnRoles;
use crate::sink::{CommitSummary, Outcome, PartitionInfo, Sink, SinkTxn, TxnContext, guarded};
use crate::source::{Dataset, DayRange, Extent, SourceInfo};

/// 2024-01-01, in microseconds since 1970.
const FIRST_DAY: i64 = 1_704_067_200_000_000;
/// A day, in microseconds.
const DAY: i64 = 86_400_000_000;

/// Begins a transaction as the engine does, which holds its callers to the
/// contract.
pub(super) fn begin<'s>(sink: &'s dyn Sink, cx: &TxnContext) -> Result<Box<dyn SinkTxn + 's>> {
    Ok(guarded(cx, sink.begin(cx)?))
}

pub(super) fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("event_name"),
        Field::new(
            "event_time",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        text("distinct_id"),
        text("insert_id"),
        json_field("properties", false),
    ]))
}

/// Returns the rows `ids` of a day, counted from 0.
pub(super) fn batch(day: u32, ids: std::ops::Range<u32>) -> RecordBatch {
    let text = |form: &dyn Fn(u32) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ids.clone().map(form)))
    };
    let start = FIRST_DAY + i64::from(day) * DAY;
    let times = ids.clone().map(|n| start + i64::from(n) * 1_000_001);
    let columns: Vec<ArrayRef> = vec![
        text(&|n| format!("event {}", n % 3)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        text(&|n| format!("user {}", n % 2)),
        text(&id),
        text(&|n| format!("{{\"n\":{n}}}")),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit")
}

/// Returns what identifies row `n`.
pub(super) fn id(n: u32) -> String {
    format!("id {n:06}")
}

/// Returns what identifies the rows `ids`.
pub(super) fn ids(ids: impl IntoIterator<Item = u32>) -> Vec<String> {
    ids.into_iter().map(id).collect()
}

/// Returns a batch that is not of [`schema`].
pub(super) fn other_batch() -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let columns = [("event_name", Arc::clone(&names)), ("insert_id", names)];
    RecordBatch::try_from_iter(columns).expect("columns fit")
}

pub(super) fn context(schema: SchemaRef) -> TxnContext {
    // Unique, as the ids of runs are.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    TxnContext {
        run_id: format!("conformance-{}", RUNS.fetch_add(1, Ordering::Relaxed)),
        schema,
        source: SourceInfo {
            dataset: Dataset::default(),
            title: "events of a test".to_owned(),
            from_date: Some(jiff::civil::date(2024, 1, 1)),
            to_date: Some(jiff::civil::date(2024, 1, 31)),
            partitions_are_days: true,
            ..SourceInfo::default()
        },
        started_at: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000),
        cancel: crate::cancel::CancelToken::never(),
    }
}

/// Returns the same for the events of a project, by days in UTC.
pub(super) fn context_of_events() -> TxnContext {
    let mut cx = context(schema());
    cx.source.dataset = Dataset {
        project: "12345".to_owned(),
        zone: "UTC".to_owned(),
        ..Dataset::default()
    };
    cx.source.roles = Some(ColumnRoles {
        kind: "event_name",
        identity: &["event_name", "distinct_id", "insert_id"],
        time: "event_time",
        version: ("properties", "n"),
    });
    cx
}

/// Returns the partition of a day, counted from 0.
pub(super) fn day(n: u32) -> PartitionInfo {
    let start_us = FIRST_DAY + i64::from(n) * DAY;
    let first = jiff::civil::date(2024, 1, 1).saturating_add(jiff::Span::new().days(n));
    PartitionInfo {
        id: PartitionId(n),
        label: first.to_string(),
        extent: Extent::Days(DayRange {
            first,
            last: first,
            start_us,
            end_us: start_us + DAY,
        }),
    }
}

/// Announces a day and writes its rows.
pub(super) fn write_day(txn: &mut dyn SinkTxn, n: u32, rows: std::ops::Range<u32>) -> Result<()> {
    txn.partition(&day(n))?;
    write(txn, n, batch(n, rows))
}

pub(super) fn write(txn: &mut dyn SinkTxn, n: u32, records: RecordBatch) -> Result<()> {
    txn.write(&Batch {
        records,
        partition: PartitionId(n),
    })
}

/// Runs a transaction of the rows `rows` of day 0.
pub(super) fn store(sink: &dyn Sink, rows: std::ops::Range<u32>) -> Result<CommitSummary> {
    let cx = context(schema());
    sink.preview(&cx)?;
    let mut txn = begin(sink, &cx)?;
    let n = u64::from(rows.end - rows.start);
    write_day(&mut *txn, 0, rows)?;
    txn.commit(&outcome(n))
}

/// Runs a transaction of one batch of whatever schema.
pub(super) fn store_batch(sink: &dyn Sink, records: RecordBatch) -> Result<CommitSummary> {
    let cx = context(records.schema());
    sink.preview(&cx)?;
    let mut txn = begin(sink, &cx)?;
    txn.partition(&day(0))?;
    let rows = records.num_rows() as u64;
    write(&mut *txn, 0, records)?;
    txn.commit(&outcome(rows))
}

pub(super) fn outcome(rows: u64) -> Outcome<'static> {
    Outcome {
        missing: &[],
        rows,
        units: &[],
    }
}

/// Returns the rows of Arrow batches as [`Cells`], for sinks whose results
/// are read back that way.
pub fn cells_of<'b>(batches: impl IntoIterator<Item = &'b RecordBatch>) -> Vec<Cells> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let columns = schema.fields().iter().zip(batch.columns());
            let cells = columns.map(|(field, values)| (field.name().clone(), cell(values, row)));
            rows.push(cells.collect());
        }
    }
    rows
}

fn cell(values: &ArrayRef, row: usize) -> Option<String> {
    if values.is_null(row) {
        return None;
    }
    let time = |nanoseconds: i128| {
        let time = Timestamp::from_nanosecond(nanoseconds).expect("in range");
        Some(time.to_string())
    };
    // An instant is one in UTC, whatever zone it is shown in; arrow itself
    // shows zones only with a database of them.
    match values.data_type() {
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => {
                let values = values.as_primitive::<TimestampSecondType>();
                time(i128::from(values.value(row)) * 1_000_000_000)
            }
            TimeUnit::Millisecond => {
                let values = values.as_primitive::<TimestampMillisecondType>();
                time(i128::from(values.value(row)) * 1_000_000)
            }
            TimeUnit::Microsecond => {
                let values = values.as_primitive::<TimestampMicrosecondType>();
                time(i128::from(values.value(row)) * 1_000)
            }
            TimeUnit::Nanosecond => time(i128::from(
                values.as_primitive::<TimestampNanosecondType>().value(row),
            )),
        },
        _ => {
            let mut text = String::new();
            crate::text::push(&mut text, values, row).expect("it has a form");
            Some(text)
        }
    }
}
