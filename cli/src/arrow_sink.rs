//! Rows as an Arrow stream on stdout, once they are known to be whole.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;

use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use mixflow_core::batch::Batch;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::Ledger;
use mixflow_core::sink::{
    Capabilities, CommitSummary, Dataset, Outcome, PartitionInfo, Preview, RecordFormat, Residue,
    Sink, SinkTxn, TxnContext,
};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};

/// Where rows go.
const STDOUT: &str = "standard output";

/// Writes the rows of a run as one Arrow stream, all of it or nothing.
///
/// They wait in a file without a name in `scratch`, since a stream that has begun
/// cannot be taken back.
#[derive(Debug)]
pub(crate) struct ArrowSink {
    records: RecordFormat,
    scratch: PathBuf,
}

impl ArrowSink {
    pub(crate) fn new(records: RecordFormat, scratch: PathBuf) -> ArrowSink {
        ArrowSink { records, scratch }
    }
}

impl Sink for ArrowSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: false,
            records: self.records,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::named(STDOUT)
    }

    /// What a reader was given nobody holds.
    fn ledger(&self, _dataset: &Dataset) -> Result<Option<Ledger>> {
        Ok(Some(Ledger::default()))
    }

    fn check_schema(&self, _schema: &Schema) -> Result<()> {
        Ok(())
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        Ok(Preview::default())
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let file = tempfile::tempfile_in(&self.scratch).map_err(|error| {
            let message = format!("cannot make a file in `{}`", self.scratch.display());
            Error::new(ErrorKind::Io, message).with_source(error)
        })?;
        let writer = StreamWriter::try_new_buffered(file, &cx.schema);
        Ok(Box::new(ArrowTxn {
            writer: writer.map_err(unkept)?,
            rows: 0,
        }))
    }
}

struct ArrowTxn {
    writer: StreamWriter<io::BufWriter<File>>,
    rows: u64,
}

impl SinkTxn for ArrowTxn {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        self.writer.write(&batch.records).map_err(unkept)
    }

    fn commit(mut self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.writer.finish().map_err(unkept)?;
        let file = self.writer.into_inner().map_err(unkept)?;
        let mut file = file
            .into_inner()
            .map_err(|error| unkept(error.into_error()))?;
        file.rewind().map_err(unkept)?;
        let mut out = io::stdout().lock();
        let copied = io::copy(&mut file, &mut out).and_then(|_| out.flush());
        copied.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::BrokenPipe => ErrorKind::Closed,
                _ => ErrorKind::Io,
            };
            Error::new(kind, "cannot write to standard output").with_source(error)
        })?;
        Ok(CommitSummary {
            rows: self.rows,
            destination: STDOUT.to_owned(),
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}

fn unkept(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, "cannot keep rows until they are whole").with_source(error)
}
