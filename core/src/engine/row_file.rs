//! Rows in a file without a name, which is gone with the process.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use arrow::array::Array as _;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use lz4_flex::frame::{FrameDecoder, FrameEncoder, FrameInfo};

use crate::error::{Error, ErrorKind, Result};
use crate::staged::cannot;

/// Rows of one schema that wait on disk, compressed.
pub(super) struct RowFile {
    /// What messages say of the rows: `the rows that wait in … for the commit`.
    shown: String,
    rows: StreamWriter<FrameEncoder<File>>,
    /// Bytes of the rows in memory.
    bytes: u64,
}

impl RowFile {
    /// Creates one that is empty, in `folder`, for rows that wait for `what`.
    pub(super) fn create(folder: &Path, what: &str, schema: &SchemaRef) -> Result<RowFile> {
        let shown = format!("the rows that wait in `{}` for {what}", folder.display());
        let made = tempfile::tempfile_in(folder)
            .map_err(ArrowError::from)
            .and_then(|file| {
                // A million events of 757 MB are 137 MB here and 72 MB in DuckDB;
                // all of it, with the way back, is 1.2 s of CPU.
                let info = FrameInfo::new().block_checksums(true);
                StreamWriter::try_new(FrameEncoder::with_frame_info(info, file), schema)
            });
        let rows = made.map_err(failed("keep", &shown))?;
        Ok(RowFile {
            shown,
            rows,
            bytes: 0,
        })
    }

    /// Adds a batch.
    pub(super) fn push(&mut self, records: &RecordBatch) -> Result<()> {
        self.rows
            .write(records)
            .map_err(failed("keep", &self.shown))?;
        self.bytes += bytes_of(records);
        Ok(())
    }

    /// Returns the bytes that the rows have in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file, and gives the batches out once, as they came.
    pub(super) fn read(mut self) -> Result<Rows> {
        let shown = self.shown;
        self.rows.finish().map_err(failed("keep", &shown))?;
        let rows = self.rows.into_inner().map_err(failed("read", &shown))?;
        let mut file = rows
            .finish()
            .map_err(io::Error::from)
            .map_err(cannot(format_args!("keep {shown}")))?;
        let (bytes, on_disk) = (self.bytes, file.stream_position().unwrap_or(0));
        log::debug!("rows of {bytes} bytes have waited, {on_disk} on disk");
        file.seek(SeekFrom::Start(0))
            .map_err(cannot(format_args!("read {shown}")))?;
        let rows = FrameDecoder::new(BufReader::new(file));
        let rows = StreamReader::try_new(rows, None).map_err(failed("read", &shown))?;
        Ok(Rows { shown, rows })
    }
}

/// The batches of a [`RowFile`].
pub(super) struct Rows {
    shown: String,
    rows: StreamReader<FrameDecoder<BufReader<File>>>,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let batch = self.rows.next()?;
        Some(batch.map_err(failed("read", &self.shown)))
    }
}

/// Returns the bytes of what a batch shows of its columns.
pub(super) fn bytes_of(records: &RecordBatch) -> u64 {
    let columns = records.columns().iter();
    let bytes = columns.map(|column| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size()) as u64
    });
    bytes.sum()
}

fn failed(what: &str, shown: &str) -> impl FnOnce(ArrowError) -> Error {
    let what = format!("{what} {shown}");
    move |error| match error {
        ArrowError::IoError(_, error) => cannot(what)(error),
        error => Error::new(ErrorKind::Io, format!("cannot {what}")).with_source(error),
    }
}
