//! How many lines stand in a file that is there.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::gzip::is_gzip;

/// Counts the lines of a file, gzipped or not, as its name says.
///
/// A gzip file that is damaged, or none, has no lines that anybody could lose.
pub(crate) fn lines_of(path: &Path) -> io::Result<u64> {
    let file = BufReader::with_capacity(1 << 20, File::open(path)?);
    if !is_gzip(path) {
        return lines_in(file);
    }
    let lines = lines_in(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)));
    lines.or_else(|error| {
        log::warn!("cannot count the lines of `{}`: {error}", path.display());
        Ok(0)
    })
}

/// Counts lines, a last one without an end included.
fn lines_in(mut from: impl BufRead) -> io::Result<u64> {
    let mut lines = 0;
    let mut last = b'\n';
    loop {
        let bytes = match from.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(end) = bytes.last() else {
            return Ok(lines + u64::from(last != b'\n'));
        };
        last = *end;
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        from.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_need_not_end() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 3)] {
            let from = io::BufReader::with_capacity(2, text.as_bytes());
            assert_eq!(lines_in(from).expect("a text"), lines, "{text:?}");
        }
    }
}
