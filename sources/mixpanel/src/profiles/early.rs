//! Pages that are asked for before it is their turn: beside page 0, as soon as
//! the beginning of its answer says how.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{Receiver, bounded};
use mixflow_core::context::UnitContext;

use super::fetched::FetchedPage;
use super::page::Opening;
use crate::http::body::Wire;
use crate::http::encoding::{Reader, decoded};
use crate::http::retry::Failure;

/// So much of an answer is looked at for its opening.
const BEGINNING: usize = 64 << 10;

/// What has come of a request.
type Answered = Result<FetchedPage, Failure>;

/// The pages of a run that are asked for early.
#[derive(Default)]
pub(super) struct EarlyPages {
    /// They are asked for once, whatever becomes of page 0.
    begun: AtomicBool,
    /// Their session, until page 0 is asked for by it once more.
    session_id: Mutex<Option<String>>,
    pages: Mutex<BTreeMap<u64, Early>>,
}

struct Early {
    session_id: String,
    answer: Receiver<Answered>,
}

impl EarlyPages {
    /// Returns whether this is the first session in which pages can be asked for
    /// early.
    pub(super) fn begin(&self, session_id: &str) -> bool {
        let is_first = !self.begun.swap(true, Ordering::Relaxed);
        if is_first {
            *self.session_id() = Some(session_id.to_owned());
        }
        is_first
    }

    /// Returns the session in which page 0 is to be asked for again, so that what
    /// was asked for early is of use. It is tried once.
    pub(super) fn resume(&self) -> Option<String> {
        self.session_id().take()
    }

    /// Asks for page `n` of a session in a thread. Where there is none, the page
    /// waits for its turn.
    pub(super) fn ask(
        &self,
        n: u64,
        session_id: &str,
        ask: impl FnOnce() -> Answered + Send + 'static,
    ) {
        let (done, answer) = bounded(1);
        let in_thread = move || {
            // Nobody may want it any more.
            let _ = done.send(ask());
        };
        let thread = std::thread::Builder::new().name(format!("mixflow-page-{n}"));
        match thread.spawn(in_thread) {
            Ok(_) => {
                let session_id = session_id.to_owned();
                self.pages().insert(n, Early { session_id, answer });
            }
            Err(error) => log::warn!("cannot start a thread for page {n}: {error}"),
        }
    }

    /// Waits for what has come of an early request for page `n` of a session;
    /// `None` if there was none. `cx` is told of the try.
    pub(super) fn take(&self, n: u64, session_id: &str, cx: &UnitContext) -> Option<Answered> {
        let early = self.pages().remove(&n)?;
        if early.session_id != session_id {
            return None;
        }
        // A cancelled request ends by itself, and so does its thread.
        let answered = early.answer.recv().ok()?;
        cx.count_try();
        Some(answered)
    }

    fn session_id(&self) -> MutexGuard<'_, Option<String>> {
        self.session_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<u64, Early>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells `tell` of the opening of an answer as soon as that has come.
pub(super) fn listen(wire: &mut Wire, tell: impl FnOnce(Opening) + Send + 'static) {
    let encoding = wire.encoding;
    let inner = std::mem::replace(&mut wire.reader, Box::new(io::empty()));
    wire.reader = Box::new(Listening {
        inner,
        beginning: Vec::new(),
        find: move |bytes: &[u8]| {
            let mut text = Vec::new();
            // It is cut somewhere.
            let _ = decoded(Box::new(bytes), encoding).read_to_end(&mut text);
            Opening::of(&String::from_utf8_lossy(&text))
        },
        tell: Some(tell),
    });
}

/// A reader whose beginning is looked at.
struct Listening<F, T> {
    inner: Reader<'static>,
    beginning: Vec<u8>,
    find: F,
    /// `None` once it is told, or was not to be found.
    tell: Option<T>,
}

impl<F, T> Read for Listening<F, T>
where
    F: Fn(&[u8]) -> Option<Opening>,
    T: FnOnce(Opening),
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if self.tell.is_none() {
            return Ok(read);
        }
        let room = BEGINNING - self.beginning.len();
        self.beginning.extend_from_slice(&buffer[..read.min(room)]);
        match (self.find)(&self.beginning) {
            Some(opening) => {
                if let Some(tell) = self.tell.take() {
                    tell(opening);
                }
            }
            None if self.beginning.len() == BEGINNING => self.tell = None,
            None => {}
        }
        Ok(read)
    }
}
