//! How many rows stand in files that are there.

use std::path::Path;

use mixflow_core::{ErrorKind, Result};

use crate::footer::footer;

/// Returns the rows of a Parquet file, as its footer says.
pub(crate) fn rows_of(path: &Path) -> Result<u64> {
    let rows = footer(path)?.num_rows();
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// Returns the rows of a file that is to be replaced.
///
/// One that cannot be read counts as a row: to replace it is a way to mend
/// it, but not by nothing.
pub(crate) fn rows_replaced(path: &Path) -> Result<u64> {
    rows_of(path).or_else(|error| match error.kind() {
        ErrorKind::Destination => Ok(1),
        _ => Err(error),
    })
}
