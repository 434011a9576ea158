//! Records one by one, from a run in a thread of its own.

use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use crossbeam::channel::{Receiver, Sender, bounded};
use mixflow_core::batch::Batch;
use mixflow_core::cancel::{CancelGuard, cancellation};
use mixflow_core::config::{Override, OverrideValue};
use mixflow_core::observer::Silent;
use mixflow_core::registry::{ComponentDoc, Registry};
use mixflow_core::report::{RunReport, Status};
use mixflow_core::sink::{
    Capabilities, CommitSummary, DataKind, Destination, Outcome, PartitionInfo, Preview,
    RecordFormat, Residue, Sink, SinkTxn, TxnContext,
};
use mixflow_core::{Error, ErrorKind, Result};

use super::records::FromRow;
use super::{Connection, NoOptions, sources, with_sink};

/// Batches that may wait for the reader.
const QUEUE: usize = 2;

/// Records as they arrive. Dropping it ends the run.
#[derive(Debug)]
pub struct Stream<T> {
    batches: Option<Receiver<RecordBatch>>,
    batch: Option<RecordBatch>,
    row: usize,
    run: Option<JoinHandle<Result<RunReport>>>,
    guard: Option<CancelGuard>,
    read: fn(&RecordBatch, usize) -> Result<T>,
}

/// Begins a run and waits for its first batch, or its end.
pub(super) fn stream<T: FromRow>(
    connection: &Connection,
    source: Vec<Override>,
    raw: bool,
) -> Result<Stream<T>> {
    let (sender, batches) = bounded(QUEUE);
    let (guard, cancel) = cancellation();
    let connection = connection.clone();
    let run = std::thread::Builder::new()
        .name("mixflow-stream".to_owned())
        .spawn(move || {
            let records = match raw {
                true => RecordFormat::Raw,
                false => RecordFormat::Normalized,
            };
            // A reader who is told nothing of it must not lack a window.
            let abort = OverrideValue::Text("abort".to_owned());
            let mut changes = with_sink(&source, "stream");
            changes.push(Override::set("run.on_failure", abort, "Stream".to_owned()));
            let pipeline = connection.pipeline(&registry(sender, records), &changes)?;
            Ok(connection.run(&pipeline, &mut Silent, &cancel))
        })
        .map_err(|error| {
            Error::new(ErrorKind::Other, "cannot start a thread").with_source(error)
        })?;
    let mut stream = Stream {
        batch: batches.recv().ok(),
        batches: Some(batches),
        row: 0,
        run: Some(run),
        guard: Some(guard),
        read: T::from_row,
    };
    match stream.batch {
        Some(_) => Ok(stream),
        // It has ended: without a record, or with an error.
        None => stream.end().map(|()| stream),
    }
}

/// A registry whose stream goes nowhere, to check settings with.
pub(super) fn probe() -> Registry {
    registry(bounded(0).0, RecordFormat::Normalized)
}

const DOC: ComponentDoc = ComponentDoc {
    name: "stream",
    about: "an iterator",
    options: &[],
};

fn registry(batches: Sender<RecordBatch>, records: RecordFormat) -> Registry {
    let mut registry = sources();
    registry.add_sink(DOC, move |_: NoOptions, _| {
        Ok(Box::new(Pipe {
            batches: batches.clone(),
            records,
        }) as Box<dyn Sink>)
    });
    registry
}

impl<T> Stream<T> {
    /// Waits for the run and returns its error.
    fn end(&mut self) -> Result<()> {
        self.batches = None;
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let report = match run.join() {
            Ok(report) => report?,
            Err(payload) => return Err(Error::panicked("the stream", &*payload)),
        };
        match (report.status, report.error) {
            (Status::Aborted, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

impl<T> Iterator for Stream<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(batch) = &self.batch {
                if self.row < batch.num_rows() {
                    self.row += 1;
                    return Some((self.read)(batch, self.row - 1));
                }
                self.batch = None;
            }
            match self.batches.as_ref()?.recv() {
                Ok(batch) => {
                    self.batch = Some(batch);
                    self.row = 0;
                }
                Err(_) => return self.end().err().map(Err),
            }
        }
    }
}

impl<T> Drop for Stream<T> {
    fn drop(&mut self) {
        // Either of them ends the run; the thread is gone when this returns.
        self.batches = None;
        self.guard = None;
        let _ = self.end();
    }
}

/// A sink that hands its batches to a stream.
struct Pipe {
    batches: Sender<RecordBatch>,
    records: RecordFormat,
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

    fn check_schema(&self, _schema: &Schema) -> Result<()> {
        Ok(())
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
