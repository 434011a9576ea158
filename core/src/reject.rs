//! Records that cannot be read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// A record that cannot be read, with where it was and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// The label of the partition.
    pub partition: &'a str,
    /// The line of the body, or the position in the page, counted from 1.
    pub line: u64,
    /// Why it cannot be read.
    pub reason: &'a str,
    /// The record's bytes.
    pub record: &'a [u8],
}

/// Keeps rejected records, usually in a file.
pub trait RejectLog: Send {
    /// Keeps one record. An error fails the run: a record would be lost.
    fn write(&mut self, reject: &Reject<'_>) -> Result<()>;

    /// Forgets what was written, for a run that starts over. Fails when it
    /// cannot: then the run ends.
    fn start_over(&mut self) -> Result<()>;

    /// Makes what was written durable and returns where it is.
    fn finish(&mut self) -> Result<Option<String>>;
}

/// A [`RejectLog`] that only counts. For tests and for callers that look at
/// [`RunReport::rejected`](crate::report::RunReport) alone.
#[derive(Debug, Default)]
pub struct CountRejects;

impl RejectLog for CountRejects {
    fn write(&mut self, _reject: &Reject<'_>) -> Result<()> {
        Ok(())
    }

    fn start_over(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The rejects of one attempt of a run, shared by its workers.
pub(crate) struct Rejects {
    /// Given up when the run starts over.
    log: Mutex<Option<Box<dyn RejectLog>>>,
    count: AtomicU64,
    limit: u64,
}

impl Rejects {
    pub(crate) fn new(log: Box<dyn RejectLog>, limit: u64) -> Rejects {
        Rejects {
            log: Mutex::new(Some(log)),
            count: AtomicU64::new(0),
            limit,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, reject: &Reject<'_>) -> Result<()> {
        let mut log = self.lock();
        let log = log.as_mut().ok_or_else(Error::interrupted)?;
        log.write(reject).map_err(Error::fatal)?;
        let Reject {
            line,
            partition,
            reason,
            ..
        } = reject;
        let last = || format!("line {line} of {partition}: {reason}");
        self.add(1, last)
            .map_err(|error| error.hint("look at the reject file, then raise `max_rejects` if these records may be left out"))
    }

    /// Counts records of the unit `label` that were rejected where it was read.
    pub(crate) fn count_elsewhere(&self, rejected: u64, label: &str) -> Result<()> {
        if rejected == 0 {
            return Ok(());
        }
        let last = || format!("{rejected} of {label} could not be read where it was fetched");
        self.add(rejected, last).map_err(|error| {
            error.hint("look at the reject file on that machine, then raise `max_rejects` if these records may be left out")
        })
    }

    /// Counts; fails when there are more than may be.
    fn add(&self, rejected: u64, last: impl Fn() -> String) -> Result<()> {
        let count = self.count.fetch_add(rejected, Ordering::Relaxed) + rejected;
        if count <= self.limit {
            return Ok(());
        }
        let message = format!("more than {} records cannot be read", self.limit);
        Err(Error::new(ErrorKind::Data, message).because(last()).fatal())
    }

    /// Returns the rejects of another attempt, with the same log, emptied.
    ///
    /// A worker of this one that was left behind can write no more into it, so
    /// that the log and its count agree. Fails when the log cannot be emptied.
    pub(crate) fn start_over(&self) -> Result<Rejects> {
        let mut log = self.lock().take().ok_or_else(Error::interrupted)?;
        log.start_over()?;
        Ok(Rejects::new(log, self.limit))
    }

    pub(crate) fn finish(&self) -> Result<Option<String>> {
        self.lock().as_mut().map_or(Ok(None), |log| log.finish())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn RejectLog>>> {
        // A worker that panicked while writing leaves at worst a torn line,
        // and its partition has failed; the others go on.
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
