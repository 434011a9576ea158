//! Rows to write, and runs to write them with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use mixflow_core::Result;
use mixflow_core::batch::{Batch, PartitionId, json_field};
use mixflow_core::cancel::CancelToken;
use mixflow_core::roles::ColumnRoles;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Sink, SinkTxn, TxnContext, guarded,
};
use mixflow_core::source::{Dataset, DayRange, Extent, SourceInfo};

/// 2024-01-01, in microseconds since 1970.
pub const FIRST_DAY: i64 = 1_704_067_200_000_000;
pub const DAY: i64 = 86_400_000_000;

/// Returns events of a day, counted from 0, with these properties.
pub fn events(day: i64, properties: &[&str]) -> RecordBatch {
    events_with(day, properties, vec![])
}

/// The same, with further columns.
pub fn events_with(day: i64, properties: &[&str], more: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let n = properties.len();
    let text = |form: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..n).map(form)))
    };
    let times = (0..n as i64).map(|n| FIRST_DAY + day * DAY + n * 1_000_001);
    let column = |name| Field::new(name, DataType::Utf8, false);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![
        column("event_name"),
        Field::new("event_time", time, false),
        column("distinct_id"),
        column("insert_id"),
        json_field("properties", false),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        text(&|n| format!("event {}", n % 3)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        text(&|n| format!("user {}", n % 7)),
        text(&|n| format!("id {day} {n}")),
        text(&|n| properties[n].to_owned()),
    ];
    for (field, values) in more {
        fields.push(field);
        columns.push(values);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Returns a run of rows like these.
pub fn context(like: &RecordBatch) -> TxnContext {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    TxnContext {
        run_id: format!(
            "run-{}-{}",
            std::process::id(),
            RUNS.fetch_add(1, Ordering::Relaxed)
        ),
        schema: like.schema(),
        source: SourceInfo {
            dataset: Dataset {
                project: "12345".to_owned(),
                zone: "UTC".to_owned(),
                ..Dataset::default()
            },
            title: "events of a test".to_owned(),
            partitions_are_days: true,
            roles: Some(ColumnRoles {
                kind: "event_name",
                identity: &["event_name", "distinct_id", "insert_id"],
                time: "event_time",
                version: ("properties", "n"),
            }),
            ..SourceInfo::default()
        },
        started_at: "2024-02-01T00:00:00Z".parse().unwrap(),
        cancel: CancelToken::never(),
    }
}

/// Returns the partition of a day, counted from 0.
pub fn day(n: i64) -> PartitionInfo {
    let first = jiff::civil::date(2024, 1, 1).saturating_add(jiff::Span::new().days(n));
    let start_us = FIRST_DAY + n * DAY;
    PartitionInfo {
        id: PartitionId(n as u32),
        label: first.to_string(),
        extent: Extent::Days(DayRange {
            first,
            last: first,
            start_us,
            end_us: start_us + DAY,
        }),
    }
}

/// Writes the rows of a day.
pub fn write(txn: &mut dyn SinkTxn, n: i64, records: RecordBatch) -> Result<()> {
    txn.partition(&day(n))?;
    txn.write(&Batch {
        records,
        partition: PartitionId(n as u32),
    })
}

/// Runs a transaction of the rows of days.
pub fn store(sink: &dyn Sink, days: &[(i64, RecordBatch)]) -> Result<CommitSummary> {
    store_as(sink, &context(&days[0].1), days)
}

pub fn store_as(
    sink: &dyn Sink,
    cx: &TxnContext,
    days: &[(i64, RecordBatch)],
) -> Result<CommitSummary> {
    sink.check_schema(&cx.schema)?;
    sink.preview(cx)?;
    let mut txn = guarded(cx, sink.begin(cx)?);
    let mut rows = 0;
    for (n, records) in days {
        rows += records.num_rows() as u64;
        write(&mut *txn, *n, records.clone())?;
    }
    txn.commit(&Outcome {
        missing: &[],
        rows,
        units: &[],
    })
}
