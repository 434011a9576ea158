//! Rows that go out as they arrive, for sinks that cannot take them back.
//!
//! When the body breaks off, the next try skips exactly the lines that went
//! out. That they are the same lines is proven by a hash over their bytes; a
//! server that answers differently ends the run loudly. One line is always
//! held back, since only the line after it, or the proper end of the body,
//! tells that it is not where the body broke off. Where nothing proves that an
//! end is one, the request is made again and has to end after the same lines.

use std::collections::VecDeque;
use std::io::{self, Read};

use arrow::record_batch::RecordBatch;
use mixflow_core::context::{UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::reject::Reject;
use xxhash_rust::xxh3::Xxh3;

use super::parallel::{Decoded, Feed, Rest, Step};
use crate::cores::Cores;
use crate::decode::{Decoder, Uncounted};
use crate::http::client::{Client, Request};
use crate::http::encoding::{Reader, decoded};
use crate::http::last_line::LastLine;
use crate::http::lines::{Line, Lines, OwnedLine};
use crate::http::quota::Permit;
use crate::http::retry::{Failure, Tries};
use crate::http::room::Room;

/// The rows of one window, as they arrive.
pub(super) struct DirectRows<'a> {
    client: &'a Client,
    request: Request,
    /// What other threads have decoded, which comes before what `decoder` has.
    ready: VecDeque<Uncounted>,
    decoder: Decoder,
    batches: u64,
    tries: Tries<'a>,
    stream: Option<Stream<'a>>,
    /// The lines that were decoded or rejected, over all tries.
    taken: u64,
    hash: Xxh3,
    rows: u64,
    /// The lines after which the last answer ended, if nothing proves that it
    /// did so properly.
    unproven_end: Option<u64>,
    ended: bool,
    room: Room,
    /// The error that comes after the rows that were decoded before it.
    failed: Option<Error>,
    _core: Cores,
}

/// One answer, being read.
struct Stream<'a> {
    /// With the line that is held back.
    feed: Feed,
    proves_its_end: bool,
    _permit: Permit<'a>,
}

impl<'a> DirectRows<'a> {
    pub(super) fn new(
        client: &'a Client,
        request: Request,
        label: &'a str,
        decoder: Decoder,
        room: Room,
        cx: &'a UnitContext,
    ) -> DirectRows<'a> {
        DirectRows {
            client,
            request,
            ready: VecDeque::new(),
            decoder,
            batches: 0,
            tries: Tries::new(&client.retry, cx, label),
            stream: None,
            taken: 0,
            hash: Xxh3::new(),
            rows: 0,
            unproven_end: None,
            ended: false,
            room,
            failed: None,
            _core: Cores::one(),
        }
    }

    /// Takes one line, or learns that there is none.
    fn step(&mut self) -> Result<(), Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        let last = match &mut stream.feed {
            Feed::Lines(rest) => match rest.lines.next() {
                Ok(Some(line)) => {
                    let line = line.to_owned();
                    if let Some(before) = rest.pending.replace(line) {
                        self.take(&before.as_line())?;
                    }
                    self.stream = Some(stream);
                    return Ok(());
                }
                Ok(None) => Ok(rest.pending.take()),
                Err(error) => Err(error),
            },
            Feed::Parallel(parallel) => match parallel.next()? {
                Step::Block(decoded) => {
                    let taken = self.take_block(&decoded);
                    self.ready.extend(parallel.rows_of(decoded));
                    taken?;
                    self.stream = Some(stream);
                    return Ok(());
                }
                Step::End(last) => Ok(last),
                Step::Failed(error) => Err(error),
            },
        };
        match last {
            Ok(last) => self.take_last(last, stream.proves_its_end),
            Err(error) => Err(self.cut(&format!("the connection broke off: {error}"))),
        }
    }

    /// Takes the last line of an answer, if it is not where that broke off.
    fn take_last(&mut self, last: Option<OwnedLine>, proves_its_end: bool) -> Result<(), Failure> {
        if let Some(last) = last {
            if let LastLine::Broken(reason) = LastLine::judge(&last.bytes, last.ended) {
                return Err(self.cut(&reason));
            }
            self.take(&last.as_line())?;
        }
        self.end(proves_its_end)
    }

    /// Takes an end for the end, if it is one.
    fn end(&mut self, is_proven: bool) -> Result<(), Failure> {
        // After a cancel the end may be of our own making.
        self.tries.cx.cancel.check()?;
        let before = self.unproven_end.replace(self.taken);
        self.ended = is_proven || before == Some(self.taken);
        match before {
            _ if self.ended => Ok(()),
            Some(_) => Err(self.cut(DIFFERENT_ENDS)),
            // The first one is no failure: the next step asks again.
            None => {
                ask_twice(self.tries.label, self.tries.cx);
                Ok(())
            }
        }
    }

    fn take(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        self.taken += 1;
        hash_line(&mut self.hash, line.bytes);
        match self.decoder.push(line.bytes) {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(reason) => self.reject(line, &reason),
        }
    }

    fn take_block(&mut self, decoded: &Decoded) -> Result<(), Failure> {
        for line in decoded.block.lines() {
            hash_line(&mut self.hash, line.bytes);
        }
        let lines = decoded.block.len();
        self.taken += lines as u64;
        self.rows += (lines - decoded.rejects().count()) as u64;
        let mut rejects = decoded.rejects();
        rejects.try_for_each(|(line, reason)| self.reject(&line, reason))
    }

    fn reject(&self, line: &Line<'_>, reason: &str) -> Result<(), Failure> {
        Ok(self.tries.cx.reject(&Reject {
            partition: self.tries.label,
            line: line.number,
            reason,
            record: line.bytes,
        })?)
    }

    /// Makes the request and skips what went out already.
    fn open(&mut self) -> Result<Stream<'a>, Failure> {
        let cx = self.tries.cx;
        let answer = self.client.send(&self.request, self.tries.label, cx)?;
        let proves_its_end = answer.wire.proves_its_end();
        let wire = Box::new(CountingReader {
            inner: answer.wire.reader,
            count: cx.byte_counter(),
        });
        let mut lines = Lines::new(decoded(wire, answer.wire.encoding), self.room.clone());
        let mut hash = Xxh3::new();
        for _ in 0..self.taken {
            match lines.next() {
                Ok(Some(line)) => hash_line(&mut hash, line.bytes),
                // A shorter answer may be one that broke off: try again.
                Ok(None) => return Err(self.cut("it is shorter than what was written of it")),
                Err(error) => {
                    return Err(self.cut(&format!("the connection broke off: {error}")));
                }
            }
        }
        if hash.digest128() != self.hash.digest128() {
            return Err(self.differs().into());
        }
        Ok(Stream {
            feed: Feed::Lines(Rest::of(lines)),
            proves_its_end,
            _permit: answer.permit,
        })
    }

    /// Returns the rows that were decoded here.
    fn take_decoded(&mut self) -> Option<Uncounted> {
        let rows = self.decoder.take_uncounted()?;
        self.batches += 1;
        if let Some(mut stream) = self.stream.take() {
            let cancel = &self.tries.cx.cancel;
            stream.feed = stream.feed.spread(self.batches, &self.decoder, cancel);
            self.stream = Some(stream);
        }
        Some(rows)
    }

    fn cut(&self, reason: &str) -> Failure {
        // The reason may have words of the server in it.
        let reason = self.client.shown(reason.as_bytes());
        let what = self.client.what();
        Failure::again(incomplete(format!("{what} are incomplete")).because(reason))
    }

    fn differs(&self) -> Error {
        Error::new(
            ErrorKind::Incomplete,
            format!(
                "cannot go on with {} after {} rows were written",
                self.tries.label, self.rows
            ),
        )
        .because("the server's answer to the same request begins differently now")
        .hint("run it again with `delivery = \"verified\"`, which writes a window only when all of it is there")
        .fatal()
    }
}

/// Why ends that nothing proves are not believed.
pub(super) const DIFFERENT_ENDS: &str =
    "two answers to the same request end at different places, and neither says where it ends";

/// Tells that an answer is asked for again because nothing proves its end.
pub(super) fn ask_twice(label: &str, cx: &UnitContext) {
    log::info!("{label}: the answer does not say where it ends, so it is asked for again");
    cx.count_warning(
        "windows were asked for twice, since their answers had neither a length nor gzip (is there a proxy?)",
        1,
    );
}

/// Hashes a line with its length, so that two lines are not one longer one.
fn hash_line(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

impl Iterator for DirectRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while !self.ended && self.ready.is_empty() && !self.decoder.is_full() {
            let Err(failure) = self.step() else { continue };
            if let Err(error) = self.tries.again(failure) {
                self.ended = true;
                self.failed = Some(error);
            }
        }
        let rows = self.ready.pop_front().or_else(|| self.take_decoded());
        let rows = rows.map(|rows| Ok(rows.counted(self.tries.cx)));
        rows.or_else(|| self.failed.take().map(Err))
    }
}

/// Counts the bytes that come over the wire.
struct CountingReader<C> {
    inner: Reader<'static>,
    count: C,
}

impl<C: Fn(u64)> Read for CountingReader<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.count)(read as u64);
        Ok(read)
    }
}
