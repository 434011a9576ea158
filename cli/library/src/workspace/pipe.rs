//! A sink that hands its batches to whoever reads a stream.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use crossbeam::channel::Sender;
use mixflow_core::batch::Batch;
use mixflow_core::ledger::Ledger;
use mixflow_core::sink::{
    Capabilities, CommitSummary, DataKind, Dataset, Destination, Outcome, PartitionInfo, Preview,
    RecordFormat, Residue, Sink, SinkTxn, TxnContext,
};
use mixflow_core::{Error, ErrorKind, Result};

/// A sink that hands its batches to a stream.
pub(super) struct Pipe {
    pub(super) batches: Sender<RecordBatch>,
    pub(super) records: RecordFormat,
    /// Checks that rows of this schema are what the stream's reader takes.
    pub(super) check: fn(&Schema) -> Result<()>,
}

impl Sink for Pipe {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: false,
            replaces_days: false,
            records: self.records,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::named("the stream")
    }

    /// A stream holds nothing, also when it was read to its end.
    fn ledger(&self, _dataset: &Dataset) -> Result<Option<Ledger>> {
        Ok(Some(Ledger::default()))
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        (self.check)(schema)
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        Ok(Preview::default())
    }

    fn begin(&self, _cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        Ok(Box::new(PipeTxn {
            batches: &self.batches,
            rows: 0,
        }))
    }
}

struct PipeTxn<'s> {
    batches: &'s Sender<RecordBatch>,
    rows: u64,
}

impl SinkTxn for PipeTxn<'_> {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        self.batches
            .send(batch.records.clone())
            .map_err(|_| Error::new(ErrorKind::Closed, "the stream was dropped"))
    }

    fn commit(self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        Ok(CommitSummary {
            rows: self.rows,
            ..CommitSummary::default()
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::Rows(self.rows))
    }
}
