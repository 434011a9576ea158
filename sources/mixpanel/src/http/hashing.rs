//! Hashes a large body beside the thread that inflates it, which takes as long.

use std::panic::resume_unwind;
use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mixflow_source_archive::{Facts, Hasher};

use crate::cores::Cores;

/// Bytes after which a body is a large one.
const LARGE: usize = if cfg!(test) { 64 } else { 16 << 20 };

/// Bytes that go over together.
const PIECE: usize = if cfg!(test) { 32 } else { 256 << 10 };

/// What of a body is hashed while it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashed {
    /// What came, compressed if it was.
    AsItCame,
    /// Also what it decodes to: for the archive, and six times as many bytes. Of a
    /// run that reads a million events it was 6 to 9 % of the CPU.
    Decoded,
}

/// Hashes the pieces of a body.
pub(super) enum Hashing {
    Here { hasher: Hasher, bytes: usize },
    Beside(Beside),
}

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing::Here {
            hasher: Hasher::default(),
            bytes: 0,
        }
    }
}

impl Hashing {
    pub(super) fn add(&mut self, piece: &[u8]) {
        match self {
            Hashing::Here { hasher, bytes } => {
                hasher.add(piece);
                *bytes += piece.len();
                if *bytes >= LARGE {
                    *bytes = 0;
                    let cores = Cores::idle(1);
                    let beside = cores.and_then(|cores| Beside::start(hasher, cores));
                    if let Some(beside) = beside {
                        *self = Hashing::Beside(beside);
                    }
                }
            }
            Hashing::Beside(beside) => beside.add(piece),
        }
    }

    /// Waits for the rest to be hashed.
    pub(super) fn finish(self) -> Facts {
        match self {
            Hashing::Here { hasher, .. } => hasher.finish().into(),
            Hashing::Beside(beside) => beside.finish().finish().into(),
        }
    }
}

/// A thread that hashes. It ends soon after this is dropped.
pub(super) struct Beside {
    piece: Vec<u8>,
    pieces: Sender<Vec<u8>>,
    /// Memory to be used again.
    spares: Receiver<Vec<u8>>,
    thread: JoinHandle<Hasher>,
    _cores: Cores,
}

impl Beside {
    /// Starts a thread that goes on with `hasher`; `None` if there is none.
    fn start(hasher: &Hasher, cores: Cores) -> Option<Beside> {
        let (pieces, given) = bounded::<Vec<u8>>(4);
        let (spare, spares) = unbounded();
        let mut hasher = hasher.clone();
        let hash = move || {
            for mut piece in given {
                hasher.add(&piece);
                piece.clear();
                // Nobody needs it at the end.
                let _ = spare.send(piece);
            }
            hasher
        };
        let thread = Builder::new().name("mixflow-hash".to_owned()).spawn(hash);
        Some(Beside {
            piece: Vec::with_capacity(PIECE),
            pieces,
            spares,
            thread: thread.ok()?,
            _cores: cores,
        })
    }

    fn add(&mut self, bytes: &[u8]) {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            let spare = self.spares.try_recv();
            self.give(spare.unwrap_or_default());
        }
    }

    /// Gives the piece, and goes on with the next one.
    fn give(&mut self, next: Vec<u8>) {
        let piece = std::mem::replace(&mut self.piece, next);
        // A thread that has ended has panicked, which shows at the end.
        let _ = self.pieces.send(piece);
    }

    fn finish(mut self) -> Hasher {
        self.give(Vec::new());
        drop(self.pieces);
        self.thread
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashed(mut hashing: Hashing, pieces: &[Vec<u8>]) -> Facts {
        for piece in pieces {
            hashing.add(piece);
        }
        hashing.finish()
    }

    proptest! {
        #[test]
        fn the_hash_is_the_same_on_any_thread(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)
        ) {
            let mut hasher = Hasher::default();
            hasher.add(&pieces.concat());
            let expected = Facts::from(hasher.finish());
            prop_assert_eq!(&hashed(Hashing::default(), &pieces), &expected);
            let beside = Beside::start(&Hasher::default(), Cores::one());
            let beside = Hashing::Beside(beside.expect("there are threads"));
            prop_assert_eq!(&hashed(beside, &pieces), &expected);
        }
    }
}
