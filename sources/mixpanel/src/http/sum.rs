//! What tells a body apart from every other: its length and a hash.

use std::io::{self, Read};

use xxhash_rust::xxh3::Xxh3;

use super::encoding::STEP;

/// What tells a body apart from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) length: u64,
    pub(crate) hash: u128,
}

/// Makes a [`Sum`] of pieces.
#[derive(Default)]
pub(super) struct SumHasher {
    hash: Xxh3,
    length: u64,
}

impl SumHasher {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn done(&self) -> Sum {
        Sum {
            length: self.length,
            hash: self.hash.digest128(),
        }
    }
}

/// Reads to the end and returns the sum of it all.
pub(crate) fn sum_of(reader: &mut impl Read) -> io::Result<Sum> {
    let mut sum = SumHasher::default();
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
