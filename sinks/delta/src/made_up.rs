//! Made-up runs into a table, for tests.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimestampMicrosecondType};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::CancelToken;
use mixflow_core::ledger::{Ledger, Scope};
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::source::{DayRange, Extent, SourceInfo};
use mixflow_core::testing::{fetched_hours, hour_columns, hour_fields};
use mixflow_core::unit::Dataset;
use mixflow_objects::{Location, StoreOptions};
use mixflow_sink_parquet::files::{DAY_COLUMN, whole_days, zone_of};

use crate::conformance::{options, read};
use crate::place::Place;
use crate::table::Table;
use crate::{DeltaOptions, DeltaSink};

pub(crate) use mixflow_core::testing::HOUR_US;
pub(crate) use mixflow_core::testing::made_up_events as dataset;

/// A place for a table.
pub(crate) struct Spot {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

/// A unit: its days in January 1970, and the hours of its rows, wherever they lie.
pub(crate) type Window<'w> = (i8, i8, &'w [i64]);

pub(crate) fn held(day: i8, rows: u64, run: &str) -> (i8, u64, String) {
    (day, rows, run.to_owned())
}

pub(crate) fn january(day: i8) -> Date {
    jiff::civil::date(1970, 1, day)
}

pub(crate) fn schema(extra: Option<&Field>) -> SchemaRef {
    let mut fields = hour_fields(DAY_COLUMN);
    fields.extend(extra.cloned());
    Arc::new(Schema::new(fields))
}

/// A run as the engine makes it, with a record of each unit.
pub(crate) struct Run<'s> {
    pub(crate) spot: &'s Spot,
    pub(crate) id: &'s str,
    pub(crate) mode: WriteMode,
    pub(crate) scope: Scope,
    pub(crate) dataset: Dataset,
    /// A column beside the others, of numbers or texts.
    pub(crate) extra: Option<Field>,
}

impl Spot {
    pub(crate) fn new() -> Spot {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("events");
        Spot {
            _folder: folder,
            path,
        }
    }

    pub(crate) fn place(&self) -> Rc<Place> {
        let location = Location::Folder(self.path.clone());
        Rc::new(Place::open(&location, &StoreOptions::default()).expect("it opens"))
    }

    pub(crate) fn table(&self) -> Table {
        let table = Table::look(&self.place()).expect("it can be read");
        table.expect("a table is there")
    }

    pub(crate) fn run<'s>(&'s self, id: &'s str, mode: WriteMode) -> Run<'s> {
        Run {
            spot: self,
            id,
            mode,
            scope: Scope::Window,
            dataset: dataset("UTC", None),
            extra: None,
        }
    }

    pub(crate) fn sink(&self, mode: WriteMode) -> DeltaSink {
        DeltaSink::new(options(&self.path, mode), None).expect("the options are fine")
    }

    /// Returns the hours of all rows, sorted, as any reader sees them.
    pub(crate) fn hours(&self) -> Vec<i64> {
        let mut hours = Vec::new();
        for rows in read(&self.path) {
            let times = rows[DAY_COLUMN].as_primitive::<TimestampMicrosecondType>();
            let dates = rows.column_by_name("date");
            for (row, us) in times.values().iter().enumerate() {
                if let Some(dates) = dates {
                    let date = dates.as_primitive::<Date32Type>().value(row);
                    assert_eq!(
                        i64::from(date),
                        us.div_euclid(24 * HOUR_US),
                        "its partition"
                    );
                }
                hours.push(us / HOUR_US);
            }
        }
        hours.sort_unstable();
        hours
    }

    /// Returns the data files in the folder, whether or not they count.
    pub(crate) fn data_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path, &self.path, &mut found);
        found.sort();
        found
    }

    pub(crate) fn ledger(&self, dataset: &Dataset) -> Ledger {
        let ledger = self.sink(WriteMode::Append).ledger(dataset);
        ledger.expect("it can be read").expect("a table has one")
    }

    /// Returns the days that the table holds: the day, its rows, the run.
    pub(crate) fn held(&self) -> Vec<(i8, u64, String)> {
        let ledger = self.ledger(&dataset("UTC", None));
        let days = ledger.days().map(|day| {
            let rows = day.rows.expect("they are counted");
            (day.day.day(), rows, day.run_id.clone())
        });
        days.collect()
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let below = path.strip_prefix(root).expect("it is below");
        if path.is_dir() {
            if !below.starts_with("_delta_log") {
                walk(root, &path, found);
            }
        } else {
            found.push(below.display().to_string());
        }
    }
}

impl Run<'_> {
    pub(crate) fn context(&self, windows: &[Window<'_>]) -> TxnContext {
        TxnContext {
            run_id: self.id.to_owned(),
            schema: schema(self.extra.as_ref()),
            source: SourceInfo {
                title: "made-up hours".to_owned(),
                dataset: self.dataset.clone(),
                from_date: windows.iter().map(|window| january(window.0)).min(),
                to_date: windows.iter().map(|window| january(window.1)).max(),
                ..SourceInfo::default()
            },
            started_at: Timestamp::UNIX_EPOCH,
            cancel: CancelToken::never(),
        }
    }

    pub(crate) fn sink(&self) -> DeltaSink {
        let options = DeltaOptions {
            scope: Some(self.scope),
            ..options(&self.spot.path, self.mode)
        };
        DeltaSink::new(options, None).expect("the options are fine")
    }

    pub(crate) fn preview(&self, windows: &[Window<'_>]) -> Result<()> {
        self.sink().preview(&self.context(windows)).map(drop)
    }

    pub(crate) fn fetch(&self, windows: &[Window<'_>]) -> Result<CommitSummary> {
        let sink = self.sink();
        sink.preview(&self.context(windows))?;
        let txn = self.write(&sink, windows)?;
        self.commit(txn, windows)
    }

    /// Writes rows, and leaves it open whether they are committed.
    pub(crate) fn write<'s>(
        &self,
        sink: &'s DeltaSink,
        windows: &[Window<'_>],
    ) -> Result<Box<dyn SinkTxn + 's>> {
        let cx = self.context(windows);
        let mut txn = sink.begin(&cx)?;
        for (n, window) in (0..).zip(windows) {
            txn.partition(&PartitionInfo {
                id: PartitionId(n),
                label: format!("{}..{}", window.0, window.1),
                extent: Extent::Days(self.days(window)),
            })?;
            for hours in window.2.chunks(7) {
                txn.write(&self.batch(n, hours))?;
            }
        }
        Ok(txn)
    }

    pub(crate) fn commit(
        &self,
        txn: Box<dyn SinkTxn + '_>,
        windows: &[Window<'_>],
    ) -> Result<CommitSummary> {
        let units = (0..).zip(windows).map(|(n, window)| {
            fetched_hours(&self.dataset, self.id, n, self.days(window), window.2)
        });
        txn.commit(&Outcome {
            missing: &[],
            rows: windows.iter().map(|window| window.2.len() as u64).sum(),
            units: &units.collect::<Vec<_>>(),
        })
    }

    fn days(&self, window: &Window<'_>) -> DayRange {
        whole_days(
            january(window.0),
            january(window.1),
            &zone_of(&self.dataset),
        )
    }

    fn batch(&self, partition: u32, hours: &[i64]) -> Batch {
        let mut columns = hour_columns(hours);
        if let Some(extra) = &self.extra {
            columns.push(match extra.data_type() {
                DataType::Int64 => Arc::new(Int64Array::from(hours.to_vec())),
                _ => Arc::new(StringArray::from_iter_values(
                    hours.iter().map(i64::to_string),
                )),
            });
        }
        let schema = schema(self.extra.as_ref());
        Batch {
            records: RecordBatch::try_new(schema, columns).expect("columns fit"),
            partition: PartitionId(partition),
        }
    }
}
