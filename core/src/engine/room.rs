//! How much may wait for the sink, in bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{self, Receiver, Sender};

use crate::batch::PartitionId;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};

/// The most bytes of batches that wait for the sink, or for their turn.
///
/// An ordinary batch is 2 to 8 MB, so that the number of batches is the bound
/// of an ordinary run, and this is the one where single rows are larger, or
/// many workers are ahead of their turn. Tests have room for few batches, so
/// that all of them meet this bound.
const MOST_BYTES: usize = if cfg!(test) { 128 } else { 64 << 20 };

/// The room between the workers and the sink.
///
/// A batch larger than all of it passes when nothing else waits. What is of
/// the partition whose turn it is always passes: in a plan that keeps its
/// order, everything else waits for that one.
pub(super) struct Room {
    state: Mutex<State>,
    limit: usize,
    /// Has each worker look again. One channel for all would not do: a worker
    /// that still has no room would take what was meant for another.
    wake: Vec<Sender<()>>,
}

struct State {
    used: usize,
    /// The partition whose turn it is, in a plan that keeps its order.
    turn: Option<usize>,
}

/// Where one worker waits for room.
pub(super) struct Door {
    room: Arc<Room>,
    woken: Receiver<()>,
}

impl Door {
    /// Waits for room for a batch, or until the work is to stop.
    pub(super) fn take(
        &self,
        id: PartitionId,
        bytes: usize,
        cancel: &CancelToken,
    ) -> Result<Place> {
        while !self.room.try_take(id, bytes) {
            cancel.recv(&self.woken).ok_or_else(Error::interrupted)?;
        }
        Ok(Place {
            room: Arc::clone(&self.room),
            bytes,
        })
    }
}

/// The room that a batch takes until this is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// Returns the room, and for each worker the door that it waits at.
    pub(super) fn new(workers: usize, ordered: bool) -> (Arc<Room>, Vec<Door>) {
        Room::of(MOST_BYTES, workers, ordered)
    }

    fn of(limit: usize, workers: usize, ordered: bool) -> (Arc<Room>, Vec<Door>) {
        let (wake, woken): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel::bounded(1)).unzip();
        let state = State {
            used: 0,
            turn: ordered.then_some(0),
        };
        let room = Arc::new(Room {
            state: Mutex::new(state),
            limit,
            wake,
        });
        let doors = woken.into_iter().map(|woken| Door {
            room: Arc::clone(&room),
            woken,
        });
        let doors = doors.collect();
        (room, doors)
    }

    fn try_take(&self, id: PartitionId, bytes: usize) -> bool {
        let mut state = self.lock();
        let is_its_turn = state.turn.is_some_and(|turn| id.index() <= turn);
        let fits = state.used == 0 || state.used + bytes <= self.limit;
        if fits || is_its_turn {
            state.used += bytes;
        }
        fits || is_its_turn
    }

    /// Tells whose turn it is now.
    pub(super) fn turn_to(&self, n: usize) {
        self.lock().turn = Some(n);
        self.wake_all();
    }

    fn wake_all(&self) {
        for wake in &self.wake {
            // Full is as good: the worker is to look again already.
            let _ = wake.try_send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts are whole, whatever panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().used -= self.bytes;
        self.room.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::cancellation;

    const FIRST: PartitionId = PartitionId(0);
    const SECOND: PartitionId = PartitionId(1);

    #[test]
    fn what_does_not_fit_waits_until_there_is_room() {
        let (room, doors) = Room::of(10, 3, false);
        let [first, second, third] = &doors[..] else {
            panic!("there are three workers")
        };
        let never = CancelToken::never();
        let place = first.take(FIRST, 6, &never).expect("there is room");
        assert!(!room.try_take(SECOND, 5));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| second.take(SECOND, 5, &never).map(drop).is_ok());
            let waits_too = scope.spawn(|| third.take(SECOND, 6, &never).map(drop).is_ok());
            drop(place);
            assert!(waits.join().expect("no panic"));
            assert!(waits_too.join().expect("no panic"));
        });
        assert_eq!(room.lock().used, 0);
    }

    #[test]
    fn what_is_larger_than_all_passes_alone() {
        let (room, doors) = Room::of(10, 1, false);
        let place = doors[0].take(FIRST, 60, &CancelToken::never());
        assert!(!room.try_take(SECOND, 1));
        drop(place);
        assert!(room.try_take(SECOND, 1));
    }

    #[test]
    fn whose_turn_it_is_does_not_wait() {
        let (room, doors) = Room::of(10, 2, true);
        let never = CancelToken::never();
        let _ahead = doors[1].take(SECOND, 10, &never).expect("there is room");
        let third = PartitionId(2);
        assert!(!room.try_take(third, 5));
        let _first = doors[0].take(FIRST, 5, &never).expect("it is its turn");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| doors[1].take(third, 5, &never).map(drop).is_ok());
            room.turn_to(2);
            assert!(waits.join().expect("no panic"));
        });
    }

    #[test]
    fn a_wait_ends_when_the_work_is_to_stop() {
        let (_room, doors) = Room::of(10, 2, false);
        let (guard, token) = cancellation();
        let _first = doors[0].take(FIRST, 10, &token).expect("there is room");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| doors[1].take(SECOND, 5, &token).is_err());
            drop(guard);
            assert!(waits.join().expect("no panic"));
        });
    }
}
