//! The rows of a partition and their records, in memory and then on disk.

use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, ErrorKind, Result};
use tempfile::SpooledTempFile;

use super::winners::Record;

/// The bytes of a record: the hash, and when it was version.
const RECORD: usize = 24;

/// Rows between two looks at whether the run is cancelled.
const ROWS_BETWEEN_CHECKS: u64 = 1 << 16;

/// What is being written.
pub(super) struct Spool {
    batches: StreamWriter<BufWriter<SpooledTempFile>>,
    records: BufWriter<SpooledTempFile>,
    rows: u64,
}

impl Spool {
    /// Creates files that are in memory up to `limit` bytes each, and have no
    /// name on disk: they are gone with the process.
    pub(super) fn new(schema: &Schema, limit: usize) -> Result<Spool> {
        let batches = BufWriter::new(SpooledTempFile::new(limit));
        Ok(Spool {
            batches: StreamWriter::try_new(batches, schema).map_err(failed)?,
            records: BufWriter::new(SpooledTempFile::new(limit)),
            rows: 0,
        })
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, records: &[Record]) -> Result<()> {
        self.batches.write(batch).map_err(failed)?;
        for record in records {
            let mut bytes = [0; RECORD];
            bytes[..16].copy_from_slice(&record.hash.to_le_bytes());
            bytes[16..].copy_from_slice(&record.version.to_le_bytes());
            self.records.write_all(&bytes).map_err(failed)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends writing.
    pub(super) fn finish(mut self) -> Result<(Replay, Records)> {
        self.batches.finish().map_err(failed)?;
        let batches = self.batches.into_inner().map_err(failed)?;
        let mut batches = batches
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        batches.seek(SeekFrom::Start(0)).map_err(failed)?;
        let records = self.records.into_inner();
        let records = records.map_err(|error| failed(error.into_error()))?;
        let batches = StreamReader::try_new_buffered(batches, None).map_err(failed)?;
        let rows = self.rows;
        Ok((
            Replay(batches),
            Records {
                file: records,
                rows,
            },
        ))
    }
}

/// The rows, to be read once more.
pub(super) struct Replay(StreamReader<BufReader<SpooledTempFile>>);

impl Replay {
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.0.next().transpose().map_err(failed)
    }
}

/// The records, to be read as often as need be.
pub(super) struct Records {
    file: SpooledTempFile,
    rows: u64,
}

impl Records {
    /// Gives every record to `each`, with its row.
    pub(super) fn each(
        &mut self,
        cancel: &CancelToken,
        each: &mut dyn FnMut(u64, Record),
    ) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 16, &mut self.file);
        let mut bytes = [0; RECORD];
        for row in 0..self.rows {
            if row % ROWS_BETWEEN_CHECKS == 0 {
                cancel.check()?;
            }
            reader.read_exact(&mut bytes).map_err(failed)?;
            let (hash, version) = bytes.split_at(16);
            let record = Record {
                hash: u128::from_le_bytes(hash.try_into().expect("16 bytes")),
                version: i64::from_le_bytes(version.try_into().expect("8 bytes")),
            };
            each(row, record);
        }
        Ok(())
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "`dedupe` cannot keep rows in the temporary folder";
    Error::new(ErrorKind::Io, message)
        .with_source(error)
        .hint("set TMPDIR to a folder with room for the rows of a window for each worker")
}
