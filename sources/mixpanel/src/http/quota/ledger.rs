//! When requests were made, shared by the processes of a machine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mixflow_state::State;

use super::book::Book;

/// Where the processes of a machine keep the book of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The endpoint, as nobody else is called.
    pub(crate) endpoint: String,
}

/// A book that processes share, or one in memory.
#[derive(Debug)]
pub(super) struct Ledger {
    shared: Option<(Arc<State>, String)>,
    local: Mutex<Local>,
}

/// What counts when there is no shared book, or none that can be used.
#[derive(Debug, Default)]
struct Local {
    /// The shared book as it was last, and what this process has noted since.
    book: Book,
    /// Whether the shared one lacks something of it.
    is_ahead: bool,
}

impl Ledger {
    /// Creates a ledger that is shared, or in memory. Makes no I/O.
    pub(super) fn new(shared: Option<&Shared>) -> Ledger {
        Ledger {
            shared: shared.map(|shared| (State::at(&shared.state), shared.endpoint.clone())),
            local: Mutex::default(),
        }
    }

    /// Does something with the book that nobody else does meanwhile.
    ///
    /// `work` is done again when what it did could not be written.
    pub(super) fn with<T>(&self, mut work: impl FnMut(&mut Book, u64) -> T) -> T {
        let mut local = self.local();
        if let Some((state, endpoint)) = &self.shared {
            let changed = state.change_book(endpoint, |text| {
                let mut book = Book::read(text);
                if local.is_ahead {
                    book.add(&local.book);
                }
                let done = work(&mut book, now_ms());
                let written = serde_json::to_string(&book).ok();
                let news = written.filter(|written| text != Some(written.as_str()));
                (news, (done, book))
            });
            match changed {
                Ok((done, book)) => {
                    let is_ahead = false;
                    *local = Local { book, is_ahead };
                    return done;
                }
                // The server's own count is still there to stop us.
                Err(error) => {
                    log::info!("the quota is not shared, so only this process counts: {error}");
                }
            }
        }
        local.is_ahead = true;
        work(&mut local.book, now_ms())
    }

    /// Returns the requests of the last hour, without making a file.
    pub(super) fn used(&self) -> usize {
        self.look(0, |book| book.used(now_ms()))
    }

    /// Returns what the book says, or `otherwise` if there is none yet.
    pub(super) fn look<T>(&self, otherwise: T, look: impl FnOnce(&mut Book) -> T) -> T {
        let mut local = self.local();
        match &self.shared {
            Some((state, endpoint)) if !local.is_ahead => match state.book(endpoint) {
                Ok(None) => otherwise,
                Ok(Some(text)) => look(&mut Book::read(Some(&text))),
                Err(_) => look(&mut local.book),
            },
            _ => look(&mut local.book),
        }
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::from(mixflow_core::clock::now())
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::limits::Limits;
    use super::*;

    fn limits(per_second: u32, per_hour: u32) -> Limits {
        Limits {
            per_second,
            per_hour,
            concurrent: 10,
            hour_is_given: true,
        }
    }

    fn shared(folder: &std::path::Path) -> Shared {
        Shared {
            state: folder.to_owned(),
            endpoint: "export".to_owned(),
        }
    }

    #[test]
    fn two_ledgers_of_one_endpoint_count_together() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let state = folder.path().join("deep");
        let shared = shared(&state);
        let (a, b) = (Ledger::new(Some(&shared)), Ledger::new(Some(&shared)));
        assert_eq!(a.used(), 0);
        assert!(!state.exists());
        let reserve = |ledger: &Ledger| {
            ledger.with(|book, now| book.reserve(limits(9, 2), true, Duration::MAX, now))
        };
        assert!(reserve(&a).is_ok());
        assert!(reserve(&b).is_ok());
        assert!(reserve(&a).is_err());
        assert_eq!(b.used(), 2);
        let torn = State::at(&state).change_book("export", |_| (Some("{\"hour\": [17".into()), ()));
        assert_eq!(torn, Ok(()));
        assert!(reserve(&a).is_ok());
    }

    #[test]
    fn without_a_place_for_the_book_the_process_counts_alone() {
        let ledger = Ledger::new(Some(&shared("/dev/null/no".as_ref())));
        let reserve =
            || ledger.with(|book, now| book.reserve(limits(9, 1), true, Duration::MAX, now));
        assert!(reserve().is_ok());
        assert!(reserve().is_err());
        assert_eq!(ledger.used(), 1);
    }
}
