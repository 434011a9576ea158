//! Made-up rows and folders, for tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use mixflow_core::Result;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::ledger::{Ledger, Scope};
use mixflow_core::sink::{CommitSummary, Outcome, PartitionInfo, Sink, TxnContext, WriteMode};
use mixflow_core::source::{DayRange, Extent, SourceInfo};
use mixflow_core::testing::{hour_columns, hour_fields, names_in};
use mixflow_core::unit::Dataset;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::days::{DAY_COLUMN, DAY_US, whole_days, zone_of};
use crate::times::Times;
use crate::{ParquetOptions, ParquetSink, PartitionBy, tree};

pub(crate) use mixflow_core::testing::made_up_events as dataset;
pub(crate) use mixflow_core::testing::{HOUR_US, fetched_hours as fetched};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(hour_fields(DAY_COLUMN)))
}

/// One row an hour for each hour since 1970 that is named.
pub(crate) fn batch(hours: &[i64]) -> Batch {
    batch_of(0, hours)
}

fn batch_of(partition: u32, hours: &[i64]) -> Batch {
    Batch {
        records: RecordBatch::try_new(schema(), hour_columns(hours)).expect("columns fit"),
        partition: PartitionId(partition),
    }
}

pub(crate) fn date(day: i64) -> Date {
    Date::constant(1970, 1, 1).saturating_add(Span::new().days(day))
}

pub(crate) fn days(first: i64, end: i64) -> PartitionInfo {
    PartitionInfo {
        id: PartitionId(0),
        label: format!("day {first}"),
        extent: Extent::Days(DayRange {
            first: date(first),
            last: date(end - 1),
            start_us: first * DAY_US,
            end_us: end * DAY_US,
        }),
    }
}

pub(crate) fn context(run_id: &str) -> TxnContext {
    TxnContext {
        run_id: run_id.to_owned(),
        schema: schema(),
        source: SourceInfo {
            title: "made-up hours".to_owned(),
            from_date: Some(Date::constant(1970, 1, 2)),
            ..SourceInfo::default()
        },
        started_at: Timestamp::UNIX_EPOCH,
        cancel: mixflow_core::cancel::CancelToken::never(),
    }
}

pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("out");
        Place { folder, path }
    }

    pub(crate) fn sink(&self, mode: WriteMode) -> ParquetSink {
        self.sink_with(mode, Scope::Window)
    }

    pub(crate) fn sink_with(&self, mode: WriteMode, scope: Scope) -> ParquetSink {
        ParquetSink::new(ParquetOptions {
            path: self.path.clone(),
            mode: Some(mode),
            compression: None,
            partition_by: Some(PartitionBy::Date),
            endpoint: None,
            region: None,
            allow_shrink: None,
            scope: Some(scope),
        })
        .expect("the options are fine")
    }

    pub(crate) fn run(
        &self,
        run_id: &str,
        mode: WriteMode,
        info: &PartitionInfo,
        hours: &[i64],
    ) -> u64 {
        let sink = self.sink(mode);
        let mut txn = sink.begin(&context(run_id)).expect("begins");
        txn.partition(info).expect("is announced");
        for hours in hours.chunks(3) {
            txn.write(&batch(hours)).expect("writes");
        }
        let outcome = Outcome {
            missing: &[],
            rows: hours.len() as u64,
            units: &[],
        };
        txn.commit(&outcome).expect("commits").rows
    }

    /// Returns the files with the hours in them, sorted.
    pub(crate) fn read(&self) -> Vec<(String, Vec<i64>)> {
        tree::list(&self.path)
            .expect("it is a folder of Parquet files")
            .into_iter()
            .filter(tree::Found::is_table)
            .map(|found| {
                let hours = read(&self.path.join(&found.path));
                (found.path.display().to_string(), hours)
            })
            .collect()
    }

    /// Returns the hours of all rows, sorted.
    pub(crate) fn hours(&self) -> Vec<i64> {
        let mut hours: Vec<i64> = self.read().into_iter().flat_map(|file| file.1).collect();
        hours.sort_unstable();
        hours
    }

    /// Returns what the folder holds of a dataset.
    pub(crate) fn ledger(&self, dataset: &Dataset) -> Ledger {
        let sink = self.sink(WriteMode::Append);
        let ledger = sink.ledger(dataset).expect("it can be read");
        ledger.expect("a folder has a ledger")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }
}

/// Returns the hours of a file.
pub(crate) fn read(path: &Path) -> Vec<i64> {
    let file = File::open(path).expect("it is there");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    let stored = Times::Utc.stored(&schema());
    assert_eq!(builder.schema().fields(), stored.fields());
    let mut hours = Vec::new();
    for records in builder.build().expect("it can be read") {
        let records = records.expect("it can be read");
        let times = records.column(0).as_primitive::<TimestampMicrosecondType>();
        hours.extend(times.values().iter().map(|us| us / HOUR_US));
    }
    hours
}

pub(crate) fn file(name: &str, hours: &[i64]) -> (String, Vec<i64>) {
    (name.to_owned(), hours.to_vec())
}

/// A run as the engine makes it, with a record of each unit.
pub(crate) struct Run<'p> {
    pub(crate) place: &'p Place,
    pub(crate) id: &'p str,
    pub(crate) mode: WriteMode,
    pub(crate) scope: Scope,
    pub(crate) dataset: Dataset,
}

/// A unit: its days, and the hours of its rows, wherever they lie.
pub(crate) type Window<'w> = (Date, Date, &'w [i64]);

impl Run<'_> {
    fn context(&self, windows: &[Window<'_>]) -> TxnContext {
        let mut cx = context(self.id);
        cx.source.dataset = self.dataset.clone();
        cx.source.from_date = windows.iter().map(|window| window.0).min();
        cx.source.to_date = windows.iter().map(|window| window.1).max();
        cx
    }

    pub(crate) fn preview(&self, windows: &[Window<'_>]) -> Result<()> {
        let sink = self.place.sink_with(self.mode, self.scope);
        sink.preview(&self.context(windows)).map(drop)
    }

    pub(crate) fn fetch(&self, windows: &[Window<'_>]) -> Result<CommitSummary> {
        let sink = self.place.sink_with(self.mode, self.scope);
        let cx = self.context(windows);
        sink.preview(&cx)?;
        let mut txn = sink.begin(&cx)?;
        let mut units = Vec::new();
        for (n, window) in (0..).zip(windows) {
            let range = whole_days(window.0, window.1, &zone_of(&self.dataset));
            txn.partition(&PartitionInfo {
                id: PartitionId(n),
                label: format!("{}..{}", window.0, window.1),
                extent: Extent::Days(range),
            })?;
            for hours in window.2.chunks(7) {
                txn.write(&batch_of(n, hours))?;
            }
            units.push(fetched(&self.dataset, self.id, n, range, window.2));
        }
        let rows = windows.iter().map(|window| window.2.len() as u64).sum();
        txn.commit(&Outcome {
            missing: &[],
            rows,
            units: &units,
        })
    }
}
