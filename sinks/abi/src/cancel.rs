//! The host's token, as a token of this library.
//!
//! A token wakes whoever waits for it by a channel that ends, which does not
//! cross the boundary. So a thread waits for the host's, and ends the channel of
//! one that is made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mixflow_core::cancel::{CancelToken, cancellation};

use crate::raw::Cancel;

/// How often the thread looks whether it is needed any more.
const LOOK_AGAIN_MS: u32 = 100;

/// What the host has given; released when it is dropped.
pub(crate) struct Lent(Cancel);

// SAFETY: by the rules of the boundary it may be asked from any thread, and
// whoever holds it may release it.
unsafe impl Send for Lent {}

impl Lent {
    /// Takes what the host gives; `None` if that can tell nothing.
    ///
    /// # Safety
    ///
    /// `cancel` is null or a host's, which gives it up.
    pub(crate) unsafe fn take(cancel: *mut Cancel) -> Option<Lent> {
        if cancel.is_null() {
            return None;
        }
        // SAFETY: by this function's contract; it is used by nobody else.
        let lent = Lent(unsafe { cancel.read() });
        lent.0.wait.is_some().then_some(lent)
    }

    /// Waits for so long, or until the run is to stop; returns whether it is.
    fn is_cancelled_within(&self, milliseconds: u32) -> bool {
        match self.0.wait {
            // SAFETY: it was not released.
            Some(wait) => unsafe { wait(self.0.token, milliseconds) != 0 },
            None => false,
        }
    }

    /// Returns a token that is cancelled with the host's, until the watch is
    /// dropped; `None` if no thread can be had.
    pub(crate) fn watched(self) -> Option<(Watch, CancelToken)> {
        let (guard, token) = cancellation();
        let watch = Watch::default();
        let is_over = Arc::clone(&watch.is_over);
        let watching = std::thread::Builder::new().name("mixflow-cancel".to_owned());
        let started = watching.spawn(move || {
            // Cancels when it goes; after the transaction nobody listens.
            let _guard = guard;
            while !self.is_cancelled_within(LOOK_AGAIN_MS) && !is_over.load(Ordering::Relaxed) {}
        });
        started.is_ok().then_some((watch, token))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: it is used for the last time.
            unsafe { release(self.0.token) };
        }
    }
}

/// Ends the thread that waits for the host, soon after it is dropped.
#[derive(Default)]
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
