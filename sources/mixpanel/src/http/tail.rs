//! Checks a body while it comes in, and keeps nothing of it but its last line.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder as MultiGzWriter;
use mixflow_source_archive::Facts;

use super::encoding::Encoding;
use super::hashing::{Hashed, Hashing};
use super::last_line::LastLine;
use super::lines::{MAX_LINE, too_long};
use super::room::{Place, Room, USUAL};

/// Is given what a body decodes to while it is checked.
pub(crate) type Listener<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// What a body is made of.
pub(crate) enum Content<'a> {
    /// One value, which is whole if it can be parsed.
    Page,
    /// Records, a line each; long ones need room.
    Lines(&'a Room, Option<Listener<'a>>),
}

/// Why a body could not be had.
pub(crate) enum BodyError {
    /// The connection or the encoding broke off; another try may do better.
    Truncated(String),
    /// It is nothing that an export could be; another try gives the same.
    Malformed(String),
    /// It cannot be written down here.
    Io(io::Error),
}

/// How much of a body's beginning is kept, to tell what it is.
const HEAD: usize = 160;

/// Decodes a body as it comes in, and keeps only its last line.
pub(crate) enum Check<'a> {
    Identity(Box<Tail<'a>>),
    Gzip {
        decoder: Box<MultiGzWriter<Tail<'a>>>,
        empty: bool,
    },
}

impl Check<'_> {
    pub(crate) fn new(encoding: Encoding, content: Content<'_>, hashed: Hashed) -> Check<'_> {
        let tail = Tail::new(content, hashed);
        match encoding {
            Encoding::Identity => Check::Identity(Box::new(tail)),
            Encoding::Gzip => Check::Gzip {
                decoder: Box::new(MultiGzWriter::new(tail)),
                empty: true,
            },
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        match self {
            Check::Identity(tail) => tail.write_all(bytes),
            Check::Gzip { decoder, empty } => {
                *empty = false;
                decoder.write_all(bytes)
            }
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => BodyError::Malformed(error.to_string()),
            _ => BodyError::Truncated(format!("the body cannot be inflated: {error}")),
        })
    }

    /// Returns what the body is, decoded, if that was to be hashed. Fails if the
    /// body is not whole.
    pub(crate) fn finish(self) -> Result<Option<Facts>, String> {
        let tail = match self {
            Check::Identity(tail) => *tail,
            Check::Gzip { empty: true, .. } => {
                return Err("the gzip body is empty".to_owned());
            }
            Check::Gzip { decoder, .. } => decoder
                .finish()
                .map_err(|error| format!("the gzip body has no right end: {error}"))?,
        };
        tail.judge()
    }
}

/// Keeps the last line that is not blank, and how the body begins.
pub(crate) struct Tail<'a> {
    content: Content<'a>,
    head: Vec<u8>,
    /// The line that is not ended yet.
    line: Vec<u8>,
    /// The last line that was ended and not blank.
    last: Vec<u8>,
    /// Held while one of them is long.
    place: Option<Place>,
    /// Of all bytes, if they are hashed.
    hashing: Option<Hashing>,
}

impl<'a> Tail<'a> {
    fn new(content: Content<'a>, hashed: Hashed) -> Tail<'a> {
        Tail {
            content,
            head: Vec::new(),
            line: Vec::new(),
            last: Vec::new(),
            place: None,
            hashing: (hashed == Hashed::Decoded).then(Hashing::default),
        }
    }

    fn judge(self) -> Result<Option<Facts>, String> {
        let facts = self.hashing.map(Hashing::finish);
        if let Some(page) = html(&self.head) {
            return Err(format!("it is an HTML page: {page}"));
        }
        let ended = is_blank(&self.line);
        let last = if ended { self.last } else { self.line };
        let last = last.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&last);
        if is_blank(last) {
            return Ok(facts);
        }
        match LastLine::judge(last, ended) {
            LastLine::Whole => Ok(facts),
            LastLine::Broken(reason) => Err(reason),
        }
    }

    /// Adds to the line that is not ended yet, for which there may have to be
    /// room first.
    fn extend(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Content::Lines(room, _) = &self.content
            && self.line.len() + bytes.len() > USUAL
            && self.place.is_none()
        {
            self.place = Some(room.take()?);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives back the room of a long line that is not the last one.
    fn relax(&mut self) {
        if self.place.is_some() && self.line.len().max(self.last.len()) < USUAL / 2 {
            self.line.shrink_to(USUAL / 2);
            self.last.shrink_to(USUAL / 2);
            self.place = None;
        }
    }
}

impl Write for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(hashing) = &mut self.hashing {
            hashing.add(bytes);
        }
        let missing = HEAD.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        match &mut self.content {
            Content::Page => return Ok(bytes.len()),
            Content::Lines(_, Some(listener)) => listener(bytes),
            Content::Lines(_, None) => {}
        }
        if self.line.len() > MAX_LINE {
            return Err(too_long());
        }
        // From behind: what comes after the last line end begins a new line;
        // of the lines before it only the last that is not blank matters, so
        // the middle of a piece is never looked at.
        let Some(newline) = memchr::memrchr(b'\n', bytes) else {
            self.extend(bytes)?;
            return Ok(bytes.len());
        };
        let mut ended = &bytes[..newline];
        loop {
            let (before, line) = match memchr::memrchr(b'\n', ended) {
                Some(newline) => (Some(&ended[..newline]), &ended[newline + 1..]),
                None => (None, ended),
            };
            if before.is_none() {
                // The first line of the piece goes on from the piece before.
                self.extend(line)?;
                if !is_blank(&self.line) {
                    std::mem::swap(&mut self.last, &mut self.line);
                }
                break;
            }
            if !is_blank(line) {
                self.last.clear();
                self.last.extend_from_slice(line);
                break;
            }
            ended = before.unwrap_or_default();
        }
        self.line.clear();
        self.extend(&bytes[newline + 1..])?;
        self.relax();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns how an HTML page begins, if `head` is the beginning of one.
fn html(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let lower = text
        .trim_start_matches('\u{FEFF}')
        .trim_start()
        .to_lowercase();
    let is_page = ["<!doctype html", "<html"]
        .iter()
        .any(|beginning| lower.starts_with(beginning));
    is_page.then(|| text.trim().to_owned())
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use mixflow_core::cancel::CancelToken;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_html_page_is_called_that() {
        let room = Room::new(&CancelToken::never());
        for content in [Content::Lines(&room, None), Content::Page] {
            let mut tail = Tail::new(content, Hashed::AsItCame);
            tail.write_all(b"\n<!DOCTYPE html>\n<p>Please log in</p>\n")
                .expect("memory");
            let said = "it is an HTML page: <!DOCTYPE html>\n<p>Please log in</p>";
            assert_eq!(tail.judge(), Err(said.to_owned()));
        }
        assert_eq!(html(b"{\"event\":\"<html>\"}"), None);
    }

    #[test]
    fn a_long_line_gives_its_room_back_when_another_is_the_last() {
        let room = Room::new(&CancelToken::never());
        let mut tail = Tail::new(Content::Lines(&room, None), Hashed::AsItCame);
        tail.write_all(&vec![b'x'; USUAL]).expect("memory");
        tail.write_all(b"x\nshort").expect("memory");
        assert!(tail.place.is_some());
        tail.write_all(b"\n").expect("memory");
        assert!(tail.place.is_none());
        assert!(tail.line.capacity() + tail.last.capacity() <= USUAL);
    }

    proptest! {
        #[test]
        fn the_last_line_does_not_depend_on_the_pieces(
            parts in prop::collection::vec("[ab ]{0,3}", 0..10),
            cuts in prop::collection::vec(1usize..6, 1..40),
        ) {
            let body = parts.join("\n");
            let room = Room::new(&CancelToken::never());
            let mut tail = Tail::new(Content::Lines(&room, None), Hashed::AsItCame);
            let mut rest = body.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cuts.next().expect("it cycles")).min(rest.len());
                tail.write_all(&rest[..n]).expect("memory can be written");
                rest = &rest[n..];
            }
            let found = if is_blank(&tail.line) { tail.last } else { tail.line };
            let expected = parts.iter().rev().find(|part| !part.trim().is_empty());
            prop_assert_eq!(
                found,
                expected.map(|line| line.clone().into_bytes()).unwrap_or_default()
            );
        }
    }
}
