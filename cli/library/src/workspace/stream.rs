//! Records one by one, from a run in a thread of its own.

use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use crossbeam::channel::{Receiver, bounded};
use mixflow_core::cancel::{CancelGuard, CancelToken};
use mixflow_core::engine::OnFailure;
use mixflow_core::observer::Observer;
use mixflow_core::report::{RunReport, Status};
use mixflow_core::{Error, ErrorKind, Result};

use super::connection::Connection;
use super::pipe::Pipe;
use super::records::Item;
use super::request::Request;
use super::target::Target;

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
    report: Option<RunReport>,
    item: Item<T>,
}

/// Begins a run and waits for its first batch, or its end.
pub(super) fn stream<T>(
    connection: &Connection,
    mut request: Request,
    item: Item<T>,
    mut observer: impl Observer + Send + 'static,
    cancel: &CancelToken,
) -> Result<Stream<T>> {
    // A reader who does not look at the report must not lack a window.
    request.settings.on_failure.get_or_insert(OnFailure::Abort);
    let (sender, batches) = bounded(QUEUE);
    let pipe = Pipe {
        batches: sender,
        records: item.records,
        check: item.check,
    };
    let target = Target::new("stream", pipe);
    let (guard, cancel) = cancel.child();
    let connection = connection.clone();
    let run = std::thread::Builder::new()
        .name("mixflow-stream".to_owned())
        .spawn(move || {
            let pipeline = connection.pipeline(&request, target)?;
            Ok(connection.run(&request, &pipeline, &mut observer, &cancel))
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
        report: None,
        item,
    };
    match stream.batch {
        Some(_) => Ok(stream),
        // It has ended: without a record, or with an error.
        None => stream.end().map(|()| stream),
    }
}

impl<T> Stream<T> {
    /// Returns what is known of the run, once the stream has ended: its rows,
    /// its rejects, its waits, and what is missing if it was to go on without.
    /// An error that the stream has returned is not in it any more.
    pub fn report(&self) -> Option<&RunReport> {
        self.report.as_ref()
    }

    /// Ends the run, if it has not ended, and returns its report.
    ///
    /// A run that had more to say has stopped. Fails with the error of the run,
    /// if the stream has not returned it.
    pub fn finish(mut self) -> Result<RunReport> {
        let ended = self.end();
        match (ended, self.report.take()) {
            (Ok(()), Some(report)) => Ok(report),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(Error::new(
                ErrorKind::Other,
                "there is no report of a run that did not begin",
            )),
        }
    }

    /// Waits for the run and returns its error.
    fn end(&mut self) -> Result<()> {
        self.batches = None;
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let mut report = match run.join() {
            Ok(report) => report?,
            Err(payload) => return Err(Error::panicked("the stream", &*payload)),
        };
        let error = match report.status {
            Status::Aborted => report.error.take(),
            _ => None,
        };
        self.report = Some(report);
        error.map_or(Ok(()), Err)
    }
}

impl<T> Iterator for Stream<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(batch) = &self.batch {
                if self.row < (self.item.rows)(batch) {
                    self.row += 1;
                    return Some((self.item.read)(batch, self.row - 1));
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
