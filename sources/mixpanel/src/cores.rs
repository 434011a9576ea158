//! Which cores are in use, so that a body takes only those that nobody uses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Cores that are in use, for all runs of the process.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Cores that are in use while this lives.
pub(crate) struct Cores(usize);

impl Cores {
    /// Takes one, which the caller has anyway.
    pub(crate) fn one() -> Cores {
        BUSY.fetch_add(1, Ordering::Relaxed);
        Cores(1)
    }

    /// Takes as many as nobody uses, and at most `most`; `None` if there are
    /// none.
    pub(crate) fn idle(most: usize) -> Option<Cores> {
        let all = available_parallelism().map_or(1, usize::from);
        let take = |busy| Some(idle(all, busy, most)).filter(|idle| *idle > 0);
        let taken = BUSY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            take(busy).map(|idle| busy + idle)
        });
        taken.ok().and_then(take).map(Cores)
    }

    pub(crate) fn count(&self) -> usize {
        self.0
    }
}

fn idle(all: usize, busy: usize, most: usize) -> usize {
    all.saturating_sub(busy).min(most)
}

impl Drop for Cores {
    fn drop(&mut self) {
        BUSY.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_idle() {
        assert_eq!(idle(1, 1, 3), 0);
        assert_eq!(idle(2, 1, 3), 1);
        assert_eq!(idle(2, 2, 3), 0);
        assert_eq!(idle(64, 1, 3), 3);
        assert_eq!(idle(2, 9, 3), 0);
    }
}
