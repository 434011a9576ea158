//! A response's body, kept as it came until it is known to be whole.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::thread;

use jiff::Timestamp;
use mixflow_source_archive::{Content as Bytes, Facts, Hasher};

use super::checking::Checking;
use super::checkpoint::BodyFile;
use super::encoding::{Encoding, Reader, STEP, decoded};
use super::hashing::Hashed;
use super::loan::Loan;
use super::store::{Retention, Storage, Store};
use super::sum::{Sum, SumHasher};
use super::tail::{BodyError, Check, Content};

/// The bytes of an answer as they come.
pub(crate) struct Wire {
    pub(crate) reader: Reader<'static>,
    pub(crate) encoding: Encoding,
    /// Whether a length or chunks tell where the body ends.
    pub(crate) framed: bool,
    /// When it was asked for, to the millisecond.
    pub(crate) asked_at: Timestamp,
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
    asked_at: Timestamp,
    /// What it is as it came, if that was counted while it came.
    wire: Option<Facts>,
    /// What it is decoded, likewise.
    decoded: Option<Facts>,
}

/// Reads `wire` to its end, checking it while it comes in.
///
/// The body is whole if the transport ended properly, every gzip member has
/// its right trailer, and, for lines, the last line is whole; and if it
/// [is proven](Body::is_proven). `count` hears the bytes of each read.
pub(crate) fn receive(
    wire: &mut Wire,
    content: Content<'_>,
    place: Retention<'_>,
    hashed: Hashed,
    mut count: impl FnMut(u64),
) -> Result<Body, BodyError> {
    let check = Check::new(wire.encoding, content, hashed);
    thread::scope(|scope| {
        let mut store = Store::new(place);
        let mut checking = Checking::new(check);
        let mut sum = SumHasher::default();
        let mut wire_hasher = Hasher::default();
        let mut buffer = vec![0; STEP];
        loop {
            let read = match wire.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(BodyError::Truncated(format!(
                        "the connection broke off: {error}"
                    )));
                }
            };
            count(read as u64);
            sum.add(&buffer[..read]);
            wire_hasher.add(&buffer[..read]);
            checking.write(&buffer[..read], scope)?;
            store.append(&buffer[..read]).map_err(BodyError::Io)?;
        }
        let decoded = checking.finish()?;
        Ok(Body {
            encoding: wire.encoding,
            store,
            sum: sum.done(),
            proven: wire.proves_its_end(),
            asked_at: wire.asked_at,
            wire: Some(wire_hasher.finish().into()),
            decoded,
        })
    })
}

impl Body {
    /// Returns the body that an earlier run has left in a file.
    pub(crate) fn of_file(file: BodyFile) -> Body {
        let BodyFile {
            file,
            path,
            encoding,
            sum,
            asked_at,
        } = file;
        Body {
            encoding,
            store: Store::left(file, path, sum.length),
            sum,
            proven: true,
            asked_at,
            wire: None,
            decoded: None,
        }
    }

    /// Returns when it was asked for.
    pub(crate) fn asked_at(&self) -> Timestamp {
        self.asked_at
    }

    /// Returns what came; of a body that an earlier run has left it is read.
    pub(crate) fn wire(&mut self) -> io::Result<Facts> {
        if let Some(facts) = &self.wire {
            return Ok(facts.clone());
        }
        let facts = counted(self.store.reader()?)?;
        Ok(self.wire.insert(facts).clone())
    }

    /// Returns what it decodes to, which is read unless it was hashed.
    pub(crate) fn decoded(&mut self) -> io::Result<Facts> {
        if self.encoding == Encoding::Identity {
            return self.wire();
        }
        if let Some(facts) = &self.decoded {
            return Ok(facts.clone());
        }
        let facts = counted(self.reader()?)?;
        Ok(self.decoded.insert(facts).clone())
    }

    /// Reads what it decodes to.
    pub(crate) fn reader(&mut self) -> io::Result<Reader<'_>> {
        Ok(decoded(self.store.reader()?, self.encoding))
    }

    /// Gives its bytes to `take`.
    pub(crate) fn give<T>(&mut self, take: impl FnOnce(Bytes<'_>) -> T) -> io::Result<T> {
        let facts = self.wire()?;
        let file = self.store.path().map(ToOwned::to_owned);
        let mut reader = self.store.reader()?;
        Ok(match self.encoding {
            Encoding::Identity => take(Bytes::Plain(&mut reader)),
            Encoding::Gzip => take(Bytes::Gzip {
                reader: &mut reader,
                facts,
                file: file.as_deref(),
            }),
        })
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
        let (encoding, sum, asked_at) = (self.encoding, self.sum, self.asked_at);
        self.store.settle(encoding, sum, asked_at)?;
        Ok(self)
    }

    /// Turns the body into a reader of what it decodes to.
    pub(crate) fn into_reader(self) -> io::Result<Reader<'static>> {
        let raw: Reader<'static> = match self.store.into_storage() {
            Storage::Memory(bytes, loan) => Box::new(MemoryReader(Cursor::new(bytes), loan)),
            Storage::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
            // It has no name yet, and needs none to be read.
            Storage::Part(part) => {
                let mut file = part.into_file();
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        };
        Ok(decoded(raw, self.encoding))
    }
}

fn counted(mut reader: Reader<'_>) -> io::Result<Facts> {
    let mut hasher = Hasher::default();
    io::copy(&mut reader, &mut hasher)?;
    Ok(hasher.finish().into())
}

/// Memory that is read, and given back with the reader.
struct MemoryReader(
    Cursor<Vec<u8>>,
    #[expect(dead_code, reason = "dropping it counts")] Loan,
);

impl Read for MemoryReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use mixflow_core::cancel::CancelToken;
    use mixflow_source_archive::Hash;

    use super::*;
    use crate::http::room::Room;

    const WHOLE: &[u8] = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    fn try_keep(wire: &[u8], encoding: Encoding) -> Result<Vec<u8>, String> {
        try_read(Box::new(Cursor::new(wire.to_vec())), encoding)
    }

    fn try_read(reader: Reader<'static>, encoding: Encoding) -> Result<Vec<u8>, String> {
        let room = Room::new(&CancelToken::never());
        let mut wire = Wire {
            reader,
            encoding,
            framed: true,
            asked_at: Timestamp::UNIX_EPOCH,
        };
        match receive(
            &mut wire,
            Content::Lines(&room, None),
            Retention::ThisRun(None),
            Hashed::AsItCame,
            |_| {},
        ) {
            Ok(body) => {
                let body = body.settle().expect("it needs no name");
                let mut out = Vec::new();
                let mut reader = body.into_reader().expect("it is kept");
                reader.read_to_end(&mut out).expect("it was checked");
                Ok(out)
            }
            Err(BodyError::Truncated(reason)) => Err(reason),
            Err(BodyError::Malformed(reason)) => Err(format!("refused: {reason}")),
            Err(BodyError::Io(error)) => panic!("{error}"),
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
                asked_at: Timestamp::UNIX_EPOCH,
            };
            let (content, place) = (Content::Lines(&room, None), Retention::ThisRun(None));
            let kept = receive(&mut read, content, place, Hashed::AsItCame, |bytes| {
                counted += bytes
            });
            assert_eq!(kept.is_ok(), wire.len() == gzipped.len());
            assert_eq!(counted, wire.len() as u64);
        }
    }

    #[test]
    fn what_a_body_is_does_not_depend_on_when_it_is_hashed() {
        let room = Room::new(&CancelToken::never());
        for (encoding, wire) in [
            (Encoding::Gzip, gzip(WHOLE)),
            (Encoding::Identity, WHOLE.to_vec()),
        ] {
            for hashed in [Hashed::AsItCame, Hashed::Decoded] {
                let mut read = Wire {
                    reader: Box::new(Cursor::new(wire.clone())),
                    encoding,
                    framed: true,
                    asked_at: Timestamp::UNIX_EPOCH,
                };
                let (content, place) = (Content::Lines(&room, None), Retention::ThisRun(None));
                let kept = receive(&mut read, content, place, hashed, |_| {});
                let mut body = kept.unwrap_or_else(|_| panic!("it is whole"));
                let came = body.wire().expect("memory can be read");
                assert_eq!(came.sha256, Hash::of(&wire));
                let decoded = body.decoded().expect("memory can be read");
                assert_eq!(decoded.sha256, Hash::of(WHOLE));
                assert_eq!(decoded.bytes, WHOLE.len() as u64);
            }
        }
    }

    /// Gives out a few bytes at a time, so that a thread of its own has most of it.
    struct Drip(Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let few = buffer.len().min(30);
            self.0.read(&mut buffer[..few])
        }
    }

    #[test]
    fn a_body_is_judged_the_same_on_a_thread_of_its_own() {
        let mut body = Vec::new();
        for n in 0..200_u32 {
            let text = n.wrapping_mul(2_654_435_761);
            body.extend_from_slice(format!("{{\"event\":\"{text:x}\"}}\n").as_bytes());
        }
        for (wire, encoding) in [
            (gzip(&body), Encoding::Gzip),
            (body.clone(), Encoding::Identity),
        ] {
            for end in (0..wire.len())
                .step_by(37)
                .chain([wire.len() - 1, wire.len()])
            {
                let cut = &wire[..end];
                let drip = Drip(Cursor::new(cut.to_vec()));
                let kept = try_read(Box::new(drip), encoding);
                assert_eq!(kept, try_keep(cut, encoding), "{end} bytes");
                assert_eq!(kept.is_ok_and(|kept| kept == body), end == wire.len());
            }
        }
    }

    #[test]
    fn a_body_that_cannot_be_inflated_is_given_up_before_its_end() {
        /// Never ends.
        struct Garbage;

        impl Read for Garbage {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let few = &mut buffer[..30];
                few.fill(0xa7);
                Ok(few.len())
            }
        }

        let begins = Cursor::new(gzip(&WHOLE.repeat(100)));
        let reader = Drip(begins).chain(Garbage);
        let reason = try_read(Box::new(reader), Encoding::Gzip).expect_err("it never ends");
        assert!(
            reason.starts_with("the body cannot be inflated"),
            "{reason}"
        );
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
                asked_at: Timestamp::UNIX_EPOCH,
            };
            wire.proves_its_end()
        };
        assert!(proves(Encoding::Identity, true));
        assert!(proves(Encoding::Gzip, false));
        assert!(!proves(Encoding::Identity, false));
    }
}
