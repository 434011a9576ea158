//! What every format writes rows with.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use mixflow_core::{Error, ErrorKind, Result};

/// Writes rows in one of the formats.
pub(super) trait RowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// Writes what comes after the last row.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// How values stand in a table.
pub(super) const FOR_PEOPLE: FormatOptions<'_> = FormatOptions::new()
    .with_null("NULL")
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));

/// Returns what shows the values of each column.
pub(super) fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>> {
    let columns = batch.columns().iter();
    Ok(columns
        .map(|column| ArrayFormatter::try_new(column, options))
        .collect::<Result<_, _>>()?)
}

/// Returns the error of rows that could not be written.
pub(super) fn unwritten(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Io, "cannot write the answer").with_source(error)
}
