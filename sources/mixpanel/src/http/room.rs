//! The room for long lines, which the workers of a run share.
//!
//! A line may be 64 MB long, and a gzip of it 0.1 MB. Every worker may hold
//! lines of the usual size; what is longer needs the one place that there is,
//! so that twenty workers with one such line each hold one of them at a time.

use std::io;

use crossbeam::channel::{Receiver, Sender, bounded};
use mixflow_core::cancel::CancelToken;

/// Bytes that each worker may hold of a line. Mixpanel takes events of 1 MB.
pub(crate) const USUAL: usize = 2 << 20;

/// Has one place for a line that is longer than usual.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Receiver<()>,
    freed: Sender<()>,
    cancel: CancelToken,
}

/// The place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Sender<()>);

impl Room {
    /// Creates a room for which nobody waits any more when `cancel` is
    /// cancelled.
    pub(crate) fn new(cancel: &CancelToken) -> Room {
        let (freed, free) = bounded(1);
        freed.try_send(()).expect("there is room for one");
        Room {
            free,
            freed,
            cancel: cancel.clone(),
        }
    }

    /// Waits for the place.
    pub(crate) fn take(&self) -> io::Result<Place> {
        match self.cancel.recv(&self.free) {
            Some(()) => Ok(Place(self.freed.clone())),
            None => Err(io::Error::other("the run was cancelled")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It was taken, so there is room to give it back.
        let _ = self.0.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mixflow_core::cancel::cancellation;

    use super::*;

    #[test]
    fn there_is_one_place_and_nobody_waits_for_it_after_a_cancel() {
        let (guard, cancel) = cancellation();
        let room = Room::new(&cancel);
        let place = room.take().expect("it is free");
        let other = room.clone();
        let waiting = std::thread::spawn(move || other.take().map(drop));
        assert!(cancel.wait(Duration::from_millis(20)).is_ok());
        assert!(!waiting.is_finished());
        drop(place);
        assert!(waiting.join().expect("no panic").is_ok());
        let _place = room.take().expect("it is free again");
        drop(guard);
        assert!(room.take().is_err());
    }
}
