//! One run's rows in a folder of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use mixflow_core::batch::Batch;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, ReplacedDay, Residue, SinkTxn, TxnContext, WriteMode,
    check_replace, check_shrink,
};
use mixflow_core::source::Extent;
use mixflow_core::staged::{StagedFolder, cannot, folder_of, sync_folder};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::file::properties::WriterProperties;

use crate::count::{rows_of, rows_replaced};
use crate::swap::swap;
use crate::tree;
use crate::writer::Writer;

/// The column whose UTC day names the folder.
pub(crate) const DAY_COLUMN: &str = "event_time";

/// What all open writers together may hold; the largest gives way first.
const OPEN_MEMORY: usize = 64 << 20;

/// Files that are open at once, far below the 1,024 that a process may have.
const OPEN_FILES: usize = 64;

const DAY_US: i64 = 86_400_000_000;

/// A folder that is built beside its target and swapped at commit.
pub(crate) struct FolderTxn {
    path: PathBuf,
    mode: WriteMode,
    allow_shrink: bool,
    by_day: bool,
    schema: SchemaRef,
    properties: WriterProperties,
    run_id: String,
    /// The day of an empty run's only file.
    first_day: Date,
    staged: StagedFolder,
    /// The files that are open, by the day since 1970 or, without days, 0.
    open: BTreeMap<i64, Open>,
    replaced: Vec<(i64, i64)>,
    /// The rows that were written for each day.
    written: BTreeMap<i64, u64>,
    parts: u32,
    clock: u64,
    rows: u64,
}

/// What a run does to what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacement {
    pub(crate) mode: WriteMode,
    /// Whether a day may be replaced by less than half of it.
    pub(crate) allow_shrink: bool,
}

struct Open {
    writer: Writer,
    /// When it was last written to.
    used: u64,
}

impl FolderTxn {
    pub(crate) fn begin(
        path: &Path,
        replacing: Replacement,
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
        Ok(FolderTxn {
            mode: replacing.mode,
            allow_shrink: replacing.allow_shrink,
            by_day,
            schema: cx.schema.clone(),
            properties,
            run_id: cx.run_id.clone(),
            first_day: cx
                .source
                .from_date
                .unwrap_or_else(|| cx.started_at.to_zoned(jiff::tz::TimeZone::UTC).date()),
            staged,
            open: BTreeMap::new(),
            replaced: Vec::new(),
            written: BTreeMap::new(),
            parts: 0,
            clock: 0,
            rows: 0,
            path,
        })
    }

    /// Returns where files of a day stand, relative to the folder.
    fn folder_of_day(&self, day: i64) -> Result<PathBuf> {
        if self.by_day {
            Ok(PathBuf::from(format!("date={}", date(day)?)))
        } else {
            Ok(PathBuf::new())
        }
    }

    fn begin_file(&mut self, day: i64) -> Result<Writer> {
        let relative = self.folder_of_day(day)?;
        let folder = self.staged.path().join(&relative);
        let name = format!("part-{}-{}.parquet", self.run_id, self.parts);
        self.parts += 1;
        let shown = self.path.join(relative).join(&name).display().to_string();
        let file = fs::create_dir_all(&folder)
            .and_then(|()| File::create_new(folder.join(name)))
            .map_err(cannot(format_args!("create `{shown}`")))?;
        Writer::new(file, &self.schema, &self.properties, shown)
    }

    fn write_day(&mut self, day: i64, records: &RecordBatch) -> Result<()> {
        self.clock += 1;
        *self.written.entry(day).or_default() += records.num_rows() as u64;
        if !self.open.contains_key(&day) {
            if self.open.len() >= OPEN_FILES {
                self.finish_oldest()?;
            }
            let writer = self.begin_file(day)?;
            self.open.insert(day, Open { writer, used: 0 });
        }
        if let Some(open) = self.open.get_mut(&day) {
            open.used = self.clock;
            open.writer.write(records)?;
        }
        self.relieve_memory()
    }

    fn finish_oldest(&mut self) -> Result<()> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
        match oldest.map(|(day, _)| *day) {
            Some(day) => match self.open.remove(&day) {
                Some(open) => open.writer.finish(),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn relieve_memory(&mut self) -> Result<()> {
        let held: usize = self.open.values().map(|open| open.writer.memory()).sum();
        if held <= OPEN_MEMORY {
            return Ok(());
        }
        let largest = self
            .open
            .values_mut()
            .max_by_key(|open| open.writer.memory());
        largest.map_or(Ok(()), |open| open.writer.flush())
    }

    /// Whether a file that is there stays.
    fn stays(&self, found: &tree::Found) -> bool {
        match self.mode {
            WriteMode::Create | WriteMode::Append => true,
            WriteMode::Replace => false,
            WriteMode::ReplaceWindow => {
                let day = found
                    .day
                    .as_deref()
                    .and_then(|day| day.parse::<Date>().ok());
                let start = day.map(start_us);
                !start.is_some_and(|start| {
                    self.replaced
                        .iter()
                        .any(|(first, end)| (*first..*end).contains(&start))
                })
            }
        }
    }

    /// Refuses to commit when the folder or a day would lose most of its rows.
    fn check_shrink(&self, old: &[tree::Found]) -> Result<()> {
        match self.mode {
            _ if self.allow_shrink => Ok(()),
            WriteMode::Create | WriteMode::Append => Ok(()),
            WriteMode::Replace => self.check_whole(old),
            WriteMode::ReplaceWindow => self.check_days(old),
        }
    }

    fn check_whole(&self, old: &[tree::Found]) -> Result<()> {
        let mut before = 0;
        for found in old.iter().filter(|found| found.is_table()) {
            before += rows_replaced(&self.path.join(&found.path))?;
        }
        let shown = format!("the folder `{}`", self.path.display());
        check_replace(&shown, before, self.rows)
    }

    fn check_days(&self, old: &[tree::Found]) -> Result<()> {
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        for found in old {
            if let (Some(day), true, false) = (&found.day, found.is_table(), self.stays(found)) {
                *before.entry(day.clone()).or_default() += rows_of(&self.path.join(&found.path))?;
            }
        }
        let days: Vec<ReplacedDay> = before
            .into_iter()
            .map(|(day, before)| {
                let number = day.parse().map(start_us).unwrap_or_default() / DAY_US;
                ReplacedDay {
                    after: self.written.get(&number).copied().unwrap_or(0),
                    day,
                    before,
                }
            })
            .collect();
        check_shrink(&days)
    }

    /// Links the files that stay into the new folder.
    fn keep_old(&self, old: &[tree::Found]) -> Result<()> {
        let what = format!("keep the permissions of `{}`", self.path.display());
        fs::metadata(&self.path)
            .and_then(|old| fs::set_permissions(self.staged.path(), old.permissions()))
            .map_err(cannot(what))?;
        for found in old.iter().filter(|found| self.stays(found)) {
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
        if self.mode != WriteMode::ReplaceWindow {
            return Ok(());
        }
        let Extent::Days(days) = info.extent else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            ));
        };
        if days.start_us % DAY_US != 0 || days.end_us % DAY_US != 0 {
            return Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {} in folders of UTC days", info.label),
            )
            .because("the days of this project's time zone begin at other hours")
            .hint("use a `duckdb` sink, which replaces by time, or `mode = \"append\"`"));
        }
        self.replaced.push((days.start_us, days.end_us));
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        if !self.by_day {
            return self.write_day(0, &batch.records);
        }
        for (day, records) in by_day(&batch.records)? {
            self.write_day(day, &records)?;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        for (_, open) in std::mem::take(&mut self.open) {
            open.writer.finish()?;
        }
        if self.path.exists() {
            let old = tree::list(&self.path)?;
            self.check_shrink(&old)?;
            self.keep_old(&old)?;
        }
        // A folder without a file is no table: readers find no columns.
        if tree::list(self.staged.path())?.is_empty() {
            let day = start_us(self.first_day).div_euclid(DAY_US);
            self.begin_file(day)?.finish()?;
        }
        self.sync()?;
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
            warnings: Vec::new(),
        };
        // What was there before, or nothing if nothing was.
        let old = self.staged.path().to_owned();
        if let Err(error) = self.staged.remove() {
            log::warn!("cannot remove `{}`: {error}", old.display());
        }
        Ok(summary)
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        let what = format!("remove `{}`", self.staged.path().display());
        drop(self.open);
        self.staged.remove().map_err(cannot(what))?;
        Ok(Residue::None)
    }
}

/// Splits rows by their UTC day, counted from 1970; rows keep their order.
fn by_day(records: &RecordBatch) -> Result<Vec<(i64, RecordBatch)>> {
    let column = records.column_by_name(DAY_COLUMN).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("folders by date need the column `{DAY_COLUMN}`"),
        )
    })?;
    let times = column.as_primitive::<TimestampMicrosecondType>();
    let mut days: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0..).zip(times.values()) {
        days.entry(time.div_euclid(DAY_US)).or_default().push(row);
    }
    // Nearly every batch lies in one day, and is passed on as it is.
    if days.len() == 1 {
        let day = days.keys().next().copied().unwrap_or_default();
        return Ok(vec![(day, records.clone())]);
    }
    days.into_iter()
        .map(|(day, rows)| {
            let rows = UInt32Array::from(rows);
            Ok((day, take_record_batch(records, &rows)?))
        })
        .collect()
}

/// Returns the first instant of a UTC day, in microseconds since 1970.
fn start_us(date: Date) -> i64 {
    let days = date - Date::constant(1970, 1, 1);
    i64::from(days.get_days()) * DAY_US
}

fn date(day: i64) -> Result<Date> {
    Timestamp::UNIX_EPOCH
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
        .checked_add(Span::new().days(day))
        .map_err(|error| {
            Error::new(ErrorKind::Data, format!("day {day} has no date")).with_source(error)
        })
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
