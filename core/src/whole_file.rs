//! Files that have the rows of a unit already, for sinks that keep such files.
//!
//! Whoever reads a unit for a later commit asks the pipeline's sink in which
//! [form](FileForm) it keeps rows, and writes them so. The run that commits
//! [offers](crate::source::Session::file) the file, and the transaction
//! [takes](crate::sink::SinkTxn::take) it as it is: no row is read. A sink without a
//! form, and one that keeps its files elsewhere, is given the rows.

use std::io::Write;
use std::path::PathBuf;

use arrow::record_batch::RecordBatch;
use serde_json::Value;

use crate::error::Result;
use crate::unit::Extent;

/// Where a file is, or a folder for files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// On this machine.
    Local(PathBuf),
    /// In a bucket.
    Bucket {
        /// Its address, without credentials: `s3://bucket/a/b`.
        url: String,
        /// Which server has the bucket, if not that of the service.
        endpoint: Option<String>,
    },
}

/// A file with all rows of a unit, and no other.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeFile {
    /// Where it is.
    pub place: FilePlace,
    /// Its rows: at least one.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// What its [writer](FileWriter::finish) has noted of it.
    pub notes: Value,
}

/// How a sink keeps rows in files.
pub trait FileForm {
    /// Begins a file whose bytes go to `target`. Dropping the writer gives it up.
    fn begin(&self, target: Box<dyn Write + Send>) -> Result<Box<dyn FileWriter>>;
}

/// A file that is being written.
pub trait FileWriter {
    /// Says what part of the destination the rows that follow stand for.
    fn partition(&mut self, extent: &Extent) -> Result<()>;

    /// Writes rows.
    fn write(&mut self, records: &RecordBatch) -> Result<()>;

    /// Ends the file, and returns what the sink is to know of it when it takes it.
    fn finish(self: Box<Self>) -> Result<Value>;
}
