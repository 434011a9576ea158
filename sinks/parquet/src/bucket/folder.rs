//! One run's rows in a folder of a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::CancelToken;
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Removed, ReplacedDay, Residue, SinkTxn, TxnContext,
    WriteMode, check_replace, check_shrink,
};
use mixflow_core::source::Extent;
use mixflow_core::unit::Dataset;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Objects, Upload, object_store};
use object_store::ObjectStoreExt as _;
use parquet::file::properties::WriterProperties;

use super::found::Folder;
use crate::days::{Home, split, zone_of};
use crate::going::{Going, Replacement};
use crate::ledger::{Done, FileLedger};
use crate::parts::{Parts, Room};
use crate::tree::{Found, OURS};

/// Objects of runs that died are removed when they are so old, in milliseconds.
const OLD_MS: i64 = 24 * 3_600_000;

/// Objects that are written at once; each takes some 15 MB.
const OPEN: usize = 8;

/// Objects that are staged and take their places at commit.
pub(super) struct FolderTxn {
    objects: Objects,
    by_day: bool,
    allow_shrink: bool,
    dataset: Dataset,
    zone: TimeZone,
    /// The day of an empty run's only file.
    first_day: Date,
    going: Going,
    days: BTreeMap<PartitionId, DayCounter>,
    parts: Parts<Staged>,
    /// Where the run stages: `_mixflow/<run>/`.
    stage: String,
    /// Commits to the folder when the run began.
    began: u64,
    rows: u64,
}

/// Where objects are staged, under names that readers skip.
pub(super) struct Staged {
    objects: Objects,
    stage: String,
}

impl Room for Staged {
    type Target = Upload;
    const OPEN: usize = OPEN;

    fn create(&self, path: &str) -> Result<Upload> {
        Ok(self.objects.writer(&staged(&self.stage, path)))
    }
}

/// Returns where a file is staged. It has no `.parquet` at its end, so that nobody
/// takes it for one of the table.
fn staged(stage: &str, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("{stage}{}", name.replace(".parquet", ".part"))
}

impl FolderTxn {
    pub(super) fn begin(
        objects: Objects,
        replacement: Replacement,
        by_day: bool,
        folder: &Folder,
        cx: &TxnContext,
        properties: WriterProperties,
    ) -> Result<FolderTxn> {
        let dataset = cx.source.dataset.clone();
        // Of one run there may be two, when it is sent twice.
        let run = format!("{}-{:08x}", cx.run_id, fastrand::u32(..));
        let stage = format!("{OURS}/{run}/");
        let shown = PathBuf::from(objects.location().to_string());
        let room = Staged {
            objects: objects.clone(),
            stage: stage.clone(),
        };
        Ok(FolderTxn {
            by_day,
            allow_shrink: replacement.allow_shrink,
            zone: zone_of(&dataset),
            first_day: cx
                .source
                .from_date
                .unwrap_or_else(|| cx.started_at.to_zoned(TimeZone::UTC).date()),
            going: Going::new(replacement, dataset.key()),
            dataset,
            days: BTreeMap::new(),
            parts: Parts::new(&shown, room, &run, &cx.schema, properties),
            stage,
            began: folder.commits,
            objects,
            rows: 0,
        })
    }

    /// Commits to a folder that is as `folder` says.
    fn complete(&mut self, folder: &Folder, outcome: &Outcome<'_>) -> Result<Vec<String>> {
        let shown = PathBuf::from(self.objects.location().to_string());
        let files = folder.files.iter().map(|(found, _)| found.clone());
        let files: Vec<Found> = files.collect();
        let owners = folder.ledger.owners();
        let (staying, gone) = self.going.split(&shown, &files, &owners)?;
        self.check_shrink(&folder.ledger)?;
        if self.parts.begun().is_empty() && staying.iter().all(|found| !found.is_table()) {
            // A folder without a file is no table: readers find no columns.
            let day = self.by_day.then_some(self.first_day);
            self.parts.add_empty(Home { day, folder: day })?;
        }
        let unknown = staying
            .iter()
            .filter(|found| found.is_table() && !owners.contains_key(&found.path))
            .count();
        let mut ledger = match self.going.mode() {
            WriteMode::Append | WriteMode::ReplaceWindow => folder.ledger.clone(),
            WriteMode::Create | WriteMode::Replace => FileLedger::default(),
        };
        ledger.record(&Done {
            dataset: &self.dataset,
            units: outcome.units,
            parts: self.parts.begun(),
            replaced: &self.replaced(),
        });
        if let Err(error) = self.put_in_place() {
            self.take_out()?;
            return Err(error);
        }
        if !folder.commit(&ledger).map_err(Error::in_doubt)? {
            self.take_out()?;
            return Err(self.too_late());
        }
        // It counts; what it has replaced is of no use to anybody.
        let gone = gone.iter().map(|gone| &gone.found().path);
        let orphans = folder.orphans.iter().map(|(path, _)| path);
        for path in gone.chain(orphans) {
            let name = path.to_string_lossy();
            if let Err(error) = self.objects.delete(&name) {
                log::warn!("{}", error.in_a_line());
            }
        }
        if unknown == 0 || !self.going.spares_unknown() {
            return Ok(Vec::new());
        }
        Ok(vec![format!(
            "{unknown} files in `{}` stay, because nobody knows by which filters they were fetched; rows may stand in them, too",
            shown.display()
        )])
    }

    fn too_late(&self) -> Error {
        let what = format!("cannot commit to `{}`", self.objects.location());
        Error::new(ErrorKind::Destination, what)
            .because("another run has committed to it since this one began")
            .hint("run it again")
    }

    fn replaced(&self) -> BTreeSet<Date> {
        match self.going.mode() {
            WriteMode::ReplaceWindow => self.going.days().clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Refuses to commit when the folder or a day would lose most of its rows, by
    /// what the ledger says of them.
    fn check_shrink(&self, ledger: &FileLedger) -> Result<()> {
        if self.allow_shrink {
            return Ok(());
        }
        match self.going.mode() {
            WriteMode::Create | WriteMode::Append => Ok(()),
            WriteMode::Replace => {
                let shown = format!("the folder `{}`", self.objects.location());
                check_replace(&shown, ledger.rows(), self.rows)
            }
            WriteMode::ReplaceWindow => {
                let held = ledger.of(&self.dataset);
                let days = self.going.days().iter().filter_map(|day| {
                    let rows = self.parts.rows().iter();
                    let rows = rows.filter(|(home, _)| home.day == Some(*day));
                    Some(ReplacedDay {
                        day: day.to_string(),
                        before: held.get(*day)?.rows?,
                        after: rows.map(|(_, rows)| rows).sum(),
                    })
                });
                check_shrink(&days.collect::<Vec<_>>())
            }
        }
    }

    /// Copies what is staged to where readers look.
    fn put_in_place(&self) -> Result<()> {
        for part in self.parts.begun() {
            let from = self.objects.path(&staged(&self.stage, &part.path));
            let to = self.objects.path(&part.path);
            let store = self.objects.store();
            let copied = self.objects.runtime().block_on(store.copy(&from, &to));
            copied.map_err(|error| {
                let what = format!("cannot make `{}`", self.objects.location().join(&part.path));
                mixflow_objects::from_store(error, what)
            })?;
        }
        Ok(())
    }

    /// Takes out again what was put in place and does not count.
    fn take_out(&self) -> Result<()> {
        let mut result = Ok(());
        for part in self.parts.begun() {
            result = result.and(self.objects.delete(&part.path));
        }
        result
    }

    /// Removes what is staged.
    fn clean(&mut self) -> Result<()> {
        self.parts.close();
        let objects = self.objects.until(&CancelToken::never());
        let mut result = Ok(());
        for part in self.parts.begun() {
            result = result.and(objects.delete(&staged(&self.stage, &part.path)));
        }
        result
    }
}

/// Removes what runs that died have left: what is staged, or was put in place and
/// never counted, when it is a day old.
pub(super) fn sweep(objects: &Objects, folder: &Folder) -> Result<Removed> {
    // Of one that was there before the last commit no run can commit any more.
    let in_place = folder.orphans.iter();
    let in_place = in_place.filter(|(_, ms)| folder.committed_ms.is_some_and(|last| *ms < last));
    let in_place = in_place.map(|(path, _)| path.to_string_lossy().into_owned());
    let mut gone: Vec<String> = in_place.collect();
    if !folder.staged.is_empty() {
        let now = now(objects)?;
        let old = folder.staged.iter().filter(|(_, ms)| now - ms > OLD_MS);
        gone.extend(old.map(|(name, _)| name.clone()));
    }
    let mut removed = Removed::default();
    for name in gone {
        let bytes = objects.size(&name)?.unwrap_or(0);
        objects.delete(&name)?;
        removed.add(Removed { files: 1, bytes });
    }
    Ok(removed)
}

/// Returns the time by the clock of the service, in milliseconds since 1970.
fn now(objects: &Objects) -> Result<i64> {
    let name = format!("{OURS}/{:016x}.now", fastrand::u64(..));
    objects.put(&name, "")?;
    let listed = objects.list(OURS);
    objects.delete(&name)?;
    let found = listed?.into_iter().find(|found| found.name == name);
    Ok(found.map_or(0, |found| found.written_ms))
}

impl SinkTxn for FolderTxn {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        let replaces = self.going.mode() == WriteMode::ReplaceWindow;
        match &info.extent {
            Extent::Days(range) => {
                self.days
                    .insert(info.id, DayCounter::new(range, &self.zone));
                if replaces {
                    self.going.add(range);
                }
                Ok(())
            }
            _ if replaces => Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            )),
            _ => Ok(()),
        }
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

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.parts.finish()?;
        let folder = Folder::look(&self.objects)?;
        if folder.commits != self.began {
            return Err(self.too_late());
        }
        let warnings = self.complete(&folder, outcome)?;
        if let Err(error) = self.clean() {
            log::warn!("{}", error.in_a_line());
        }
        Ok(CommitSummary {
            rows: self.rows,
            destination: self.objects.location().to_string(),
            warnings,
        })
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.clean()?;
        Ok(Residue::None)
    }
}

impl Drop for FolderTxn {
    fn drop(&mut self) {
        // What a run that is interrupted cannot remove is left to the next.
        if let Err(error) = self.clean() {
            log::debug!("{}", error.in_a_line());
        }
    }
}
