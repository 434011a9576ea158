//! Cancellation by disconnection.
//!
//! Nothing is ever sent: a [`CancelGuard`] holds the only sender of a channel,
//! and dropping it wakes every thread that waits on a [`CancelToken`] at once,
//! whatever else it waits for.

use std::time::Duration;

use crossbeam::channel::{self, Receiver, Select, Sender, TryRecvError};

use crate::error::{Error, ErrorKind, Result};

enum Never {}

/// Cancels its tokens when it is dropped.
#[must_use = "dropping the guard cancels its tokens"]
pub struct CancelGuard {
    _sender: Sender<Never>,
}

/// Tells work that it is to stop. Cheap to clone.
#[derive(Clone)]
pub struct CancelToken {
    receivers: Vec<Receiver<Never>>,
}

/// Creates a guard and the token that it cancels.
pub fn cancellation() -> (CancelGuard, CancelToken) {
    let (sender, receiver) = channel::bounded(0);
    (
        CancelGuard { _sender: sender },
        CancelToken {
            receivers: vec![receiver],
        },
    )
}

impl CancelToken {
    /// Returns a token that nothing cancels.
    pub fn never() -> CancelToken {
        CancelToken {
            receivers: Vec::new(),
        }
    }

    /// Creates a token that is cancelled with this one or by the new guard.
    pub fn child(&self) -> (CancelGuard, CancelToken) {
        let (guard, mut token) = cancellation();
        token.receivers.extend(self.receivers.iter().cloned());
        (guard, token)
    }

    /// Returns whether the work is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.receivers
            .iter()
            .any(|receiver| matches!(receiver.try_recv(), Err(TryRecvError::Disconnected)))
    }

    /// Returns the error of an interrupted run if the work is to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::interrupted())
        } else {
            Ok(())
        }
    }

    /// Blocks for `duration`, or until the work is to stop, which is an error.
    pub fn wait(&self, duration: Duration) -> Result<()> {
        match self.select().ready_timeout(duration) {
            Ok(_) => Err(Error::interrupted()),
            Err(_) => Ok(()),
        }
    }

    /// Blocks until the work is to stop.
    pub fn wait_until_cancelled(&self) {
        if self.receivers.is_empty() {
            loop {
                std::thread::park();
            }
        } else {
            self.select().ready();
        }
    }

    /// Sends `value`, blocking while the channel is full, unless the work is
    /// to stop or the receiver is gone, which is an error.
    pub fn send<T>(&self, sender: &Sender<T>, value: T) -> Result<()> {
        let mut select = self.select();
        let sending = select.send(sender);
        let operation = select.select();
        match operation.index() {
            index if index == sending => operation
                .send(sender, value)
                .map_err(|_| Error::interrupted()),
            index => {
                // A selected operation must be completed; this one can only
                // say that the guard is gone.
                let _gone = operation.recv(&self.receivers[index]);
                Err(Error::interrupted())
            }
        }
    }

    /// Receives a value, or `None` when all senders are gone or the work is to
    /// stop.
    pub fn recv<T>(&self, receiver: &Receiver<T>) -> Option<T> {
        let mut select = self.select();
        let receiving = select.recv(receiver);
        let operation = select.select();
        match operation.index() {
            index if index == receiving => operation.recv(receiver).ok(),
            index => {
                let _gone = operation.recv(&self.receivers[index]);
                None
            }
        }
    }

    /// Runs `work` on a thread of its own and waits for it, or until this work
    /// is to stop, which is an error.
    ///
    /// For what may hang and cannot be woken, such as reading a file that is a
    /// pipe. The thread is then left to itself; it ends with the process.
    pub fn attempt<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = channel::bounded(1);
        std::thread::Builder::new()
            .name("mixflow-attempt".to_owned())
            .spawn(move || {
                // Nobody may be there any more.
                let _ = sender.send(work());
            })
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot start a thread").with_source(error)
            })?;
        match self.recv(&receiver) {
            Some(outcome) => Ok(outcome),
            None if self.is_cancelled() => Err(Error::interrupted()),
            None => Err(Error::new(ErrorKind::Panic, "what was waited for panicked")),
        }
    }

    /// Adds the token to what `select` waits for.
    pub(crate) fn add_to<'s>(&'s self, select: &mut Select<'s>) {
        for receiver in &self.receivers {
            select.recv(receiver);
        }
    }

    fn select(&self) -> Select<'_> {
        let mut select = Select::new();
        self.add_to(&mut select);
        select
    }
}

impl std::fmt::Debug for CancelGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelGuard")
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_guard_wakes_every_wait() {
        let (guard, token) = cancellation();
        let (full, _kept) = channel::bounded::<u8>(0);
        let (_idle, empty) = channel::bounded::<u8>(0);
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| token.wait(Duration::from_secs(3600)).is_err());
            let send = scope.spawn(|| token.send(&full, 1).is_err());
            let recv = scope.spawn(|| token.recv(&empty).is_none());
            drop(guard);
            assert!(wait.join().expect("no panic"));
            assert!(send.join().expect("no panic"));
            assert!(recv.join().expect("no panic"));
        });
        assert!(token.is_cancelled());
    }

    #[test]
    fn a_child_is_cancelled_by_its_own_guard_and_by_its_parent() {
        let (parent_guard, parent) = cancellation();
        let (child_guard, child) = parent.child();
        drop(child_guard);
        assert!(child.is_cancelled());
        assert!(!parent.is_cancelled());

        let (_other_guard, other) = parent.child();
        drop(parent_guard);
        assert!(other.is_cancelled());
    }

    #[test]
    fn what_hangs_is_left_to_itself() {
        let (guard, token) = cancellation();
        let (_kept, never) = channel::bounded::<()>(0);
        assert_eq!(token.attempt(|| 7).ok(), Some(7));
        drop(guard);
        let error = token.attempt(move || never.recv()).expect_err("it hangs");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        let error = CancelToken::never().attempt(|| panic!("on purpose"));
        assert!(error.is_err_and(|error| error.kind() == ErrorKind::Panic));
    }

    #[test]
    fn a_wait_that_is_not_cancelled_ends_in_time() {
        let (_guard, token) = cancellation();
        assert!(token.wait(Duration::from_millis(1)).is_ok());
        assert!(CancelToken::never().wait(Duration::from_millis(1)).is_ok());
    }
}
