//! One run's rows in one object.

use mixflow_core::batch::Batch;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext, already_exists,
    check_replace,
};
use mixflow_core::{ErrorKind, Result};
use mixflow_objects::{Objects, Upload};
use parquet::file::properties::WriterProperties;

use super::found::footer;
use crate::writer::Writer;

/// An object that appears at commit.
pub(super) struct ObjectTxn {
    objects: Objects,
    /// Whether there may be none yet.
    creates: bool,
    allow_shrink: bool,
    writer: Option<Writer<Upload>>,
    rows: u64,
}

impl ObjectTxn {
    /// Begins to write the object that is at the location itself.
    pub(super) fn begin(
        objects: Objects,
        creates: bool,
        allow_shrink: bool,
        cx: &TxnContext,
        properties: &WriterProperties,
    ) -> Result<ObjectTxn> {
        check_new(&objects, creates)?;
        let shown = objects.location().to_string();
        let writer = Writer::new(objects.writer(""), &cx.schema, properties, shown)?;
        Ok(ObjectTxn {
            objects,
            creates,
            allow_shrink,
            writer: Some(writer),
            rows: 0,
        })
    }

    fn check_replace(&self) -> Result<()> {
        if self.allow_shrink || self.creates || self.objects.size("")?.is_none() {
            return Ok(());
        }
        // One that cannot be read counts as a row: to replace it is a way to mend
        // it, but not by nothing.
        let before = match footer(&self.objects, "") {
            Ok(footer) => u64::try_from(footer.num_rows()).unwrap_or(0),
            Err(error) if error.kind() == ErrorKind::Destination => 1,
            Err(error) => return Err(error),
        };
        let shown = format!("`{}`", self.objects.location());
        check_replace(&shown, before, self.rows)
    }
}

/// Fails if there is an object where none may be.
pub(super) fn check_new(objects: &Objects, creates: bool) -> Result<()> {
    if creates && objects.size("")?.is_some() {
        let shown = format!("`{}`", objects.location());
        return Err(already_exists(&shown)
            .hint("move it away, choose another path, or set `mode` to `replace`"));
    }
    Ok(())
}

impl SinkTxn for ObjectTxn {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        match &mut self.writer {
            Some(writer) => writer.write(&batch.records),
            None => Ok(()),
        }
    }

    fn commit(mut self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.check_replace()?;
        // Another machine may have made it since.
        check_new(&self.objects, self.creates)?;
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(|error| error.in_doubt())?;
        }
        Ok(CommitSummary {
            rows: self.rows,
            destination: self.objects.location().to_string(),
            warnings: Vec::new(),
        })
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.give_up();
        Ok(Residue::None)
    }
}

impl ObjectTxn {
    fn give_up(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.target().give_up();
        }
    }
}

impl Drop for ObjectTxn {
    fn drop(&mut self) {
        self.give_up();
    }
}
