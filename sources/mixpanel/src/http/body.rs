//! A response's body, kept as it came until it is known to be whole.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

use super::checkpoint::Checkpoint;
use super::kept::{Kept, Loan, Store};
use super::room::Room;
use super::tail::Check;

pub(crate) const STEP: usize = 64 << 10;

/// How a body is encoded on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Returns the name under which it is entered.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
        }
    }

    /// Returns the encoding of a name.
    pub(crate) fn of_name(name: &str) -> Option<Encoding> {
        let all = [Encoding::Identity, Encoding::Gzip];
        all.into_iter().find(|encoding| encoding.name() == name)
    }
}

/// The bytes of an answer as they come.
pub(crate) struct Wire {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) encoding: Encoding,
    /// Whether a length or chunks tell where the body ends.
    pub(crate) framed: bool,
}

impl Wire {
    /// Returns whether a body that was read to its end without an error is
    /// known to be whole. One that is plain and ends with its connection may
    /// have been cut by anybody on the way, and looks the same.
    pub(crate) fn proves_its_end(&self) -> bool {
        self.framed || self.encoding == Encoding::Gzip
    }
}

/// A body without an error in it, compressed as it came.
#[derive(Debug)]
pub(crate) struct Body {
    encoding: Encoding,
    store: Store,
    sum: Sum,
    proven: bool,
}

/// What tells a body apart from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) length: u64,
    pub(crate) hash: u128,
}

/// What a body is made of.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// One value, which is whole if it can be parsed.
    Page,
    /// Records, a line each; long ones need room.
    Lines(&'a Room),
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

/// Reads `wire` to its end, checking it while it comes in.
///
/// The body is whole if the transport ended properly, every gzip member has
/// its right trailer, and, for lines, the last line is whole; and if it
/// [is proven](Body::is_proven). `count` hears the bytes of each read.
pub(crate) fn keep(
    wire: &mut Wire,
    content: Content<'_>,
    place: Keep<'_>,
    mut count: impl FnMut(u64),
) -> Result<Body, Broken> {
    let mut store = Store::new(place);
    let mut check = Check::new(wire.encoding, content);
    let mut sum = Summing::default();
    let mut buffer = vec![0; STEP];
    loop {
        let read = match wire.reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Cut(format!("the connection broke off: {error}"))),
        };
        count(read as u64);
        sum.add(&buffer[..read]);
        check.write(&buffer[..read])?;
        store.append(&buffer[..read]).map_err(Broken::Spool)?;
    }
    check.finish().map_err(Broken::Cut)?;
    Ok(Body {
        encoding: wire.encoding,
        store,
        sum: sum.done(),
        proven: wire.proves_its_end(),
    })
}

impl Body {
    /// Returns the body that an earlier run has left in a file, whose sum was
    /// found to be right.
    pub(crate) fn left(file: std::fs::File, encoding: Encoding, sum: Sum) -> Body {
        Body {
            encoding,
            store: Store::left(file, sum.length),
            sum,
            proven: true,
        }
    }

    /// Returns whether its end is known to be its end.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    /// Gives the body its name, if the next run is to find it; until then it
    /// goes when it is dropped. To be called when it is known to be whole.
    pub(crate) fn settle(mut self) -> io::Result<Body> {
        self.store.settle(self.encoding, self.sum)?;
        Ok(self)
    }

    /// Turns the body into a reader of what it decodes to.
    pub(crate) fn into_reader(self) -> io::Result<Box<dyn Read>> {
        let raw: Box<dyn Read> = match self.store.into_kept() {
            Kept::Memory(bytes, loan) => Box::new(Lent(Cursor::new(bytes), loan)),
            Kept::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
            // It has no name yet, and needs none to be read.
            Kept::Part(part) => {
                let mut file = part.into_file();
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        };
        Ok(decoded(raw, self.encoding))
    }
}

/// Memory that is read, and given back with the reader.
struct Lent(
    Cursor<Vec<u8>>,
    #[expect(dead_code, reason = "dropping it counts")] Loan,
);

impl Read for Lent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Reads what `raw` decodes to.
pub(crate) fn decoded<'a>(raw: Box<dyn Read + 'a>, encoding: Encoding) -> Box<dyn Read + 'a> {
    match encoding {
        Encoding::Identity => raw,
        Encoding::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(STEP, raw))),
    }
}

/// Makes a [`Sum`] of pieces.
#[derive(Default)]
struct Summing {
    hash: Xxh3,
    length: u64,
}

impl Summing {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    fn done(&self) -> Sum {
        Sum {
            length: self.length,
            hash: self.hash.digest128(),
        }
    }
}

/// Reads to the end and returns the sum of it all.
pub(crate) fn sum_of(reader: &mut impl Read) -> io::Result<Sum> {
    let mut sum = Summing::default();
    let mut buffer = vec![0; STEP];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(sum.done()),
            Ok(read) => sum.add(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use mixflow_core::cancel::CancelToken;

    use super::*;

    const WHOLE: &[u8] = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    fn try_keep(wire: &[u8], encoding: Encoding) -> Result<Vec<u8>, String> {
        let room = Room::new(&CancelToken::never());
        let mut wire = Wire {
            reader: Box::new(Cursor::new(wire.to_vec())),
            encoding,
            framed: true,
        };
        match keep(&mut wire, Content::Lines(&room), Keep::ForNow(None), |_| {}) {
            Ok(body) => {
                let body = body.settle().expect("it needs no name");
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
    fn bytes_count_as_they_came_whether_the_body_is_whole_or_not() {
        let room = Room::new(&CancelToken::never());
        let gzipped = gzip(WHOLE);
        for wire in [&gzipped[..], &gzipped[..gzipped.len() - 4]] {
            let mut counted = 0;
            let mut read = Wire {
                reader: Box::new(Cursor::new(wire.to_vec())),
                encoding: Encoding::Gzip,
                framed: true,
            };
            let content = Content::Lines(&room);
            let kept = keep(&mut read, content, Keep::ForNow(None), |bytes| {
                counted += bytes
            });
            assert_eq!(kept.is_ok(), wire.len() == gzipped.len());
            assert_eq!(counted, wire.len() as u64);
        }
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

    #[test]
    fn only_a_length_chunks_or_a_gzip_trailer_prove_an_end() {
        let proves = |encoding, framed| {
            let reader = Box::new(io::empty());
            let wire = Wire {
                reader,
                encoding,
                framed,
            };
            wire.proves_its_end()
        };
        assert!(proves(Encoding::Identity, true));
        assert!(proves(Encoding::Gzip, false));
        assert!(!proves(Encoding::Identity, false));
    }
}
