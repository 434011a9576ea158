//! A sink whose commit is a part on a stage.

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::Schema;
use mixflow_core::batch::Batch;
use mixflow_core::destination::Destination;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::fit::Provenance;
use mixflow_core::ledger::{FetchedUnit, Ledger};
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    SinkTxn, TxnContext,
};
use mixflow_core::unit::{DataKind, Dataset, UnitKey};

use crate::part::PartWriter;
use crate::receipt::Part;
use crate::stage::Stage;

/// What a run has left on a stage, before there is a receipt.
#[derive(Clone, Debug)]
pub struct Left {
    /// The rows.
    pub part: Part,
    /// What a ledger says of the unit.
    pub unit: FetchedUnit,
    /// How the rows were made.
    pub provenance: Provenance,
}

/// Takes the rows of one unit and makes a part of them.
///
/// Nobody counts a part without a receipt, so nothing is visible yet when the run
/// has committed; the caller has what is [left](PartSink::left) for that.
#[derive(Clone)]
pub struct PartSink {
    stage: Stage,
    key: UnitKey,
    records: RecordFormat,
    /// Where the rows go when they are committed, if they go there as they are.
    goes_to: Option<Rc<dyn Sink>>,
    left: Arc<Mutex<Option<Left>>>,
}

impl PartSink {
    /// Creates the sink for a unit, of records of that form. If `goes_to` takes files
    /// from the stage, the part is one that it takes.
    pub fn new(
        stage: Stage,
        key: UnitKey,
        records: RecordFormat,
        goes_to: Option<Rc<dyn Sink>>,
    ) -> PartSink {
        PartSink {
            stage,
            key,
            records,
            goes_to,
            left: Arc::default(),
        }
    }

    /// Returns what the run has left, once it has committed.
    pub fn left(&self) -> Option<Left> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PartSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartSink({}, {})", self.stage.location(), self.key)
    }
}

impl Sink for PartSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: false,
            records: self.records,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        // Not as a URI, which one process of a machine alone may write to: of two that
        // read a unit, the first receipt counts.
        let unit = self.stage.location().join(self.key.as_str());
        Destination::named(format!("the stage, as {unit}"))
    }

    /// The stage has receipts; nobody is to keep a ledger of parts.
    fn ledger(&self, _dataset: &Dataset) -> Result<Option<Ledger>> {
        Ok(Some(Ledger::default()))
    }

    fn check_schema(&self, _schema: &Schema) -> Result<()> {
        Ok(())
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        let action = format!("leaves a part in `{}`", self.stage.location());
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let form = match &self.goes_to {
            Some(sink) => sink.file_form(cx, &self.stage.parts())?,
            None => None,
        };
        let key = self.key.as_str();
        Ok(Box::new(PartTxn {
            sink: self,
            writer: PartWriter::begin(&self.stage, key, &cx.schema, form.as_deref())?,
            rows: 0,
            provenance: cx.source.provenance.clone().unwrap_or_default(),
        }))
    }
}

struct PartTxn<'s> {
    sink: &'s PartSink,
    writer: PartWriter,
    rows: u64,
    provenance: Provenance,
}

impl SinkTxn for PartTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        self.writer.partition(&info.extent)
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        self.writer.write(&batch.records)
    }

    fn commit(self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let [unit] = outcome.units else {
            let message = format!("a part is one unit, and this is {}", outcome.units.len());
            return Err(Error::new(ErrorKind::Other, message));
        };
        let PartTxn {
            sink,
            writer,
            rows,
            provenance,
        } = *self;
        let part = writer.finish()?;
        let destination = sink.stage.location().join(&part.path).to_string();
        *sink.slot() = Some(Left {
            part,
            unit: unit.clone(),
            provenance,
        });
        Ok(CommitSummary {
            rows,
            destination,
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}
