//! Files that end in `.gz`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};

/// Whether the file at `path` is gzipped, which its name says.
pub(crate) fn is_gzip(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Reads a file that is to be added to and returns the last byte of its text;
/// `None` if it has none, or is not there.
///
/// What is added is a gzip member of its own. Behind something that is not
/// gzip, or not whole, nobody could read it, so that is an error.
pub(crate) fn last_byte(path: &Path) -> Result<Option<u8>> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(format_args!("read `{shown}`"))(error)),
    };
    if file.metadata().is_ok_and(|found| found.len() == 0) {
        return Ok(None);
    }
    let mut text = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file));
    let mut part = vec![0; 1 << 16];
    let mut last = None;
    loop {
        match text.read(&mut part) {
            Ok(0) => return Ok(last),
            Ok(read) => last = Some(part[read - 1]),
            Err(error) => {
                return Err(
                    Error::new(ErrorKind::Destination, format!("cannot add to `{shown}`"))
                        .because(format!("it is not a whole gzip file: {error}"))
                        .hint("move it away, or set `mode = \"replace\"`"),
                );
            }
        }
    }
}
