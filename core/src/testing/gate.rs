//! A place where a double waits until the test says go.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{self, Receiver, Sender};

use crate::cancel::CancelToken;
use crate::error::Result;

enum Never {}

/// Holds whoever comes to it until it is opened; then it stays open.
///
/// Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    /// Dropped when the gate is opened, which wakes everyone.
    closed: Arc<Mutex<Option<Sender<Never>>>>,
    opened: Receiver<Never>,
    arrive: Sender<()>,
    arrived: Receiver<()>,
}

impl Gate {
    /// Creates a gate that is closed.
    pub fn closed() -> Gate {
        let (closed, opened) = channel::bounded(0);
        let (arrive, arrived) = channel::unbounded();
        Gate {
            closed: Arc::new(Mutex::new(Some(closed))),
            opened,
            arrive,
            arrived,
        }
    }

    /// Lets everyone through.
    pub fn open(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = None;
    }

    /// Blocks until somebody has come to the gate who was not yet waited for.
    pub fn wait_for_arrival(&self) {
        // The gate itself keeps a sender, so this cannot be disconnected.
        let _ = self.arrived.recv();
    }

    /// Blocks until the gate is open or the work is to stop, which is an error.
    pub fn pass(&self, cancel: &CancelToken) -> Result<()> {
        let _ = self.arrive.send(());
        cancel.recv(&self.opened);
        cancel.check()
    }

    /// Blocks until the gate is open, whatever else happens.
    pub fn pass_deaf(&self) {
        let _ = self.arrive.send(());
        let _ = self.opened.recv();
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}
