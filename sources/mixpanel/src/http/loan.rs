//! Memory that is lent, as far as there is some.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that all bodies of the process share.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    lent: AtomicUsize,
}

impl Pool {
    /// Returns one of so many bytes, none of which is lent.
    pub(crate) const fn of(most: usize) -> Pool {
        Pool {
            most,
            lent: AtomicUsize::new(0),
        }
    }

    /// Returns a loan of nothing yet.
    pub(crate) fn loan(&'static self) -> Loan {
        Loan {
            pool: self,
            bytes: 0,
        }
    }

    /// Returns the bytes that are lent.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }
}

/// Memory that was lent, until it is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    pool: &'static Pool,
    bytes: usize,
}

impl Loan {
    /// Takes more; `false` if there is not so much.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Pool { most, lent } = self.pool;
        let grown = lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| {
            lent.checked_add(bytes).filter(|lent| lent <= most)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.lent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
