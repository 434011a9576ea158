//! Several bodies of lines as one.

use std::io::{self, Read};
use std::path::Path;
use std::vec::IntoIter;

use flate2::Compression;
use flate2::read::GzEncoder;

use super::body::{Body, Wire, receive};
use super::encoding::{Encoding, Reader};
use super::hashing::Hashed;
use super::room::Room;
use super::store::Retention;
use super::tail::{BodyError, Content};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Puts bodies of lines together, one after the other. What comes of it is as
/// old as the oldest of them.
pub(crate) fn joined(
    bodies: Vec<Body>,
    room: &Room,
    spool: Option<&Path>,
    hashed: Hashed,
) -> io::Result<Body> {
    let times = bodies.iter().map(Body::asked_at);
    let asked_at = times.min().unwrap_or_else(mixflow_core::clock::now);
    let lines = LinesOf {
        rest: bodies.into_iter(),
        current: Box::new(io::empty()),
        is_ended: true,
    };
    let mut wire = Wire {
        reader: Box::new(GzEncoder::new(lines, Compression::fast())),
        encoding: Encoding::Gzip,
        framed: true,
        asked_at,
    };
    let place = Retention::ThisRun(spool);
    let content = Content::Lines(room, None);
    receive(&mut wire, content, place, hashed, |_| {}).map_err(|broken| match broken {
        BodyError::Io(error) => error,
        BodyError::Truncated(reason) | BodyError::Malformed(reason) => io::Error::other(reason),
    })
}

/// Reads what bodies decode to, each of which begins with a line of its own.
struct LinesOf {
    rest: IntoIter<Body>,
    current: Reader<'static>,
    /// Whether a line end was the last that was read.
    is_ended: bool,
}

impl LinesOf {
    /// Begins to read the next body; `false` if there is none.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(body) = self.rest.next() else {
            return Ok(false);
        };
        let mut reader = body.into_reader()?;
        let mut first = Vec::new();
        let mark = BYTE_ORDER_MARK.len() as u64;
        reader.by_ref().take(mark).read_to_end(&mut first)?;
        if first == BYTE_ORDER_MARK {
            first.clear();
        }
        self.current = Box::new(io::Cursor::new(first).chain(reader));
        Ok(true)
    }
}

impl Read for LinesOf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer) {
                Ok(0) if buffer.is_empty() => return Ok(0),
                Ok(0) if !self.is_ended => {
                    self.is_ended = true;
                    buffer[0] = b'\n';
                    return Ok(1);
                }
                Ok(0) if self.advance()? => {}
                Ok(0) => return Ok(0),
                Ok(read) => {
                    self.is_ended = buffer[read - 1] == b'\n';
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mixflow_core::cancel::CancelToken;

    use super::*;

    fn body(bytes: &[u8], encoding: Encoding, second: i64) -> Body {
        let room = Room::new(&CancelToken::never());
        let mut plain = bytes;
        let mut gzip = Vec::new();
        let mut wire = Wire {
            reader: match encoding {
                Encoding::Identity => Box::new(io::Cursor::new(bytes.to_vec())),
                Encoding::Gzip => {
                    let mut encoder = GzEncoder::new(&mut plain, Compression::fast());
                    encoder.read_to_end(&mut gzip).expect("memory can be read");
                    Box::new(io::Cursor::new(gzip))
                }
            },
            encoding,
            framed: true,
            asked_at: Timestamp::from_second(second).expect("a time"),
        };
        let content = Content::Lines(&room, None);
        let place = Retention::ThisRun(None);
        match receive(&mut wire, content, place, Hashed::AsItCame, |_| {}) {
            Ok(body) => body,
            Err(_) => panic!("it is whole"),
        }
    }

    #[test]
    fn bodies_are_joined_at_the_ends_of_their_lines() {
        let bodies = vec![
            body(b"{\"event\":\"a\"}\n", Encoding::Gzip, 9),
            // Without a last line end, and then one with a mark.
            body(b"{\"event\":\"b\"}", Encoding::Identity, 7),
            body(b"", Encoding::Identity, 8),
            body(b"\xEF\xBB\xBF{\"event\":\"c\"}", Encoding::Identity, 8),
        ];
        let room = Room::new(&CancelToken::never());
        let joined = joined(bodies, &room, None, Hashed::AsItCame).expect("memory can be read");
        assert_eq!(joined.asked_at().as_second(), 7);
        let mut text = String::new();
        let mut reader = joined.into_reader().expect("it is open");
        reader.read_to_string(&mut text).expect("it is text");
        assert_eq!(
            text,
            "{\"event\":\"a\"}\n{\"event\":\"b\"}\n{\"event\":\"c\"}\n"
        );
    }

    #[test]
    fn of_nothing_comes_an_empty_body() {
        let room = Room::new(&CancelToken::never());
        let mut joined =
            joined(Vec::new(), &room, None, Hashed::AsItCame).expect("memory can be read");
        assert_eq!(joined.decoded().expect("it is known").bytes, 0);
    }
}
