//! How many lines stand in a file that is there.

use std::io::{self, BufRead};

/// Counts lines, a last one without an end included.
pub(crate) fn lines_in(mut from: impl BufRead) -> io::Result<u64> {
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
