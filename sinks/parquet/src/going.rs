//! Which files of a folder a run replaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use mixflow_core::ledger::{Scope, days};
use mixflow_core::sink::{ReplacedDay, WriteMode, check_replace, check_shrink};
use mixflow_core::unit::{DatasetKey, DayRange};
use mixflow_core::{Error, ErrorKind, Result};

use crate::count::{rows_of, rows_replaced};
use crate::days::{DAY_US, Home, start_us};
use crate::ledger::Owner;
use crate::tree::Found;

/// What a run does to what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replacement {
    pub(crate) mode: WriteMode,
    /// Whose rows of a day are replaced.
    pub(crate) scope: Scope,
    /// Whether a day may be replaced by less than half of it.
    pub(crate) allow_shrink: bool,
}

/// What of a folder is replaced by rows of a dataset.
pub(crate) struct Going {
    replacement: Replacement,
    dataset: DatasetKey,
    /// The days that were fetched.
    days: BTreeSet<Date>,
    /// The same as instants, for files of which the day is not known.
    times: Vec<(i64, i64)>,
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

    /// Returns whether days are replaced, and files that no ledger knows stay.
    pub(crate) fn spares_unknown(&self) -> bool {
        self.mode() == WriteMode::ReplaceWindow && self.replacement.scope == Scope::Filter
    }

    /// Notes days that are fetched.
    pub(crate) fn add(&mut self, range: &DayRange) {
        self.days.extend(days(range.first, range.last));
        self.times.push((range.start_us, range.end_us));
    }

    /// Returns the days of which earlier rows are replaced.
    pub(crate) fn days(&self) -> &BTreeSet<Date> {
        &self.days
    }

    /// Splits the files of a folder into those that stay and those that go.
    ///
    /// Fails if files that no ledger knows are of a UTC day of which only a
    /// part was fetched.
    pub(crate) fn split<'f>(
        &self,
        root: &Path,
        files: &'f [Found],
        owners: &BTreeMap<PathBuf, Owner>,
    ) -> Result<(Vec<&'f Found>, Vec<Gone<'f>>)> {
        let (mut staying, mut gone) = (Vec::new(), Vec::new());
        for found in files {
            let day = match owners.get(&found.path).map(|owner| (owner, owner.day)) {
                _ if self.mode() != WriteMode::ReplaceWindow => None,
                Some((owner, _)) if owner.dataset != self.dataset => None,
                Some((_, Some(day))) => Some(Day::Fetched(day)),
                Some((_, None)) | None => found.day.map(Day::Utc),
            };
            let goes = match day {
                None => self.mode() == WriteMode::Replace,
                Some(Day::Fetched(day)) => self.days.contains(&day),
                Some(Day::Utc(_)) if self.spares_unknown() => false,
                Some(Day::Utc(day)) => match self.covered(day) {
                    Covered::Whole => true,
                    Covered::Not => false,
                    Covered::InPart if !found.is_table() => false,
                    Covered::InPart => return Err(in_part(root, found)),
                },
            };
            if goes {
                gone.push(Gone { found, day });
            } else {
                staying.push(found);
            }
        }
        Ok((staying, gone))
    }

    /// Refuses to commit when the folder or a day would lose most of its rows.
    pub(crate) fn check_shrink(
        &self,
        root: &Path,
        gone: &[Gone<'_>],
        written: &BTreeMap<Home, u64>,
    ) -> Result<()> {
        if self.replacement.allow_shrink {
            return Ok(());
        }
        let tables = gone.iter().filter(|gone| gone.found.is_table());
        match self.mode() {
            WriteMode::Create | WriteMode::Append => Ok(()),
            WriteMode::Replace => {
                let mut before = 0;
                for gone in tables {
                    before += rows_replaced(&root.join(&gone.found.path))?;
                }
                let shown = format!("the folder `{}`", root.display());
                check_replace(&shown, before, written.values().sum())
            }
            WriteMode::ReplaceWindow => {
                let mut before: BTreeMap<Day, u64> = BTreeMap::new();
                for gone in tables {
                    if let Some(day) = gone.day {
                        *before.entry(day).or_default() += rows_of(&root.join(&gone.found.path))?;
                    }
                }
                let days = before.into_iter();
                let days = days.map(|(day, before)| day.replaced(before, written));
                check_shrink(&days.collect::<Vec<_>>())
            }
        }
    }

    /// Returns how much of a UTC day was fetched.
    fn covered(&self, day: Date) -> Covered {
        let start = start_us(day);
        let end = start + DAY_US;
        let mut left = vec![(start, end)];
        for (first, last) in &self.times {
            let parts = left.into_iter();
            left = parts
                .flat_map(|(start, end)| [(start, end.min(*first)), (start.max(*last), end)])
                .filter(|(start, end)| start < end)
                .collect();
        }
        match left[..] {
            [] => Covered::Whole,
            [all] if all == (start, end) => Covered::Not,
            _ => Covered::InPart,
        }
    }
}

/// A file that is replaced, with the day that it is of.
pub(crate) struct Gone<'f> {
    found: &'f Found,
    day: Option<Day>,
}

/// The day that a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Day {
    /// Its rows were fetched for it.
    Fetched(Date),
    /// Its rows lie in it, and nobody knows what they were fetched for.
    Utc(Date),
}

#[cfg(feature = "objects")]
impl<'f> Gone<'f> {
    /// Returns the file.
    pub(crate) fn found(&self) -> &'f Found {
        self.found
    }
}

enum Covered {
    Whole,
    InPart,
    Not,
}

impl Day {
    fn replaced(self, before: u64, written: &BTreeMap<Home, u64>) -> ReplacedDay {
        let is_of = |home: &Home| match self {
            Day::Fetched(day) => home.day == Some(day),
            Day::Utc(day) => home.folder == Some(day),
        };
        let rows = written.iter().filter(|(home, _)| is_of(home));
        let (Day::Fetched(day) | Day::Utc(day)) = self;
        ReplacedDay {
            day: day.to_string(),
            before,
            after: rows.map(|(_, rows)| rows).sum(),
        }
    }
}

fn in_part(root: &Path, found: &Found) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot replace days of the folder `{}`", root.display()),
    )
    .because(format!(
        "nobody knows which days `{}` in it was fetched for, and only a part of its UTC day is fetched now",
        found.path.display()
    ))
    .hint("fetch all of it anew with `mode = \"replace\"`, or choose another folder")
}
