//! What a source is given while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::reject::{Reject, Rejects};

/// When rows may leave a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When the partition is known to be complete.
    Verified,
    /// As they arrive. A retry skips exactly what went out, or fails.
    Direct,
}

/// What a source is given while it plans or reads a partition.
///
/// All methods may be called from any thread; none blocks, but for
/// [`reject`](TaskContext::reject), which writes to a file.
#[derive(Clone)]
pub struct TaskContext {
    /// Tells that the work is to stop. Every wait must go through it.
    pub cancel: CancelToken,
    /// When rows may leave the partition.
    pub delivery: Delivery,
    pub(crate) counters: Arc<Counters>,
    pub(crate) attempts: Arc<AtomicU32>,
    pub(crate) notices: Sender<Notice>,
    pub(crate) rejects: Arc<Rejects>,
}

/// Totals of a run, counted by the sources.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// Something worth telling a person while the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request is tried again after a wait.
    Retry {
        /// Which partition.
        label: String,
        /// How long the wait is.
        wait: Duration,
        /// Why the last try did not do.
        reason: String,
    },
    /// A request waits for quota.
    Wait {
        /// Which partition.
        label: String,
        /// How long the wait is.
        wait: Duration,
        /// What is waited for.
        reason: String,
    },
    /// A partition was there already, from another run that has not committed.
    Reused {
        /// Which partition.
        label: String,
    },
    /// A person may want to act.
    Warning(String),
}

impl TaskContext {
    /// Counts a request that is about to be made, and a try of its partition.
    pub fn count_request(&self) {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that came over the wire.
    pub fn count_bytes(&self, bytes: u64) {
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells the observer; counts a retry if it is one.
    pub fn notify(&self, notice: Notice) {
        if matches!(notice, Notice::Retry { .. }) {
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        // The receiver is gone only when the run is over.
        let _ = self.notices.send(notice);
    }

    /// Puts a record aside that cannot be read.
    ///
    /// Fails, and with it the run, when more are rejected than the source allows.
    pub fn reject(&self, reject: &Reject<'_>) -> Result<()> {
        self.rejects.push(reject)
    }

    /// Returns a context that shares everything but counts its own attempts.
    pub(crate) fn for_partition(&self) -> TaskContext {
        TaskContext {
            attempts: Arc::default(),
            ..self.clone()
        }
    }
}

/// Returns the error of a partition that could not be had whole.
pub fn incomplete(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Incomplete, message)
}
