//! One run's rows in a folder of files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::source::Extent;
use mixflow_core::staged::{StagedFolder, cannot, folder_of, sync_folder};
use mixflow_core::unit::Dataset;
use mixflow_core::whole_file::{FilePlace, WholeFile};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::file::properties::WriterProperties;

use crate::days::{Home, split, zone_of};
use crate::form::{Form, home, other_form};
use crate::going::{Going, Replacement};
use crate::ledger::{Done, FileLedger};
use crate::parts::{Beside, Parts};
use crate::swap::swap;
use crate::tree::{self, Found};

/// A folder that is built beside its target and swapped at commit.
pub(crate) struct FolderTxn {
    path: PathBuf,
    by_day: bool,
    dataset: Dataset,
    zone: TimeZone,
    /// The day of an empty run's only file.
    first_day: Date,
    going: Going,
    /// The days of each partition that stands for days.
    days: BTreeMap<PartitionId, DayCounter>,
    staged: StagedFolder,
    parts: Parts,
    /// The form of files that it takes.
    form: Form,
    rows: u64,
}

impl FolderTxn {
    pub(crate) fn begin(
        path: &Path,
        replacement: Replacement,
        by_day: bool,
        cx: &TxnContext,
        properties: WriterProperties,
    ) -> Result<FolderTxn> {
        // A link stays, and what it leads to is replaced.
        let path = if path.is_symlink() {
            fs::canonicalize(path)
                .map_err(cannot(format_args!("follow the link `{}`", path.display())))?
        } else {
            path.to_owned()
        };
        let staged = StagedFolder::begin(&path)?;
        let room = Beside {
            shown: path.clone(),
            staged: staged.path().to_owned(),
        };
        let dataset = cx.source.dataset.clone();
        Ok(FolderTxn {
            by_day,
            zone: zone_of(&dataset),
            first_day: cx
                .source
                .from_date
                .unwrap_or_else(|| cx.started_at.to_zoned(TimeZone::UTC).date()),
            going: Going::new(replacement, dataset.key()),
            dataset,
            days: BTreeMap::new(),
            form: Form::of_folder(cx, properties.clone()),
            parts: Parts::new(&path, room, &cx.run_id, &cx.schema, properties),
            staged,
            rows: 0,
            path,
        })
    }

    /// Takes over what stays of the old folder, and returns what people should
    /// know of it.
    fn keep_old(&self, ledger: &FileLedger) -> Result<Vec<String>> {
        let mut old = tree::list(&self.path)?;
        old.retain(|found| !found.is_ledger());
        let owners = ledger.owners();
        let (staying, gone) = self.going.split(&self.path, &old, &owners)?;
        self.going
            .check_shrink(&self.path, &gone, self.parts.rows())?;
        self.link(&staying)?;
        let unknown = |found: &&&Found| found.is_table() && !owners.contains_key(&found.path);
        let unknown = staying.iter().filter(unknown).count();
        if unknown == 0 || !self.going.spares_unknown() {
            return Ok(Vec::new());
        }
        Ok(vec![format!(
            "{unknown} files in `{}` stay, because nobody knows by which filters they were fetched; rows may stand in them, too",
            self.path.display()
        )])
    }

    /// Links files that stay into the new folder.
    fn link(&self, staying: &[&Found]) -> Result<()> {
        let what = format!("keep the permissions of `{}`", self.path.display());
        fs::metadata(&self.path)
            .and_then(|old| fs::set_permissions(self.staged.path(), old.permissions()))
            .map_err(cannot(what))?;
        for found in staying {
            let (from, to) = (
                self.path.join(&found.path),
                self.staged.path().join(&found.path),
            );
            let what = format!("keep `{}`", from.display());
            fs::create_dir_all(folder_of(&to)).map_err(cannot(&what))?;
            // Some file systems have no links. A copy would put an old file
            // in the place of a new one of the same name.
            fs::hard_link(&from, &to)
                .or_else(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::copy(&from, &to).map(drop),
                })
                .map_err(cannot(&what))?;
        }
        Ok(())
    }

    /// Returns the ledger of what stays, for what comes to be added.
    fn old_ledger(&self) -> Result<FileLedger> {
        match self.going.mode() {
            WriteMode::Append | WriteMode::ReplaceWindow => FileLedger::read(&self.path),
            WriteMode::Create | WriteMode::Replace => Ok(FileLedger::default()),
        }
    }

    /// Builds the new folder to its end.
    fn complete(&mut self, outcome: &Outcome<'_>) -> Result<Vec<String>> {
        self.parts.finish()?;
        let mut ledger = self.old_ledger()?;
        let mut warnings = Vec::new();
        if self.path.exists() {
            warnings = self.keep_old(&ledger)?;
        }
        // A folder without a file is no table: readers find no columns.
        if tree::list(self.staged.path())?.is_empty() {
            let day = self.by_day.then_some(self.first_day);
            let home = Home { day, folder: day };
            self.parts.add_empty(home)?;
        }
        ledger.record(&Done {
            dataset: &self.dataset,
            units: outcome.units,
            parts: self.parts.begun(),
            replaced: self.going.days(),
        });
        let uncommitted = format!("cannot commit to `{}`", self.path.display());
        ledger
            .write(self.staged.path())
            .map_err(|error| error.context(uncommitted))?;
        self.sync()?;
        Ok(warnings)
    }

    fn sync(&self) -> Result<()> {
        let what = format!("sync `{}`", self.path.display());
        for entry in fs::read_dir(self.staged.path()).map_err(cannot(&what))? {
            let path = entry.map_err(cannot(&what))?.path();
            if path.is_dir() {
                sync_folder(&path).map_err(cannot(&what))?;
            }
        }
        sync_folder(self.staged.path()).map_err(cannot(&what))
    }
}

impl SinkTxn for FolderTxn {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        if let Extent::Days(range) = &info.extent {
            self.days
                .insert(info.id, DayCounter::new(range, &self.zone));
            if self.going.mode() == WriteMode::ReplaceWindow {
                self.going.add(range);
            }
        } else if self.going.mode() == WriteMode::ReplaceWindow {
            return Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            ));
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        if !self.by_day {
            return self.parts.write(Home::default(), &batch.records);
        }
        let days = self.days.get(&batch.partition);
        for (home, records) in split(&batch.records, days)? {
            self.parts.write(home, &records)?;
        }
        Ok(())
    }

    fn takes(&self, _info: &PartitionInfo, file: &WholeFile) -> bool {
        matches!(file.place, FilePlace::Local(_)) && home(&self.form, self.by_day, file).is_some()
    }

    fn take(&mut self, _partition: PartitionId, file: &WholeFile) -> Result<()> {
        let home = home(&self.form, self.by_day, file).ok_or_else(other_form)?;
        self.rows += file.rows;
        self.parts.take(home, file)
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let warnings = self.complete(outcome)?;
        swap(self.staged.path(), &self.path)
            .map_err(cannot(format_args!("commit to `{}`", self.path.display())))?;
        if let Err(error) = sync_folder(folder_of(&self.path)) {
            log::warn!(
                "cannot sync the folder of `{}`: {error}",
                self.path.display()
            );
        }
        let summary = CommitSummary {
            rows: self.rows,
            destination: self.path.display().to_string(),
            warnings,
        };
        // What was there before, or nothing if nothing was.
        let old = self.staged.path().to_owned();
        if let Err(error) = self.staged.remove() {
            log::warn!("cannot remove `{}`: {error}", old.display());
        }
        Ok(summary)
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        let what = format!("remove `{}`", self.staged.path().display());
        self.parts.close();
        self.staged.remove().map_err(cannot(what))?;
        Ok(Residue::None)
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
