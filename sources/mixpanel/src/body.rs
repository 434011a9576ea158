//! A response's body, kept as it came until it is known to be whole.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::MultiGzDecoder as MultiGzWriter;

use crate::checkpoint::{Checkpoint, Part};
use crate::decode::LastLine;
use crate::lines::{MAX_LINE, too_long};

/// Bodies up to this many bytes, as they came, stay in memory.
///
/// 8 MB gzipped are about 80,000 events, so a day of most projects. With a
/// hundred workers it bounds the memory for bodies to 800 MB.
const IN_MEMORY: usize = 8 << 20;

const STEP: usize = 64 << 10;

/// How a body is encoded on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

/// A whole body, compressed as it came.
#[derive(Debug)]
pub(crate) struct Body {
    encoding: Encoding,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Memory(Vec<u8>),
    /// A file without a name, which the system removes however the process
    /// ends, or one that a run after a crash finds again.
    Spooled(File),
    /// The latter, while it is written.
    Part(Part),
}

/// Where a body is kept.
#[derive(Clone, Copy)]
pub(crate) enum Keep<'a> {
    /// In memory; a large one in a file of this folder, without a name.
    ForNow(Option<&'a Path>),
    /// In a file for this run and the next.
    Until(&'a Checkpoint),
}

/// Why a body could not be kept.
pub(crate) enum Broken {
    /// The connection or the encoding broke off; another try may do better.
    Cut(String),
    /// It is nothing that an export could be; another try gives the same.
    Refused(String),
    /// It cannot be written down here.
    Spool(io::Error),
}

/// Reads `wire` to its end, checking that it is whole while it comes in.
///
/// Whole means: the transport ended properly, every gzip member has its right
/// trailer, and, for `lines`, the last line is a record. `count` hears the
/// bytes of each read.
pub(crate) fn keep(
    wire: &mut dyn Read,
    encoding: Encoding,
    lines: bool,
    place: Keep<'_>,
    mut count: impl FnMut(u64),
) -> Result<Body, Broken> {
    let (mut kept, spool) = match place {
        Keep::ForNow(spool) => (Kept::Memory(Vec::new()), spool),
        Keep::Until(checkpoint) => match checkpoint.begin() {
            Ok(part) => (Kept::Part(part), None),
            Err(error) => {
                log::warn!("a run after a crash will have to ask again: {error}");
                (Kept::Memory(Vec::new()), None)
            }
        },
    };
    let mut check = Check::new(encoding, lines);
    let mut buffer = vec![0; STEP];
    loop {
        let read = match wire.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Cut(format!("the connection broke off: {error}"))),
        };
        count(read as u64);
        check.write(&buffer[..read])?;
        kept.append(&buffer[..read], spool).map_err(Broken::Spool)?;
    }
    check.finish().map_err(Broken::Cut)?;
    let kept = match kept {
        Kept::Part(part) => Kept::Spooled(part.finish(encoding).map_err(Broken::Spool)?),
        kept => kept,
    };
    Ok(Body { encoding, kept })
}

/// Returns the body of lines that `file` holds, or says why it is not whole.
pub(crate) fn verified(mut file: File, encoding: Encoding) -> Result<Body, String> {
    let mut check = Check::new(encoding, true);
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => check
                .write(&buffer[..read])
                .map_err(|broken| match broken {
                    Broken::Cut(reason) | Broken::Refused(reason) => reason,
                    Broken::Spool(error) => error.to_string(),
                })?,
            Err(error) => return Err(error.to_string()),
        }
    }
    check.finish()?;
    Ok(Body {
        encoding,
        kept: Kept::Spooled(file),
    })
}

impl Body {
    /// Turns the body into a reader of what it decodes to.
    pub(crate) fn into_reader(self) -> io::Result<Box<dyn Read>> {
        let raw: Box<dyn Read> = match self.kept {
            Kept::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Kept::Spooled(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
            Kept::Part(_) => unreachable!("`keep` has finished it"),
        };
        Ok(decoded(raw, self.encoding))
    }
}

/// Reads what `raw` decodes to.
pub(crate) fn decoded<'a>(raw: Box<dyn Read + 'a>, encoding: Encoding) -> Box<dyn Read + 'a> {
    match encoding {
        Encoding::Identity => raw,
        Encoding::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(STEP, raw))),
    }
}

impl Kept {
    fn append(&mut self, bytes: &[u8], spool: Option<&Path>) -> io::Result<()> {
        match self {
            Kept::Memory(kept) if kept.len() + bytes.len() <= IN_MEMORY => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
            Kept::Memory(kept) => {
                let mut file = match spool {
                    Some(folder) => tempfile::tempfile_in(folder)?,
                    None => tempfile::tempfile()?,
                };
                file.write_all(kept)?;
                file.write_all(bytes)?;
                *self = Kept::Spooled(file);
                Ok(())
            }
            Kept::Spooled(file) => file.write_all(bytes),
            Kept::Part(part) => part.file.write_all(bytes),
        }
    }
}

/// Decodes a body as it comes in, and keeps only its last line.
enum Check {
    Identity(Tail),
    Gzip {
        decoder: Box<MultiGzWriter<Tail>>,
        empty: bool,
    },
}

impl Check {
    fn new(encoding: Encoding, lines: bool) -> Check {
        let tail = Tail {
            lines,
            line: Vec::new(),
            last: Vec::new(),
        };
        match encoding {
            Encoding::Identity => Check::Identity(tail),
            Encoding::Gzip => Check::Gzip {
                decoder: Box::new(MultiGzWriter::new(tail)),
                empty: true,
            },
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match self {
            Check::Identity(tail) => tail.write_all(bytes),
            Check::Gzip { decoder, empty } => {
                *empty = false;
                decoder.write_all(bytes)
            }
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => Broken::Refused(error.to_string()),
            _ => Broken::Cut(format!("the body cannot be inflated: {error}")),
        })
    }

    fn finish(self) -> Result<(), String> {
        let tail = match self {
            Check::Identity(tail) => tail,
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

/// Keeps the last line that is not blank.
struct Tail {
    lines: bool,
    /// The line that is not ended yet.
    line: Vec<u8>,
    /// The last line that was ended and not blank.
    last: Vec<u8>,
}

impl Tail {
    fn judge(self) -> Result<(), String> {
        let last = match is_blank(&self.line) {
            true => self.last,
            false => self.line,
        };
        let last = last.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&last);
        if !self.lines || is_blank(last) {
            return Ok(());
        }
        match LastLine::judge(last) {
            LastLine::Whole => Ok(()),
            LastLine::Broken(reason) => Err(reason),
        }
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.lines {
            return Ok(bytes.len());
        }
        if self.line.len() > MAX_LINE {
            return Err(too_long());
        }
        // From behind: what comes after the last line end begins a new line;
        // of the lines before it only the last that is not blank matters, so
        // the middle of a piece is never looked at.
        let Some(newline) = memchr::memrchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
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
                self.line.extend_from_slice(line);
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
        self.line.extend_from_slice(&bytes[newline + 1..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    const WHOLE: &[u8] = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    fn try_keep(wire: &[u8], encoding: Encoding) -> Result<Vec<u8>, String> {
        match keep(&mut &*wire, encoding, true, Keep::ForNow(None), |_| {}) {
            Ok(body) => {
                let mut out = Vec::new();
                let mut reader = body.into_reader().expect("it is kept");
                reader.read_to_end(&mut out).expect("it was checked");
                Ok(out)
            }
            Err(Broken::Cut(reason)) => Err(reason),
            Err(Broken::Refused(reason)) => Err(format!("refused: {reason}")),
            Err(Broken::Spool(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn whole_bodies_are_kept_as_they_came() {
        assert_eq!(try_keep(WHOLE, Encoding::Identity), Ok(WHOLE.to_vec()));
        assert_eq!(try_keep(&gzip(WHOLE), Encoding::Gzip), Ok(WHOLE.to_vec()));
        assert_eq!(try_keep(b"", Encoding::Identity), Ok(Vec::new()));
        assert_eq!(try_keep(&gzip(b""), Encoding::Gzip), Ok(Vec::new()));
        let no_newline = &WHOLE[..WHOLE.len() - 1];
        assert_eq!(
            try_keep(no_newline, Encoding::Identity),
            Ok(no_newline.to_vec())
        );
    }

    #[test]
    fn bodies_that_broke_off_are_refused() {
        let reason =
            |wire: &[u8], encoding| try_keep(wire, encoding).expect_err("the body is not whole");
        let last = |line: &str| {
            let body = [WHOLE, line.as_bytes()].concat();
            reason(&body, Encoding::Identity)
        };
        assert_eq!(last("{\"event\":\"c"), "its last line is cut");
        assert_eq!(
            last("terminated early\n\n"),
            "it ends with `terminated early`"
        );
        assert_eq!(
            last("export terminated early"),
            "it ends with `export terminated early`"
        );
        assert_eq!(
            last("{\"error\": \"boom\"}\n"),
            "it ends with an error: `\"boom\"`"
        );

        let whole = gzip(WHOLE);
        for cut in 1..whole.len() {
            assert!(
                try_keep(&whole[..cut], Encoding::Gzip).is_err(),
                "{cut} bytes"
            );
        }
        let mut wrong_sum = whole.clone();
        let at = whole.len() - 8;
        wrong_sum[at] ^= 1;
        assert!(try_keep(&wrong_sum, Encoding::Gzip).is_err());
        assert!(try_keep(b"", Encoding::Gzip).is_err());
    }

    #[test]
    fn a_large_body_is_spooled() {
        let line = format!("{{\"event\":\"{}\"}}\n", "x".repeat(1 << 20));
        let body = line.repeat(10).into_bytes();
        assert!(try_keep(&body, Encoding::Identity).is_ok_and(|kept| kept == body));
    }

    /// 200 MB of nothing, in 200 KB.
    #[test]
    fn a_bomb_is_refused_before_it_fills_the_memory() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..200 {
            encoder.write_all(&[b' '; 1 << 20]).expect("memory");
        }
        let bomb = encoder.finish().expect("memory");
        let reason = try_keep(&bomb, Encoding::Gzip).expect_err("refused");
        assert_eq!(reason, "refused: a line is longer than 64 MB");
    }

    proptest! {
        #[test]
        fn the_last_line_does_not_depend_on_the_pieces(
            parts in prop::collection::vec("[ab ]{0,3}", 0..10),
            cuts in prop::collection::vec(1usize..6, 1..40),
        ) {
            let body = parts.join("\n");
            let mut tail = Tail { lines: true, line: Vec::new(), last: Vec::new() };
            let mut rest = body.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cuts.next().expect("it cycles")).min(rest.len());
                tail.write_all(&rest[..n]).expect("memory can be written");
                rest = &rest[n..];
            }
            let found = match is_blank(&tail.line) { true => tail.last, false => tail.line };
            let expected = parts.iter().rev().find(|part| !part.trim().is_empty());
            prop_assert_eq!(
                found,
                expected.map(|line| line.clone().into_bytes()).unwrap_or_default()
            );
        }
    }
}
