//! The end of the simulator, which ends every wait.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that threads can wait on with a time-out.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Wakes everybody who waits, now and later.
    pub(super) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for `duration` and returns whether the stop came first.
    pub(super) fn wait(&self, duration: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(stopped, duration, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_wait() {
        let stop = Stop::default();
        assert!(!stop.is_stopped());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stop.wait(Duration::from_secs(3_600)));
            stop.stop();
            assert!(waiting.join().unwrap());
        });
    }
}
