//! One run's rows in a folder of a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::CancelToken;
use mixflow_core::ledger::{DayCounter, days};
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, ReplacedDay, Residue, SinkTxn, TxnContext, WriteMode,
    check_replace, check_shrink,
};
use mixflow_core::source::Extent;
use mixflow_core::unit::Dataset;
use mixflow_core::whole_file::WholeFile;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Copying, Objects, Upload};
use parquet::file::properties::WriterProperties;

use super::BucketSink;
use super::found::{Folder, name_of};
use crate::days::{Home, split, zone_of};
use crate::form::{Form, home, other_form};
use crate::going::Going;
use crate::ledger::{Done, FileLedger};
use crate::others::{Others, TRIES, pause, refused};
use crate::parts::{Part, Parts, Room};
use crate::tree::{Found, OURS};

/// Objects that are written at once; each takes some 15 MB.
const OPEN: usize = 8;

/// Objects that are staged and take their places at commit.
pub(super) struct FolderTxn<'s> {
    sink: &'s BucketSink,
    cx: TxnContext,
    objects: Objects,
    by_day: bool,
    dataset: Dataset,
    zone: TimeZone,
    /// The day of an empty run's only file.
    first_day: Date,
    going: Going,
    /// The days that were fetched, whether or not they replace others.
    fetched: BTreeSet<Date>,
    days: BTreeMap<PartitionId, DayCounter>,
    parts: Parts<Staged>,
    /// The form of files that it takes.
    form: Form,
    /// Where the run stages: `_mixflow/<run>/`.
    stage: String,
    /// What was there when the run began.
    began: Began,
    /// Whether objects may be in place that do not count. By what is staged others
    /// know them, so it stays.
    in_place: bool,
    rows: u64,
}

/// What was in a folder when a run began.
struct Began {
    commits: u64,
    ledger: FileLedger,
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

    /// It is in the store, and copied at commit.
    fn take(&self, _path: &str, _file: &WholeFile) -> Result<()> {
        Ok(())
    }
}

/// Returns where a file is staged. It has no `.parquet` at its end, so that nobody
/// takes it for one of the table.
fn staged(stage: &str, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("{stage}{}", name.replace(".parquet", ".part"))
}

impl<'s> FolderTxn<'s> {
    pub(super) fn begin(
        sink: &'s BucketSink,
        objects: Objects,
        folder: Folder,
        cx: &TxnContext,
        properties: WriterProperties,
    ) -> FolderTxn<'s> {
        let dataset = cx.source.dataset.clone();
        // Of one run there may be two, when it is sent twice.
        let run = format!("{}-{:08x}", cx.run_id, fastrand::u32(..));
        let stage = format!("{OURS}/{run}/");
        let shown = PathBuf::from(objects.location().to_string());
        let room = Staged {
            objects: objects.clone(),
            stage: stage.clone(),
        };
        FolderTxn {
            by_day: sink.by_day(&cx.schema),
            zone: zone_of(&dataset),
            first_day: cx
                .source
                .from_date
                .unwrap_or_else(|| cx.started_at.to_zoned(TimeZone::UTC).date()),
            going: Going::new(sink.replacement, dataset.key()),
            fetched: BTreeSet::new(),
            days: BTreeMap::new(),
            form: Form::of_folder(cx, properties.clone()),
            parts: Parts::new(&shown, room, &run, &cx.schema, properties),
            dataset,
            stage,
            began: Began {
                commits: folder.commits,
                ledger: folder.ledger,
            },
            in_place: false,
            objects,
            rows: 0,
            sink,
            cx: cx.clone(),
        }
    }

    /// Commits, again where others were quicker and that does not matter, and
    /// returns what people should know of it.
    fn commit_parts(&mut self, outcome: &Outcome<'_>) -> Result<Vec<String>> {
        for tried in 0..TRIES {
            let folder = Folder::look(&self.objects)?;
            if folder.ledger.has_run(&self.dataset.key(), &self.cx.run_id) {
                // It was sent twice, and the other one was quicker.
                return Ok(Vec::new());
            }
            self.check_others(&folder)?;
            if let Some(warnings) = self.try_commit(&folder, tried, outcome)? {
                return Ok(warnings);
            }
            self.cx.cancel.wait(pause(tried, fastrand::f64()))?;
        }
        let why = format!("others committed {TRIES} times while it was tried");
        Err(refused(&self.shown(), why).hint("run it again when fewer runs write to the folder"))
    }

    fn shown(&self) -> String {
        format!("the folder `{}`", self.objects.location())
    }

    /// Checks that what others have committed since the run began leaves its own
    /// commit right.
    fn check_others(&self, folder: &Folder) -> Result<()> {
        let (before, now) = (self.began.commits, folder.commits);
        if before == now {
            return Ok(());
        }
        if before > now {
            let why = "somebody has made the folder anew since this run began";
            return Err(refused(&self.shown(), why));
        }
        let last = name_of(now);
        let found = if before + 1 == now {
            format!("somebody else has committed `{last}` since this run began")
        } else {
            let first = name_of(before + 1);
            format!("others have committed `{first}` to `{last}` since this run began")
        };
        let others = Others {
            shown: &self.shown(),
            found,
            mode: self.going.mode(),
            before: &self.began.ledger,
            now: &folder.ledger,
            dataset: &self.dataset,
            days: &self.fetched,
        };
        others.check()?;
        self.sink.preview_folder(folder, &self.cx).map(drop)
    }

    /// Commits to a folder that is as `folder` says; `None` if another run was
    /// quicker.
    fn try_commit(
        &mut self,
        folder: &Folder,
        tried: u32,
        outcome: &Outcome<'_>,
    ) -> Result<Option<Vec<String>>> {
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
        let places = self.places(tried);
        ledger.record(&Done {
            dataset: &self.dataset,
            units: outcome.units,
            parts: &places,
            replaced: &self.replaced(),
        });
        let gone = gone.iter().map(|gone| &gone.found().path);
        let gone = gone.chain(folder.gone.iter());
        let gone: BTreeSet<String> = gone
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        ledger.set_gone(gone.iter().cloned().collect());
        self.in_place = true;
        if let Err(error) = self.put_in_place(&places) {
            self.take_out(&places)?;
            return Err(error);
        }
        if !folder.commit(&ledger).map_err(Error::in_doubt)? {
            self.take_out(&places)?;
            return Ok(None);
        }
        self.in_place = false;
        // It counts; what it has replaced is of no use to anybody. Nor are objects
        // that others had put in place: they cannot commit with them any more, only
        // with new ones.
        let orphans = folder.orphans.iter();
        let orphans = orphans.map(|(path, _)| path.to_string_lossy().into_owned());
        for name in gone.into_iter().chain(orphans) {
            if let Err(error) = self.objects.delete(&name) {
                log::warn!("{}", error.in_a_line());
            }
        }
        if unknown == 0 || !self.going.spares_unknown() {
            return Ok(Some(Vec::new()));
        }
        Ok(Some(vec![format!(
            "{unknown} files in `{}` stay, because nobody knows by which filters they were fetched; rows may stand in them, too",
            shown.display()
        )]))
    }

    /// Returns where the files of the run are to be at a try.
    ///
    /// At each they have names of their own: whoever was quicker at the one before
    /// may still be removing what it found of that.
    fn places(&self, tried: u32) -> Vec<Part> {
        let begun = self.parts.begun().iter().cloned();
        let places = begun.map(|part| match tried {
            0 => part,
            _ => Part {
                path: part.path.replace(".parquet", &format!("-{tried}.parquet")),
                ..part
            },
        });
        places.collect()
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
        if self.sink.replacement.allow_shrink {
            return Ok(());
        }
        match self.going.mode() {
            WriteMode::Create | WriteMode::Append => Ok(()),
            WriteMode::Replace => check_replace(&self.shown(), ledger.rows(), self.rows),
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
    fn put_in_place(&self, places: &[Part]) -> Result<()> {
        let (mut names, mut copies) = (Vec::new(), Vec::new());
        for (part, place) in self.parts.begun().iter().zip(places) {
            let from = staged(&self.stage, &part.path);
            let Some(file) = self.parts.taken().get(&part.path) else {
                self.objects.copy(&from, &place.path)?;
                continue;
            };
            copies.push(Copying {
                from: self.objects.path_of_file(file).ok_or_else(other_form)?,
                to: place.path.clone(),
                bytes: file.bytes,
            });
            names.push(from);
        }
        // Nothing of them need be staged but the names, by which others know what is in
        // place and does not count.
        self.objects.put_empty(&names)?;
        self.objects.copy_all(&copies)
    }

    /// Takes out again what was put in place and does not count.
    fn take_out(&mut self, places: &[Part]) -> Result<()> {
        let objects = self.objects.until(&CancelToken::never());
        let mut result = Ok(());
        for place in places {
            result = result.and(objects.delete(&place.path));
        }
        self.in_place = result.is_err();
        result
    }

    /// Removes what is staged.
    fn clean(&mut self) -> Result<()> {
        self.parts.close();
        if self.in_place {
            return Ok(());
        }
        let objects = self.objects.until(&CancelToken::never());
        let mut result = Ok(());
        for part in self.parts.begun() {
            result = result.and(objects.delete(&staged(&self.stage, &part.path)));
        }
        result
    }
}

impl SinkTxn for FolderTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        let replaces = self.going.mode() == WriteMode::ReplaceWindow;
        match &info.extent {
            Extent::Days(range) => {
                self.days
                    .insert(info.id, DayCounter::new(range, &self.zone));
                self.fetched.extend(days(range.first, range.last));
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

    fn takes(&self, _info: &PartitionInfo, file: &WholeFile) -> bool {
        self.objects.path_of_file(file).is_some() && home(&self.form, self.by_day, file).is_some()
    }

    fn take(&mut self, _partition: PartitionId, file: &WholeFile) -> Result<()> {
        let home = home(&self.form, self.by_day, file).ok_or_else(other_form)?;
        self.rows += file.rows;
        self.parts.take(home, file)
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.parts.finish()?;
        let warnings = self.commit_parts(outcome)?;
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

impl Drop for FolderTxn<'_> {
    fn drop(&mut self) {
        // What a run that is interrupted cannot remove is left to the next.
        if let Err(error) = self.clean() {
            log::debug!("{}", error.in_a_line());
        }
    }
}
