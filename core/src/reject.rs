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

    fn finish(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The rejects of one run, shared by its workers.
pub(crate) struct Rejects {
    log: Mutex<Box<dyn RejectLog>>,
    count: AtomicU64,
    limit: u64,
}

impl Rejects {
    pub(crate) fn new(log: Box<dyn RejectLog>, limit: u64) -> Rejects {
        Rejects {
            log: Mutex::new(log),
            count: AtomicU64::new(0),
            limit,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, reject: &Reject<'_>) -> Result<()> {
        let mut log = self.lock();
        log.write(reject).map_err(Error::fatal)?;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count > self.limit {
            return Err(Error::new(
                ErrorKind::Data,
                format!("more than {} records cannot be read", self.limit),
            )
            .because(format!(
                "line {} of {}: {}",
                reject.line, reject.partition, reject.reason
            ))
            .hint("look at the reject file, then raise `max_rejects` if these records may be left out")
            .fatal());
        }
        Ok(())
    }

    /// Counts from nothing again, for a run that starts over.
    pub(crate) fn start_over(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) -> Result<Option<String>> {
        self.lock().finish()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Box<dyn RejectLog>> {
        // A worker that panicked while writing leaves at worst a torn line,
        // and its partition has failed; the others go on.
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
