//! The rows that DuckDB's threads take; one thread takes all of the first ones.
//!
//! A small table is so the same however often it is made. An `INSERT` of its own for
//! the first rows, up to a whole row group, left that to be compressed by the commit, on
//! one core: 0.15 s of the two seconds that a million events take.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Rows that one thread takes before there are others.
const IN_ORDER: u64 = 32_768;

/// A thread that has not taken rows for so long, while some wait, takes none any more.
const STALL: Duration = Duration::from_millis(500);

/// The end of a queue that threads take rows from.
pub(crate) struct Queue {
    rows: Receiver<RecordBatch>,
    /// The thread that has come first.
    first: OnceLock<ThreadId>,
    /// Disconnected when `alone` is dropped.
    others: Receiver<()>,
    /// Keeps the other threads waiting.
    alone: Mutex<Option<Sender<()>>>,
    /// Rows that were taken.
    taken: AtomicU64,
    /// Whether no more rows come.
    is_closed: Arc<AtomicBool>,
}

impl Queue {
    /// `is_closed` is to be set before the sender of `rows` is dropped.
    pub(crate) fn new(rows: Receiver<RecordBatch>, is_closed: Arc<AtomicBool>) -> Queue {
        let (alone, others) = bounded(0);
        Queue {
            rows,
            first: OnceLock::new(),
            others,
            alone: Mutex::new(Some(alone)),
            taken: AtomicU64::new(0),
            is_closed,
        }
    }

    /// Waits for the next rows; `None` when there are no more.
    pub(crate) fn next(&self) -> Option<RecordBatch> {
        let thread = thread::current().id();
        if *self.first.get_or_init(|| thread) != thread {
            self.wait_for_turn();
        }
        let rows = self.rows.recv().ok();
        let number = rows
            .as_ref()
            .map_or(IN_ORDER, |rows| rows.num_rows() as u64);
        let before = self.taken.fetch_add(number, Ordering::Relaxed);
        if before < IN_ORDER && before + number >= IN_ORDER {
            *self.alone.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        rows
    }

    /// Waits until the first thread has taken its rows. One that has failed takes no
    /// more, and DuckDB tells of it only when all threads have ended.
    fn wait_for_turn(&self) {
        let mut before = None;
        while self.others.recv_timeout(STALL) == Err(RecvTimeoutError::Timeout) {
            let none_wait = self.rows.is_empty();
            let now = (self.taken.load(Ordering::Relaxed), none_wait);
            let stalls = !none_wait && before == Some(now);
            if stalls || (none_wait && self.is_closed.load(Ordering::Acquire)) {
                break;
            }
            before = Some(now);
        }
    }
}
