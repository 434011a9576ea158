//! The ledger of a folder or lake table: what it holds of each dataset, by day
//! and by file.
//!
//! That of a folder stands in `_mixflow/`, a name that Spark, pyarrow and Hive
//! skip, and is swapped with the files that it speaks of. A folder without one was
//! written by an older mixflow or another program, and nothing is known of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use mixflow_core::ledger::{DayRecord, FetchedUnit, Ledger, UnitRecord};
use mixflow_core::staged::cannot;
use mixflow_core::unit::{Dataset, DatasetKey};
use mixflow_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::parts::Part;
use crate::tree::{LEDGER, OURS};

/// What a later mixflow raises when this one could not read what it writes.
const VERSION: u32 = 1;

/// What is recorded of files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileLedger {
    version: u32,
    datasets: Vec<Holding>,
    /// Files that were replaced and are about to be removed, for a folder that
    /// cannot be swapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// What is recorded of a month of a dataset, for whoever keeps months apart, so
/// that a run writes those alone that it has changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MonthRecords {
    units: Vec<HeldUnit>,
    days: Vec<DayRecord>,
    files: Vec<HeldFile>,
}

/// The first day of a month; `None` for what is of no day.
pub type Month = Option<Date>;

/// What is recorded of one dataset.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holding {
    key: DatasetKey,
    dataset: Dataset,
    units: Vec<HeldUnit>,
    days: Vec<DayRecord>,
    files: Vec<HeldFile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeldUnit {
    unit: UnitRecord,
    /// The days of it that no other unit has replaced.
    left: BTreeSet<Date>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeldFile {
    /// Relative to the folder, with `/` between.
    path: String,
    /// The day that its rows were fetched for, if they are of one.
    day: Option<Date>,
}

/// Whose a file is, and the day that its rows were fetched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose it is.
    pub dataset: DatasetKey,
    /// The day that its rows were fetched for, if they are of one.
    pub day: Option<Date>,
}

/// What a run has done.
#[derive(Debug)]
pub struct Done<'r> {
    /// Which data was fetched.
    pub dataset: &'r Dataset,
    /// The units that are committed.
    pub units: &'r [FetchedUnit],
    /// The files that it has written.
    pub parts: &'r [Part],
    /// The days of the dataset whose rows of before are gone.
    pub replaced: &'r BTreeSet<Date>,
}

impl Default for FileLedger {
    fn default() -> FileLedger {
        FileLedger {
            version: VERSION,
            datasets: Vec::new(),
            gone: Vec::new(),
        }
    }
}

impl FileLedger {
    /// Reads the ledger of a folder, which need not be there. Days whose files
    /// somebody has removed are left out.
    pub(crate) fn read(root: &Path) -> Result<FileLedger> {
        let path = root.join(OURS).join(LEDGER);
        let shown = path.display();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(FileLedger::default()),
            Err(error) => return Err(cannot(format_args!("read the ledger `{shown}`"))(error)),
        };
        let ledger = FileLedger::parse(&text, &shown.to_string())?;
        Ok(ledger.without_lost_files(|path| root.join(path).exists()))
    }

    /// Reads a ledger that people call `shown`.
    pub(crate) fn parse(text: &[u8], shown: &str) -> Result<FileLedger> {
        let damaged = || {
            let message = format!("cannot read the ledger `{shown}`");
            Error::new(ErrorKind::Destination, message).hint(
                "move it away: the rows stay, and their days count as missing until they are fetched again",
            )
        };
        let ledger: FileLedger =
            serde_json::from_slice(text).map_err(|error| damaged().with_source(error))?;
        if ledger.version != VERSION {
            return Err(damaged().because(format!(
                "it is of version {}, and this mixflow knows version {VERSION}",
                ledger.version
            )));
        }
        Ok(ledger)
    }

    /// Writes the ledger into a folder that is about to become the target.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let folder = root.join(OURS);
        let write = || {
            fs::create_dir_all(&folder)?;
            let mut out = BufWriter::new(File::create_new(folder.join(LEDGER))?);
            serde_json::to_writer(&mut out, self)?;
            out.write_all(b"\n")?;
            out.into_inner()?.sync_all()
        };
        write().map_err(cannot("write the ledger of the folder"))
    }

    /// Returns the ledger as a text, to be [parsed](FileLedger::parse).
    #[cfg(feature = "objects")]
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            let message = "cannot write the ledger of the folder";
            Error::new(ErrorKind::Other, message).with_source(error)
        })
    }

    /// Returns how many rows are held.
    #[cfg(feature = "objects")]
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.datasets.iter().map(|held| -> u64 {
            if held.days.is_empty() {
                held.units.iter().map(|held| held.unit.rows).sum()
            } else {
                held.days.iter().filter_map(|day| day.rows).sum()
            }
        });
        rows.sum()
    }

    /// Returns what is held of `dataset`.
    pub fn of(&self, dataset: &Dataset) -> Ledger {
        let key = dataset.key();
        let Some(holding) = self.datasets.iter().find(|held| held.key == key) else {
            return Ledger::default();
        };
        let mut ledger = Ledger::new(holding.days.iter().cloned());
        for held in &holding.units {
            let Some(days) = held.unit.days.filter(|days| days.first < days.last) else {
                continue;
            };
            ledger.spans.insert((days.first, days.last));
            ledger.outside += u64::from(held.unit.outside > 0 || holding.is_uncounted(&held.unit));
        }
        ledger
    }

    /// Returns the datasets of which something is held, be it only that a day
    /// has no rows.
    pub fn datasets(&self) -> Vec<Dataset> {
        let held = self.datasets.iter();
        held.filter(|held| !held.days.is_empty() || !held.files.is_empty())
            .map(|held| held.dataset.clone())
            .collect()
    }

    /// Returns whose the files are of which that is known.
    pub fn owners(&self) -> BTreeMap<PathBuf, Owner> {
        let mut owners = BTreeMap::new();
        for held in &self.datasets {
            for file in &held.files {
                let owner = Owner {
                    dataset: held.key.clone(),
                    day: file.day,
                };
                owners.insert(PathBuf::from(&file.path), owner);
            }
        }
        owners
    }

    /// Enters what a run has done.
    pub fn record(&mut self, done: &Done<'_>) {
        let key = done.dataset.key();
        let known = self.datasets.iter().position(|held| held.key == key);
        let at = known.unwrap_or_else(|| {
            self.datasets.push(Holding {
                key,
                dataset: done.dataset.clone(),
                units: Vec::new(),
                days: Vec::new(),
                files: Vec::new(),
            });
            self.datasets.len() - 1
        });
        let held = &mut self.datasets[at];
        held.forget(done.replaced);
        held.add(done);
    }

    /// Creates the ledger of a dataset of which these months are held.
    pub fn of_months(
        dataset: Dataset,
        months: impl IntoIterator<Item = MonthRecords>,
    ) -> FileLedger {
        let mut held = Holding {
            key: dataset.key(),
            dataset,
            units: Vec::new(),
            days: Vec::new(),
            files: Vec::new(),
        };
        for month in months {
            held.units.extend(month.units);
            held.days.extend(month.days);
            held.files.extend(month.files);
        }
        FileLedger {
            datasets: vec![held],
            ..FileLedger::default()
        }
    }

    /// Adds what another ledger has of other datasets.
    pub fn extend(&mut self, other: FileLedger) {
        self.datasets.extend(other.datasets);
    }

    /// Takes the ledger apart: each dataset of which something was ever held, and
    /// its records by month.
    pub fn into_months(self) -> Vec<(Dataset, BTreeMap<Month, MonthRecords>)> {
        self.datasets
            .into_iter()
            .map(|held| (held.dataset.clone(), held.into_months()))
            .collect()
    }

    /// Returns whether a run has left units or days of a dataset that are still
    /// held.
    pub fn has_run(&self, dataset: &DatasetKey, run_id: &str) -> bool {
        let held = self.datasets.iter().filter(|held| held.key == *dataset);
        held.flat_map(|held| &held.units)
            .any(|held| held.unit.run_id == run_id)
    }

    /// Returns those of `days` of a dataset that have records of a run other than
    /// they had `before`.
    pub fn changed_days(
        &self,
        before: &FileLedger,
        dataset: &Dataset,
        days: &BTreeSet<Date>,
    ) -> Vec<Date> {
        let (before, now) = (before.of(dataset), self.of(dataset));
        let run = |ledger: &Ledger, day| ledger.get(day).map(|record| record.run_id.clone());
        let days = days.iter().copied();
        days.filter(|day| run(&before, *day) != run(&now, *day))
            .collect()
    }

    /// Returns the files that were replaced; some may still be there.
    #[cfg(feature = "objects")]
    pub(crate) fn gone(&self) -> impl Iterator<Item = &str> {
        self.gone.iter().map(String::as_str)
    }

    /// Notes files that are replaced and that somebody is to remove.
    #[cfg(feature = "objects")]
    pub(crate) fn set_gone(&mut self, gone: Vec<String>) {
        self.gone = gone;
    }

    /// Leaves out files that somebody has removed, and the days that they were
    /// of: what a folder holds is in its files.
    #[must_use]
    pub fn without_lost_files(mut self, is_there: impl Fn(&str) -> bool) -> FileLedger {
        for held in &mut self.datasets {
            let (there, lost): (Vec<_>, Vec<_>) = std::mem::take(&mut held.files)
                .into_iter()
                .partition(|file| is_there(&file.path));
            held.files = there;
            if held.files.is_empty() && !lost.is_empty() {
                held.units.clear();
                held.days.clear();
                continue;
            }
            // Of files of several days nobody knows which ones are gone.
            let days = lost.iter().filter_map(|file| file.day).collect();
            held.forget_days(&days);
        }
        self
    }
}

impl Holding {
    fn into_months(self) -> BTreeMap<Month, MonthRecords> {
        let month = |day: Option<Date>| day.map(Date::first_of_month);
        let mut months: BTreeMap<Month, MonthRecords> = BTreeMap::new();
        for held in self.units {
            let first = month(held.unit.days.map(|days| days.first));
            months.entry(first).or_default().units.push(held);
        }
        for record in self.days {
            let records = months.entry(month(Some(record.day))).or_default();
            records.days.push(record);
        }
        for file in self.files {
            let records = months.entry(month(file.day)).or_default();
            records.files.push(file);
        }
        months
    }

    /// Removes all that is known of days, files included.
    fn forget(&mut self, days: &BTreeSet<Date>) {
        self.files
            .retain(|file| file.day.is_none_or(|day| !days.contains(&day)));
        self.forget_days(days);
    }

    fn forget_days(&mut self, days: &BTreeSet<Date>) {
        self.days.retain(|record| !days.contains(&record.day));
        for held in &mut self.units {
            held.left.retain(|day| !days.contains(day));
        }
        self.units
            .retain(|held| held.unit.days.is_none() || !held.left.is_empty());
    }

    fn add(&mut self, done: &Done<'_>) {
        let days = std::mem::take(&mut self.days).into_iter();
        let mut days: BTreeMap<Date, DayRecord> = days.map(|day| (day.day, day)).collect();
        for fetched in done.units {
            for day in &fetched.days {
                // Of a day that several units have a part of, it has them all.
                let all = match days.get(&day.day) {
                    Some(before) => before.with_more(day),
                    None => day.clone(),
                };
                days.insert(day.day, all);
            }
            self.units.push(HeldUnit {
                unit: fetched.record.clone(),
                left: fetched.days.iter().map(|day| day.day).collect(),
            });
        }
        self.days = days.into_values().collect();
        self.files.extend(done.parts.iter().map(|part| HeldFile {
            path: part.path.clone(),
            day: part.day,
        }));
    }

    /// Returns whether it is not known how the rows of a unit lie among its
    /// days.
    fn is_uncounted(&self, unit: &UnitRecord) -> bool {
        let of_unit = |day: &&DayRecord| day.unit_key == unit.unit_key && day.run_id == unit.run_id;
        let mut days = self.days.iter().filter(of_unit);
        days.any(|day| day.rows.is_none())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
