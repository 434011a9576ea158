//! Splits a body into lines, at the byte `\n` only.

use std::io::{self, Read};

use super::room::{Place, Room, USUAL};

/// How much is read at once.
const STEP: usize = 256 << 10;

/// A longer line is not a record of anything: Mixpanel's own limit is 1 MB an
/// event. The cap is what bounds memory when a body has no line ends.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// Returns the error of a longer line.
pub(crate) fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "a line is longer than 64 MB")
}

/// Reads lines that are not blank, without their ends.
///
/// U+2028, U+2029 and U+0085 are not line ends. A `\r` before the `\n` and a
/// byte order mark on line 1 are taken off.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    ended: bool,
    number: u64,
    room: Room,
    /// Held while a long line is here, and until the line after it was asked
    /// for twice: whoever asked may still have the long one.
    place: Option<Place>,
    was_long: bool,
}

/// A line and its number, counted from 1 with blank lines.
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    /// Whether a line end came after it.
    pub(crate) ended: bool,
    pub(crate) bytes: &'a [u8],
}

/// A line that is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnedLine {
    pub(crate) number: u64,
    pub(crate) ended: bool,
    pub(crate) bytes: Vec<u8>,
}

impl OwnedLine {
    pub(crate) fn as_line(&self) -> Line<'_> {
        Line {
            number: self.number,
            ended: self.ended,
            bytes: &self.bytes,
        }
    }
}

impl Line<'_> {
    pub(crate) fn to_owned(&self) -> OwnedLine {
        OwnedLine {
            number: self.number,
            ended: self.ended,
            bytes: self.bytes.to_vec(),
        }
    }
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R, room: Room) -> Lines<R> {
        Lines {
            reader,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            ended: false,
            number: 0,
            room,
            place: None,
            was_long: false,
        }
    }

    /// Has the next line be the one after so many.
    pub(crate) fn after(self, number: u64) -> Lines<R> {
        Lines { number, ..self }
    }

    /// Returns the next line; `None` at the end of the body.
    ///
    /// May wait for room if it is a long one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.relax();
        loop {
            let Some((from, to, ended)) = self.advance()? else {
                return Ok(None);
            };
            self.number += 1;
            let (mut from, mut to) = (from, to);
            if self.number == 1 && self.buffer[from..to].starts_with(b"\xEF\xBB\xBF") {
                from += 3;
            }
            if self.buffer[from..to].ends_with(b"\r") {
                to -= 1;
            }
            if !self.buffer[from..to].iter().all(u8::is_ascii_whitespace) {
                self.was_long = to - from > USUAL / 2;
                return Ok(Some(Line {
                    number: self.number,
                    ended,
                    bytes: &self.buffer[from..to],
                }));
            }
        }
    }

    /// Returns the place of the next line, reading until there is one.
    fn advance(&mut self) -> io::Result<Option<(usize, usize, bool)>> {
        let mut searched = self.start;
        loop {
            if let Some(newline) = memchr::memchr(b'\n', &self.buffer[searched..self.filled]) {
                let line = (self.start, searched + newline, true);
                self.start = line.1 + 1;
                return Ok(Some(line));
            }
            searched = self.filled;
            if self.ended {
                let line = (self.start, self.filled, false);
                self.start = self.filled;
                return Ok((line.0 < line.1).then_some(line));
            }
            searched -= self.fill()?;
        }
    }

    /// Gives back the room of a long line that nobody has any more.
    fn relax(&mut self) {
        let rest = self.filled - self.start;
        if self.place.is_none() || self.was_long || rest + STEP > USUAL {
            return;
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        (self.start, self.filled) = (0, rest);
        self.buffer.truncate(rest.max(STEP));
        self.buffer.shrink_to_fit();
        self.place = None;
    }

    /// Reads more; returns by how much what is there has moved.
    fn fill(&mut self) -> io::Result<usize> {
        let moved = self.start;
        if moved > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= moved;
            self.start = 0;
        }
        if self.filled > MAX_LINE {
            return Err(too_long());
        }
        let needed = self.filled + STEP;
        if needed > USUAL && self.place.is_none() {
            self.place = Some(self.room.take()?);
        }
        if self.buffer.len() < needed {
            let doubled = (self.buffer.len() * 2).min(MAX_LINE + STEP);
            self.buffer.resize(needed.max(doubled), 0);
        }
        let read = loop {
            match self.reader.read(&mut self.buffer[self.filled..needed]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += read;
        self.ended = read == 0;
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::cancel::CancelToken;
    use proptest::prelude::*;

    use super::*;

    fn lines(body: &[u8]) -> Vec<(u64, Vec<u8>)> {
        collect(body)
    }

    fn collect(reader: impl Read) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Lines::new(reader, Room::new(&CancelToken::never()));
        let mut out = Vec::new();
        while let Some(line) = lines.next().expect("memory can be read") {
            out.push((line.number, line.bytes.to_vec()));
        }
        out
    }

    #[test]
    fn only_newlines_end_lines() {
        let body = "\u{FEFF}{a}\r\n\n  \r\n{b\u{2028}\u{85}\u{2029}}\n{c}".as_bytes();
        assert_eq!(
            lines(body),
            [
                (1, b"{a}".to_vec()),
                (4, "{b\u{2028}\u{85}\u{2029}}".as_bytes().to_vec()),
                (5, b"{c}".to_vec())
            ]
        );
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n\n"), []);
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_one_line() {
        let long = vec![b'x'; STEP * 3];
        let mut body = long.clone();
        body.extend(b"\nshort\n");
        assert_eq!(lines(&body), [(1, long), (2, b"short".to_vec())]);
    }

    #[test]
    fn a_long_line_takes_the_room_until_it_is_out_of_use() {
        let room = Room::new(&CancelToken::never());
        let long = "x".repeat(3 * USUAL);
        let body = format!("a\n{long}\nb\nc\nd");
        let mut lines = Lines::new(body.as_bytes(), room.clone());
        let mut held = Vec::new();
        while let Some(line) = lines.next().expect("memory can be read") {
            let length = line.bytes.len();
            held.push((length, lines.place.is_some()));
        }
        // The line before the long one waits for the same piece of the body.
        let lengths: Vec<usize> = held.iter().map(|(length, _)| *length).collect();
        assert_eq!(lengths, [1, long.len(), 1, 1, 1]);
        assert_eq!(
            held[1..].iter().map(|(_, held)| *held).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(lines.buffer.len() <= USUAL);
        drop(room.take().expect("it is free"));
    }

    /// Gives out a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #[test]
        fn the_size_of_reads_does_not_matter(
            parts in prop::collection::vec("[a\\r ]{0,5}", 0..20), step in 1usize..7
        ) {
            let body = parts.join("\n").into_bytes();
            prop_assert_eq!(collect(Drip(&body, step)), lines(&body));
        }
    }
}
