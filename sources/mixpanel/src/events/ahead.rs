//! Decodes the beginning of a body while that is checked.
//!
//! No row goes on before its body is known to be whole. Checking it keeps one core
//! busy; another one that nobody uses decodes meanwhile what has come, as far as its
//! rows may wait in memory. A body that is all of that is not inflated twice.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Receiver, Sender, unbounded};
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::Result;

use super::window::spool_error;
use crate::cores::Cores;
use crate::decode::{Decoder, Uncounted};
use crate::http::encoding::{After, Reader};
use crate::http::lines::{Lines, OwnedLine};
use crate::http::loan::{Loan, Pool};
use crate::http::room::Room;

/// Bytes of lines that may be decoded ahead, of all bodies together.
///
/// A million events in thirty windows of 30 MB, one after the other, take 2.5 s
/// instead of 3.2 s: none is inflated twice. In one window of 523 MB they take as long
/// with 64 MB as with 256 MB, since then whoever writes has enough to do.
const MOST: usize = if cfg!(test) { 1_500 } else { 64 << 20 };

/// Bytes that a body has before a thread is started for it.
const LARGE: usize = if cfg!(test) { 100 } else { 1 << 20 };

/// Bytes that go over together.
const PIECE: usize = if cfg!(test) { 40 } else { 256 << 10 };

/// A longer line, for which there would have to be room, is not read ahead, nor is
/// what comes after it: the room may be taken by whoever checks the body.
const LONGEST: usize = if cfg!(test) { 200 } else { 1 << 20 };

/// Bytes of lines that are ahead.
static AHEAD: Pool = Pool::of(MOST);

/// Takes in a body while it is checked.
pub(super) struct Ahead {
    work: Work,
    /// What has come of lines that go over next.
    piece: Vec<u8>,
    /// What has gone over.
    read: Extent,
    loan: Loan,
}

/// Who decodes.
enum Work {
    /// Nobody yet.
    Waits(Vec<Vec<u8>>, Box<Decoder>, Room),
    Runs(Sender<Vec<u8>>, Thread),
    /// The rest is not read ahead.
    Ended(Option<Thread>),
}

/// The thread that decodes, and what it has.
struct Thread {
    decoded: Receiver<Decoded>,
    handle: JoinHandle<io::Result<()>>,
}

/// Some rows, and the lines among theirs that are no records, with the reasons.
pub(super) struct Decoded {
    pub(super) rows: Option<Uncounted>,
    pub(super) rejects: Vec<(OwnedLine, String)>,
}

/// How much of a body was read ahead: whole lines.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    bytes: u64,
    lines: u64,
}

/// The rows of the beginning of a body that is whole.
pub(super) struct AheadRows {
    thread: Option<Thread>,
    /// What was read, unless that is all of the body.
    read: Option<Extent>,
    _loan: Loan,
}

impl Ahead {
    /// Begins to take in a body, whose lines go through `decoder`.
    pub(super) fn new(decoder: Decoder, room: Room) -> Ahead {
        Ahead {
            work: Work::Waits(Vec::new(), Box::new(decoder), room),
            piece: Vec::new(),
            read: Extent::default(),
            loan: AHEAD.loan(),
        }
    }

    /// Takes in what has come. Never waits.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if matches!(self.work, Work::Ended(_)) {
            return;
        }
        self.piece.extend_from_slice(bytes);
        if self.piece.len() < PIECE {
            return;
        }
        if let Some(newline) = memchr::memrchr(b'\n', &self.piece) {
            let mut next = Vec::with_capacity(PIECE * 5 / 4);
            next.extend_from_slice(&self.piece[newline + 1..]);
            self.piece.truncate(newline + 1);
            let piece = std::mem::replace(&mut self.piece, next);
            self.give(piece);
        }
        if self.piece.len() > LONGEST {
            self.end();
        }
    }

    /// Returns the rows, the body being whole; `None` if none were decoded.
    pub(super) fn finish(mut self) -> Option<AheadRows> {
        let mut is_all = !matches!(self.work, Work::Ended(_));
        if is_all {
            let last = std::mem::take(&mut self.piece);
            is_all = self.give(last);
            self.end();
        }
        let Work::Ended(thread) = self.work else {
            return None;
        };
        Some(AheadRows {
            thread: Some(thread?),
            read: (!is_all).then_some(self.read),
            _loan: self.loan,
        })
    }

    /// Gives whole lines over; `false` if they may not wait in memory, and so are
    /// not read ahead.
    fn give(&mut self, piece: Vec<u8>) -> bool {
        if !self.loan.grow(piece.len()) {
            self.end();
            return false;
        }
        let lines = memchr::memchr_iter(b'\n', &piece).count();
        self.read.bytes += piece.len() as u64;
        self.read.lines += lines as u64;
        match &mut self.work {
            Work::Waits(pieces, ..) => {
                pieces.push(piece);
                if self.read.bytes >= LARGE as u64 {
                    self.start();
                }
            }
            Work::Runs(pieces, _) => {
                // A thread that has ended has panicked, which shows when its rows
                // are asked for.
                let _ = pieces.send(piece);
            }
            Work::Ended(_) => {}
        }
        true
    }

    /// Starts a thread, if there is a core that nobody uses.
    fn start(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Ended(None));
        let Work::Waits(first, decoder, room) = work else {
            return;
        };
        let Some(cores) = Cores::idle(1) else {
            return;
        };
        let (pieces, given) = unbounded();
        for piece in first {
            let _ = pieces.send(piece);
        }
        let (send, decoded) = unbounded();
        let decode = move || {
            let done = decode(*decoder, Lines::new(Pieces::of(given), room), &send);
            drop(cores);
            done
        };
        match Builder::new()
            .name("mixflow-ahead".to_owned())
            .spawn(decode)
        {
            Ok(handle) => self.work = Work::Runs(pieces, Thread { decoded, handle }),
            Err(error) => log::warn!("cannot start a thread: {error}"),
        }
    }

    /// Reads no more ahead.
    fn end(&mut self) {
        self.piece = Vec::new();
        let work = std::mem::replace(&mut self.work, Work::Ended(None));
        self.work = Work::Ended(match work {
            Work::Runs(_, thread) => Some(thread),
            Work::Waits(..) => None,
            Work::Ended(thread) => thread,
        });
    }
}

impl AheadRows {
    /// Returns the lines that come after these rows, `body` being all of it.
    pub(super) fn lines_after(&self, body: Reader<'static>, room: Room) -> Lines<Reader<'static>> {
        let Some(read) = self.read else {
            return Lines::new(Box::new(io::empty()), room);
        };
        let rest: Reader<'static> = Box::new(After {
            reader: body,
            skip: read.bytes,
        });
        Lines::new(rest, room).after(read.lines)
    }

    /// Waits for the next rows; `None` when there are no more. Ends with a panic
    /// where the thread has.
    pub(super) fn next(&mut self, cancel: &CancelToken) -> Result<Option<Decoded>> {
        let Some(thread) = &self.thread else {
            return Ok(None);
        };
        if let Some(decoded) = cancel.recv(&thread.decoded) {
            return Ok(Some(decoded));
        }
        cancel.check()?;
        if let Some(thread) = self.thread.take() {
            let ended = thread.handle.join();
            let ended = ended.unwrap_or_else(|panic| resume_unwind(panic));
            ended.map_err(spool_error)?;
        }
        Ok(None)
    }
}

/// Decodes lines until there are none, or nobody asks for their rows.
fn decode(
    mut decoder: Decoder,
    mut lines: Lines<Pieces>,
    decoded: &Sender<Decoded>,
) -> io::Result<()> {
    let mut rejects = Vec::new();
    while let Some(line) = lines.next()? {
        if let Err(reason) = decoder.push(line.bytes) {
            rejects.push((line.to_owned(), reason));
        }
        if decoder.is_full() {
            let rows = decoder.take_uncounted();
            let rejects = std::mem::take(&mut rejects);
            if decoded.send(Decoded { rows, rejects }).is_err() {
                return Ok(());
            }
        }
    }
    let rows = decoder.take_uncounted();
    // Nobody may ask.
    let _ = decoded.send(Decoded { rows, rejects });
    Ok(())
}

/// Reads pieces one after the other.
struct Pieces {
    given: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Pieces {
    fn of(given: Receiver<Vec<u8>>) -> Pieces {
        Pieces {
            given,
            piece: io::Cursor::default(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 => {}
                read => return Ok(read),
            }
            match self.given.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
