//! The end of a Parquet file, where it says what is in it.

use std::fs::File;
use std::path::Path;

use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};
use parquet::file::metadata::{FileMetaData, ParquetMetaDataReader};

/// Returns what a Parquet file says of itself at its end.
pub(crate) fn footer(path: &Path) -> Result<FileMetaData> {
    let what = format!("read `{}`", path.display());
    let file = File::open(path).map_err(cannot(&what))?;
    let read = ParquetMetaDataReader::new().parse_and_finish(&file);
    let metadata = read.map_err(|error| {
        Error::new(ErrorKind::Destination, format!("cannot {what}")).with_source(error)
    })?;
    Ok(metadata.file_metadata().clone())
}
