//! Holds a transaction, and whoever calls it, to the contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::batch::{Batch, PartitionId, columns_of};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext};
use crate::whole_file::WholeFile;

/// Returns `txn`, held to the contract of [`SinkTxn`]. The engine does this
/// with every transaction that it begins, and so does whoever begins one
/// without the engine.
///
/// A batch of another schema than the transaction began with, or of a
/// partition that was not announced, is refused before `txn` sees it. After an
/// error from any call a commit is refused, and `txn` dropped. A commit that
/// speaks of another number of rows than were written is an error in doubt.
pub fn guarded<'s>(cx: &TxnContext, txn: Box<dyn SinkTxn + 's>) -> Box<dyn SinkTxn + 's> {
    Box::new(Guarded::new(cx, txn))
}

/// What [`guarded`] returns, for a caller that sees failures of its own.
pub struct Guarded<'s> {
    txn: Box<dyn SinkTxn + 's>,
    schema: SchemaRef,
    announced: BTreeSet<PartitionId>,
    rows: u64,
    failed: bool,
}

impl<'s> Guarded<'s> {
    /// Holds `txn` to the contract.
    pub fn new(cx: &TxnContext, txn: Box<dyn SinkTxn + 's>) -> Guarded<'s> {
        Guarded {
            txn,
            schema: Arc::clone(&cx.schema),
            announced: BTreeSet::new(),
            rows: 0,
            failed: false,
        }
    }

    /// Notes that something meant for the transaction did not reach it, so that
    /// nothing can be committed.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Makes a call, after which nothing can be committed unless it is well.
    fn call<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.refuse_after_failure()?;
        // Set first, for panics.
        self.failed = true;
        let done = call(self)?;
        self.failed = false;
        Ok(done)
    }

    fn refuse_after_failure(&self) -> Result<()> {
        if self.failed {
            Err(breach(
                "an earlier call failed, so nothing can be committed",
            ))
        } else {
            Ok(())
        }
    }

    fn check_announced(&self, what: &str, partition: PartitionId) -> Result<()> {
        if self.announced.contains(&partition) {
            return Ok(());
        }
        Err(breach(&format!(
            "{what} came of partition {partition}, which was not announced"
        )))
    }

    fn check_batch(&self, batch: &Batch) -> Result<()> {
        self.check_announced("a batch", batch.partition)?;
        let schema = batch.records.schema_ref();
        if Arc::ptr_eq(schema, &self.schema) || schema.fields() == self.schema.fields() {
            return Ok(());
        }
        Err(
            breach("a batch is not of the schema that the transaction began with").because(
                format!(
                    "it has ({}), not ({})",
                    columns_of(schema),
                    columns_of(&self.schema)
                ),
            ),
        )
    }
}

fn breach(message: &str) -> Error {
    Error::new(ErrorKind::Other, message)
}

impl SinkTxn for Guarded<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        self.call(|guarded| guarded.txn.partition(info))?;
        self.announced.insert(info.id);
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.call(|guarded| {
            guarded.check_batch(batch)?;
            guarded.txn.write(batch)
        })?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn takes(&self, info: &PartitionInfo, file: &WholeFile) -> bool {
        !self.failed && self.txn.takes(info, file)
    }

    fn take(&mut self, partition: PartitionId, file: &WholeFile) -> Result<()> {
        self.call(|guarded| {
            guarded.check_announced("a file", partition)?;
            guarded.txn.take(partition, file)
        })?;
        self.rows += file.rows;
        Ok(())
    }

    fn commit(self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.refuse_after_failure()?;
        let summary = self.txn.commit(outcome)?;
        summary.check_rows(self.rows)?;
        Ok(summary)
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        self.txn.abort()
    }
}
