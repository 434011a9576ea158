//! Rows into a store: its sink, and tables made of batches.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::CancelToken;
use mixflow_core::sink::{
    CommitSummary, Outcome, PATIENCE, PartitionInfo, Sink, TxnContext, guarded, patiently,
};
use mixflow_core::source::{Dataset, Extent, SourceInfo};
use mixflow_core::{Error, ErrorKind, Result};

use crate::sink::{DuckdbOptions, DuckdbSink};
use crate::store::Store;

/// What the rows of a new table are.
#[derive(Clone, Debug, Default)]
pub struct TableInput {
    /// `events`, `profiles`, or any other word.
    pub data_type: String,
    /// The first day that was asked for.
    pub from_date: Option<Date>,
    /// The last day that was asked for.
    pub to_date: Option<Date>,
    /// The filters that applied.
    pub filters: serde_json::Map<String, serde_json::Value>,
}

impl Store {
    /// Makes a table from batches, in one transaction.
    ///
    /// Memory holds one batch at a time. `progress` hears the rows so far after
    /// each. Zero batches make a table without rows. Fails with
    /// [`ErrorKind::TableExists`] if the table is there, and with the error of
    /// the first batch that is one; then the database is as it was.
    pub fn create_table(
        &self,
        table: &str,
        input: &TableInput,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch>>,
        mut progress: impl FnMut(u64),
    ) -> Result<CommitSummary> {
        let sink = self.sink(Some(table.to_owned()))?;
        sink.check_schema(schema)?;
        let cx = TxnContext {
            run_id: String::new(),
            schema: schema.clone(),
            source: SourceInfo {
                dataset: Dataset {
                    kind: input.data_type.clone().into(),
                    filters: input.filters.clone(),
                    ..Dataset::default()
                },
                from_date: input.from_date,
                to_date: input.to_date,
                ..SourceInfo::default()
            },
            started_at: Timestamp::now(),
            cancel: mixflow_core::cancel::CancelToken::never(),
        };
        // Dropped by whatever returns an error, which rolls back.
        let txn = patiently(PATIENCE, &CancelToken::never(), || sink.begin(&cx))?;
        let mut txn = guarded(&cx, txn);
        let partition = PartitionInfo {
            id: PartitionId(0),
            label: table.to_owned(),
            extent: Extent::Whole,
        };
        txn.partition(&partition)?;
        let mut rows = 0;
        for records in batches {
            let batch = Batch {
                records: records?,
                partition: partition.id,
            };
            txn.write(&batch)?;
            rows += batch.records.num_rows() as u64;
            progress(rows);
        }
        txn.commit(&Outcome {
            missing: &[],
            rows,
            units: &[],
        })
    }

    /// Returns a sink that writes to this store, through its open file.
    ///
    /// Fails as [`sink_with`](Store::sink_with) does.
    pub fn sink(&self, table: Option<String>) -> Result<DuckdbSink> {
        let options = DuckdbOptions {
            path: Some(self.path.clone()),
            table,
            ..DuckdbOptions::default()
        };
        self.sink_with(options)
    }

    /// Returns a sink with options that writes to this store, whatever its
    /// `path` is.
    ///
    /// Fails with [`ErrorKind::Destination`] if the store is open for reading only,
    /// and with [`ErrorKind::Config`] if the options are wrong.
    pub fn sink_with(&self, options: DuckdbOptions) -> Result<DuckdbSink> {
        let what = "write to the store";
        if !self.access.writes() {
            return Err(Error::new(ErrorKind::Destination, format!("cannot {what}"))
                .because(format!("`{}` is open for reading", self.path.display()))
                .hint("open it with `Store::open`"));
        }
        self.connection()?;
        let database = self.database.try_clone()?;
        DuckdbSink::shared(options, self.path.clone(), database).map_err(|invalid| {
            let texts: Vec<&str> = invalid.iter().map(|each| each.message.as_str()).collect();
            Error::new(ErrorKind::Config, format!("cannot {what}")).because(texts.join("; "))
        })
    }
}
