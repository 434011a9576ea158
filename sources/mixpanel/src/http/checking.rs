//! Checks a large body beside the thread that receives it: to inflate it takes
//! longer than to receive, hash and store it.

use std::panic::resume_unwind;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mixflow_source_archive::Facts;

use super::tail::{BodyError, Check};
use crate::cores::Cores;

/// Bytes, as they came, after which a body is a large one.
const LARGE: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// Pieces of a body, of 64 KB, that may wait to be checked: as many as come while
/// others are made durable.
const WAITING: usize = 64;

/// A check of a body, on this thread or on one of its own.
pub(super) enum Checking<'scope, 'env> {
    Here {
        check: Check<'env>,
        bytes: usize,
    },
    Beside(Beside<'scope, 'env>),
    /// It has failed.
    Ended,
}

/// A thread that checks. It ends when this is dropped.
pub(super) struct Beside<'scope, 'env> {
    pieces: Sender<Vec<u8>>,
    /// Memory to be used again.
    spares: Receiver<Vec<u8>>,
    thread: ScopedJoinHandle<'scope, Result<Check<'env>, BodyError>>,
    _cores: Cores,
}

impl<'scope, 'env> Checking<'scope, 'env> {
    pub(super) fn new(check: Check<'env>) -> Checking<'scope, 'env> {
        Checking::Here { check, bytes: 0 }
    }

    /// Takes in what has come. Fails when it, or what came a little before, shows
    /// that the body cannot be whole; then it is not to be called again.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<(), BodyError> {
        if let Checking::Here { bytes: so_far, .. } = self
            && *so_far >= LARGE
        {
            self.spread(scope);
        }
        match self {
            Checking::Here {
                check,
                bytes: so_far,
            } => {
                *so_far += bytes.len();
                check.write(bytes)
            }
            Checking::Beside(beside) => {
                if beside.give(bytes) {
                    return Ok(());
                }
                // It has ended before it was told to, so it has failed.
                self.end().map(drop)
            }
            Checking::Ended => Err(ended()),
        }
    }

    /// Returns what the body is, decoded, if that was to be hashed. Fails if the
    /// body is not whole.
    pub(super) fn finish(mut self) -> Result<Option<Facts>, BodyError> {
        self.end()?.finish().map_err(BodyError::Truncated)
    }

    /// Goes on with a thread, if there is a core that nobody uses; else it looks again
    /// when as much has come again.
    fn spread(&mut self, scope: &'scope Scope<'scope, 'env>) {
        let Checking::Here { check, .. } = std::mem::replace(self, Checking::Ended) else {
            return;
        };
        let checked = match Cores::idle(1) {
            Some(cores) => Beside::start(check, cores, scope),
            None => Err(check),
        };
        *self = match checked {
            Ok(beside) => Checking::Beside(beside),
            Err(check) => Checking::Here { check, bytes: 0 },
        };
    }

    /// Waits until all that has come is checked.
    fn end(&mut self) -> Result<Check<'env>, BodyError> {
        match std::mem::replace(self, Checking::Ended) {
            Checking::Here { check, .. } => Ok(check),
            Checking::Beside(beside) => {
                drop(beside.pieces);
                let checked = beside.thread.join();
                checked.unwrap_or_else(|panic| resume_unwind(panic))
            }
            Checking::Ended => Err(ended()),
        }
    }
}

/// Returns the error of a body that was found to be none before.
fn ended() -> BodyError {
    BodyError::Truncated("what came before was refused".to_owned())
}

impl<'scope, 'env> Beside<'scope, 'env> {
    /// Starts a thread that goes on with `check`, which comes back where there is none.
    fn start(
        check: Check<'env>,
        cores: Cores,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Beside<'scope, 'env>, Check<'env>> {
        let (pieces, given) = bounded::<Vec<u8>>(WAITING);
        let (spare, spares) = unbounded();
        let (give, taken) = bounded::<Check<'env>>(1);
        let go_on = move || {
            let mut check = taken.recv().expect("it comes when there is a thread");
            for mut piece in given {
                check.write(&piece)?;
                piece.clear();
                // Nobody needs it at the end.
                let _ = spare.send(piece);
            }
            Ok(check)
        };
        let thread = Builder::new().name("mixflow-check".to_owned());
        let thread = match thread.spawn_scoped(scope, go_on) {
            Ok(thread) => thread,
            Err(error) => {
                log::warn!("cannot start a thread: {error}");
                return Err(check);
            }
        };
        give.send(check).map_err(|unsent| unsent.0)?;
        Ok(Beside {
            pieces,
            spares,
            thread,
            _cores: cores,
        })
    }

    /// Gives a piece over, when there is room; `false` if the thread has ended.
    fn give(&self, bytes: &[u8]) -> bool {
        let mut piece = self.spares.try_recv().unwrap_or_default();
        piece.extend_from_slice(bytes);
        self.pieces.send(piece).is_ok()
    }
}
