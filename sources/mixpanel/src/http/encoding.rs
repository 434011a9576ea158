//! How a body is encoded on the wire.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// So much is read at once.
pub(crate) const STEP: usize = 64 << 10;

/// Reads a body, on whichever thread.
pub(crate) type Reader<'a> = Box<dyn Read + Send + 'a>;

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

/// Reads what comes after so many bytes, which are skipped when the first are asked
/// for.
pub(crate) struct After<R> {
    pub(crate) reader: R,
    pub(crate) skip: u64,
}

impl<R: Read> Read for After<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let skipped = io::copy(&mut self.reader.by_ref().take(self.skip), &mut io::sink())?;
            if skipped < self.skip {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.skip = 0;
        }
        self.reader.read(buffer)
    }
}

/// Reads what `raw` decodes to.
pub(crate) fn decoded<'a>(raw: Reader<'a>, encoding: Encoding) -> Reader<'a> {
    match encoding {
        Encoding::Identity => raw,
        Encoding::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(STEP, raw))),
    }
}
