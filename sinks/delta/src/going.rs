//! Which files of a table go when a run commits.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use mixflow_core::ledger::{Scope, days};
use mixflow_core::sink::{ReplacedDay, WriteMode, check_replace, check_shrink};
use mixflow_core::unit::{DatasetKey, DayRange};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::{DAY_US, FileLedger, Home, start_us};

use crate::table::LiveFile;

/// What a run does to what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacement {
    pub(crate) mode: WriteMode,
    /// Whose rows of a day are replaced.
    pub(crate) scope: Scope,
    /// Whether a day may be replaced by less than half of it.
    pub(crate) allow_shrink: bool,
}

/// What of a table is replaced by rows of a dataset.
pub(crate) struct Going {
    pub(crate) replacement: Replacement,
    dataset: DatasetKey,
    /// The days that were fetched.
    days: BTreeSet<Date>,
    /// The same as instants, for files of which the day is not known.
    times: Vec<(i64, i64)>,
}

/// The files of a table, by what becomes of them.
#[derive(Default)]
pub(crate) struct Split<'f> {
    /// Those that go, with the day that they were fetched for or lie in.
    pub(crate) gone: Vec<(&'f LiveFile, Option<Date>)>,
    /// Those that go, and whose rows of other days are written anew.
    pub(crate) rewritten: Vec<&'f LiveFile>,
    /// Those that stay, of which nobody knows by which filters they were fetched.
    pub(crate) unknown: usize,
}

impl Going {
    pub(crate) fn new(replacement: Replacement, dataset: DatasetKey) -> Going {
        Going {
            replacement,
            dataset,
            days: BTreeSet::new(),
            times: Vec::new(),
        }
    }

    pub(crate) fn mode(&self) -> WriteMode {
        self.replacement.mode
    }

    /// Notes days that are fetched.
    pub(crate) fn add(&mut self, range: &DayRange) {
        self.days.extend(days(range.first, range.last));
        self.times.push((range.start_us, range.end_us));
    }

    /// Returns the days that were fetched.
    pub(crate) fn days(&self) -> &BTreeSet<Date> {
        &self.days
    }

    /// Returns the days of which earlier rows are replaced.
    pub(crate) fn replaced(&self) -> BTreeSet<Date> {
        match self.mode() {
            WriteMode::ReplaceWindow => self.days.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Says what becomes of the files of a table, whose ledger is `ledger`.
    ///
    /// Those that the ledger knows go by the day that they were fetched for. A file
    /// that somebody else has written, such as one that was made of several of ours,
    /// goes by the times of its rows.
    pub(crate) fn split<'f>(&self, files: &'f [LiveFile], ledger: &FileLedger) -> Split<'f> {
        let mut split = Split::default();
        match self.mode() {
            WriteMode::Create | WriteMode::Append => {}
            WriteMode::Replace => split
                .gone
                .extend(files.iter().map(|file| (file, file.date))),
            WriteMode::ReplaceWindow => self.split_days(files, ledger, &mut split),
        }
        split
    }

    fn split_days<'f>(&self, files: &'f [LiveFile], ledger: &FileLedger, split: &mut Split<'f>) {
        let owners = ledger.owners();
        for file in files {
            match owners.get(std::path::Path::new(&file.path)) {
                Some(owner) if owner.dataset != self.dataset => {}
                Some(owner) => {
                    if owner.day.is_some_and(|day| self.days.contains(&day)) {
                        split.gone.push((file, owner.day));
                    }
                }
                None if self.replacement.scope == Scope::Filter => split.unknown += 1,
                None => match self.covered(file) {
                    Covered::Whole => split.gone.push((file, file.date)),
                    Covered::InPart => split.rewritten.push(file),
                    Covered::Not => {}
                },
            }
        }
    }

    /// Returns whether a time is one of a day that was fetched.
    pub(crate) fn has(&self, us: i64) -> bool {
        self.times
            .iter()
            .any(|(start, end)| (*start..*end).contains(&us))
    }

    /// Returns how many of a file's rows are of days that were fetched.
    fn covered(&self, file: &LiveFile) -> Covered {
        let of_date = |date: Date| (start_us(date), start_us(date) + DAY_US - 1);
        let Some((first, last)) = file.times.or(file.date.map(of_date)) else {
            return Covered::InPart;
        };
        // What is left of its time without the days that were fetched.
        let mut left = vec![(first, last + 1)];
        for (start, end) in &self.times {
            left = left
                .into_iter()
                .flat_map(|(first, last)| [(first, last.min(*start)), (first.max(*end), last)])
                .filter(|(first, last)| first < last)
                .collect();
        }
        match left[..] {
            [] => Covered::Whole,
            [all] if all == (first, last + 1) => Covered::Not,
            _ => Covered::InPart,
        }
    }

    /// Refuses to commit when the table or a day would lose most of its rows.
    pub(crate) fn check_shrink(
        &self,
        shown: &str,
        split: &Split<'_>,
        written: &BTreeMap<Home, u64>,
    ) -> Result<()> {
        if self.replacement.allow_shrink {
            return Ok(());
        }
        // A file that does not say how many rows it has, has some.
        let rows = |file: &LiveFile| file.rows.unwrap_or(1);
        match self.mode() {
            WriteMode::Create | WriteMode::Append => Ok(()),
            WriteMode::Replace => {
                let before = split.gone.iter().map(|(file, _)| rows(file)).sum();
                check_replace(
                    &format!("the table `{shown}`"),
                    before,
                    written.values().sum(),
                )
            }
            WriteMode::ReplaceWindow => {
                let mut before: BTreeMap<Date, u64> = BTreeMap::new();
                for (file, day) in &split.gone {
                    if let Some(day) = day {
                        *before.entry(*day).or_default() += rows(file);
                    }
                }
                let after = |day: Date| {
                    let of_day = written.iter().filter(|(home, _)| home.day == Some(day));
                    of_day.map(|(_, rows)| rows).sum()
                };
                let days = before.into_iter().map(|(day, before)| ReplacedDay {
                    day: day.to_string(),
                    before,
                    after: after(day),
                });
                check_shrink(&days.collect::<Vec<_>>())
            }
        }
    }
}

enum Covered {
    Whole,
    InPart,
    Not,
}

/// Returns the error of a file that would have to be written anew and cannot be.
pub(crate) fn cannot_rewrite(shown: &str, path: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot replace days of the table `{shown}`"),
    )
    .because(format!("`{path}` has rows of other days, too, and {why}"))
    .hint("fetch all of it anew with `mode = \"replace\"`, or choose another folder")
}
