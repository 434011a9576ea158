//! SHA-256, as it is written down.

use std::fmt;
use std::io::{self, Read};

use mixflow_core::text::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// So much is read at once.
const STEP: usize = 64 << 10;

/// A SHA-256 in 64 hexadecimal digits, as `sha256sum` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(String);

impl Hash {
    /// Returns the hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Hash {
        let mut hasher = Hasher::default();
        hasher.add(bytes);
        hasher.finish().1
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a [`Hash`] of pieces, and counts their bytes.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    hash: Sha256,
    bytes: u64,
}

impl Hasher {
    /// Adds a piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Returns how many bytes there were, and their hash.
    pub fn finish(self) -> (u64, Hash) {
        (self.bytes, Hash(hex(&self.hash.finalize())))
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end, gives each piece to `to`, and returns what was read.
pub(crate) fn copy(
    from: &mut dyn Read,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Hash)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; STEP];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => {
                hasher.add(&buffer[..read]);
                to(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_sha256sum_prints() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(b"abc").as_str(), expected);
        let mut copied = Vec::new();
        let read = copy(&mut &b"abc"[..], |bytes| {
            copied.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!(read.expect("memory can be read"), (3, Hash::of(b"abc")));
        assert_eq!(copied, b"abc");
    }
}
