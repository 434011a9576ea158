//! One run's rows in one file.

use std::path::{Path, PathBuf};

use mixflow_core::Result;
use mixflow_core::batch::Batch;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext, check_replace,
};
use mixflow_core::staged::{FileMode, StagedFile};
use parquet::file::properties::WriterProperties;

use crate::count::rows_replaced;
use crate::writer::Writer;

/// A file that appears at commit.
pub(crate) struct FileTxn {
    writer: Writer,
    staged: StagedFile,
    /// The file whose rows may not be given up for next to none.
    guarded: Option<PathBuf>,
    destination: String,
    rows: u64,
}

impl FileTxn {
    pub(crate) fn begin(
        path: &Path,
        mode: FileMode,
        allow_shrink: bool,
        cx: &TxnContext,
        properties: WriterProperties,
    ) -> Result<FileTxn> {
        let destination = path.display().to_string();
        let staged = StagedFile::begin(path, mode)?;
        let writer = Writer::new(
            staged.handle()?,
            &cx.schema,
            &properties,
            destination.clone(),
        )?;
        Ok(FileTxn {
            writer,
            staged,
            guarded: (mode == FileMode::Replace && !allow_shrink).then(|| path.to_owned()),
            destination,
            rows: 0,
        })
    }

    fn check_replace(&self) -> Result<()> {
        match &self.guarded {
            Some(path) if path.exists() => {
                let shown = format!("`{}`", self.destination);
                check_replace(&shown, rows_replaced(path)?, self.rows)
            }
            _ => Ok(()),
        }
    }
}

impl SinkTxn for FileTxn {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.writer.write(&batch.records)?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.check_replace()?;
        self.writer.finish()?;
        self.staged.commit()?;
        Ok(CommitSummary {
            rows: self.rows,
            destination: self.destination,
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}
