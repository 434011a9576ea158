//! One run's rows in one object.

use mixflow_core::batch::Batch;
use mixflow_core::cancel::CancelToken;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Removed, Residue, SinkTxn, TxnContext, already_exists,
    check_replace,
};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Created, Objects, Upload};
use parquet::file::properties::WriterProperties;

use super::found::footer;
use super::sweep::sweep_staged;
use crate::tree::OURS;
use crate::writer::Writer;

/// The bytes of an object that a service copies at once.
const LARGEST_COPY: u64 = 5 << 30;

/// Under which name a file says of which run it is.
const RUN_ID: &str = "mixflow.run_id";

/// An object that appears at commit.
pub(super) struct ObjectTxn {
    objects: Objects,
    run_id: String,
    /// Where it is before, if there may be none yet at its place. An upload in parts
    /// cannot be told to end only where there is no object; a copy can.
    staged: Option<Staged>,
    allow_shrink: bool,
    writer: Option<Writer<Upload>>,
    rows: u64,
}

/// What an object is before it takes its place.
struct Staged {
    /// The folder that the object is in.
    folder: Objects,
    name: String,
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
        let staged = match folder_of(&objects).filter(|_| creates) {
            Some((folder, name)) => {
                folder.probe_copies()?;
                sweep_staged(&folder, &name)?;
                let name = format!("{OURS}/{name}.{}-{:08x}.part", cx.run_id, fastrand::u32(..));
                Some(Staged { folder, name })
            }
            None => None,
        };
        let shown = objects.location().to_string();
        let target = match &staged {
            Some(staged) => staged.folder.writer(&staged.name),
            None => objects.writer(""),
        };
        let writer = Writer::new(target, &cx.schema, properties, shown)?;
        Ok(ObjectTxn {
            objects,
            run_id: cx.run_id.clone(),
            staged,
            allow_shrink,
            writer: Some(writer),
            rows: 0,
        })
    }

    fn check_replace(&self) -> Result<()> {
        if self.allow_shrink || self.staged.is_some() || self.objects.size("")?.is_none() {
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
        return Err(
            exists(objects).hint("move it away, choose another path, or set `mode` to `replace`")
        );
    }
    Ok(())
}

fn exists(objects: &Objects) -> Error {
    already_exists(&format!("`{}`", objects.location()))
}

impl SinkTxn for ObjectTxn {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer.write(&batch.records)?;
        if self.staged.is_some() && writer.target().bytes() > LARGEST_COPY {
            let what = format!("cannot create `{}`", self.objects.location());
            return Err(Error::new(ErrorKind::Destination, what)
                .because("it is larger than 5 GiB, and a service puts no such object in its place in one step if nobody else has")
                .hint("write a folder: leave `.parquet` out of the path; or set `mode` to `replace`"));
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.check_replace()?;
        // Another machine may have made it since.
        check_new(&self.objects, self.staged.is_some())?;
        if let Some(writer) = self.writer.take() {
            let finished = writer.finish();
            match &self.staged {
                Some(staged) => {
                    finished?;
                    self.put_in_place(staged)?;
                }
                None => finished.map(drop).map_err(Error::in_doubt)?,
            }
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
    /// Has the object appear, unless there is one.
    fn put_in_place(&self, staged: &Staged) -> Result<()> {
        let from = staged.folder.path(&staged.name);
        match self.objects.create_from(&from, "") {
            Ok(Created::New) => return Ok(()),
            Ok(Created::Existed) if self.is_ours()? => return Ok(()),
            Ok(Created::Existed) => {}
            Err(_) if self.is_ours().is_ok_and(|ours| ours) => return Ok(()),
            Err(error) => return Err(error.in_doubt()),
        }
        Err(exists(&self.objects)
            .because("another run has made it since this one began")
            .hint("run it again with another path, or with `mode` set to `replace`"))
    }

    /// Returns whether the object that is there is this run's: the answer to a copy
    /// may get lost, after which the service is asked again.
    fn is_ours(&self) -> Result<bool> {
        let objects = self.objects.until(&CancelToken::never());
        let footer = match footer(&objects, "") {
            Ok(footer) => footer,
            Err(error) if error.kind() == ErrorKind::Destination => return Ok(false),
            Err(error) => return Err(error),
        };
        let notes = footer.key_value_metadata().into_iter().flatten();
        let mut runs = notes.filter(|note| note.key == RUN_ID);
        Ok(runs.any(|note| note.value.as_ref() == Some(&self.run_id)))
    }

    fn give_up(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.target().give_up();
        }
        if let Some(staged) = self.staged.take() {
            let folder = staged.folder.until(&CancelToken::never());
            if let Err(error) = folder.delete(&staged.name) {
                log::warn!("{}", error.in_a_line());
            }
        }
    }
}

/// Removes what runs that died have staged of the object.
pub(super) fn sweep(objects: &Objects) -> Result<Removed> {
    match folder_of(objects) {
        Some((folder, name)) => sweep_staged(&folder, &name),
        None => Ok(Removed::default()),
    }
}

/// Returns the folder that an object is in, and its name as it is in those of others.
fn folder_of(objects: &Objects) -> Option<(Objects, String)> {
    let (folder, name) = objects.parent()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let name = name.chars().map(|c| if plain(c) { c } else { '_' });
    Some((folder, name.collect()))
}

impl Drop for ObjectTxn {
    fn drop(&mut self) {
        self.give_up();
    }
}
