//! What is recorded of units and days.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::batch::PartitionId;
use crate::unit::{Dataset, DayRange, UnitKey};

/// How much of a day a destination holds. A day of which it holds nothing has
/// no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayState {
    /// Fetched whole after it was over.
    Complete,
    /// The same, and there was nothing.
    Empty,
    /// Fetched before it was over, or not all of it.
    Partial,
}

impl DayState {
    /// Returns the name that ledgers have: `complete`.
    pub fn as_str(self) -> &'static str {
        match self {
            DayState::Complete => "complete",
            DayState::Empty => "empty",
            DayState::Partial => "partial",
        }
    }

    /// Returns the state of a name.
    pub fn of_name(name: &str) -> Option<DayState> {
        [DayState::Complete, DayState::Empty, DayState::Partial]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// What a destination holds of one day of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRecord {
    /// The day, in the zone of the dataset.
    pub day: Date,
    /// How much of it.
    pub state: DayState,
    /// Its rows at the destination; `None` where rows do not say their day.
    pub rows: Option<u64>,
    /// Rows of it that were left out as duplicates.
    pub duplicates: u64,
    /// Its records before compression; `None` if the source does not say.
    pub bytes: Option<u64>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// The run that did.
    pub run_id: String,
    /// The unit that it was fetched with.
    pub unit_key: UnitKey,
}

impl DayRecord {
    /// Adds what was fetched later, of rows that came beside those that are
    /// there.
    #[must_use]
    pub fn with_more(&self, later: &DayRecord) -> DayRecord {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        DayRecord {
            state: match (self.state, later.state) {
                (DayState::Empty, state) | (state, DayState::Empty) => state,
                (DayState::Complete, _) | (_, DayState::Complete) => DayState::Complete,
                (DayState::Partial, DayState::Partial) => DayState::Partial,
            },
            rows: sum(self.rows, later.rows),
            duplicates: self.duplicates + later.duplicates,
            bytes: sum(self.bytes, later.bytes),
            ..later.clone()
        }
    }
}

/// What was fetched as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// The unit.
    pub unit_key: UnitKey,
    /// What people call it.
    pub label: String,
    /// Its days, if it stands for days.
    pub days: Option<DayRange>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// The run that did.
    pub run_id: String,
    /// Its rows at the destination.
    pub rows: u64,
    /// Rows that were left out as duplicates.
    pub duplicates: u64,
    /// Records that could not be read.
    pub rejected: u64,
    /// Its records before compression; `None` if the source does not say.
    pub bytes: Option<u64>,
    /// The SHA-256 of the body as it came, compressed if it was, in hexadecimal;
    /// `None` if the source does not say.
    pub sha256: Option<String>,
    /// The largest version among its records: `mp_processing_time_ms`.
    pub latest_version: Option<i64>,
    /// Rows whose time is in none of its days.
    pub outside: u64,
}

/// A unit that a run is about to commit, and its days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedUnit {
    /// The partition that the sink knows it by.
    pub id: PartitionId,
    /// What is recorded of it.
    pub record: UnitRecord,
    /// What is recorded of its days; none if it stands for no days.
    pub days: Vec<DayRecord>,
}

/// What a table of a database holds of a dataset.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The table.
    pub table: String,
    /// Which data.
    pub dataset: Dataset,
    /// Its days.
    pub ledger: Ledger,
}

/// What a destination holds of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    days: BTreeMap<Date, DayRecord>,
    /// Units of several days of which some rows lie in none of them, or of
    /// which it is not known: the zone may be wrong, and then nobody can tell
    /// which of their rows belong to one of the days.
    pub outside: u64,
    /// The days of each unit of several days that has days in this ledger.
    pub spans: BTreeSet<(Date, Date)>,
    /// Why the destination may have days that are not here, if it may.
    pub lost: Option<String>,
}

impl Ledger {
    /// Creates the ledger of these days.
    pub fn new(days: impl IntoIterator<Item = DayRecord>) -> Ledger {
        let days = days.into_iter().map(|record| (record.day, record));
        Ledger {
            days: days.collect(),
            ..Ledger::default()
        }
    }

    /// Creates one of which nothing is known, and says why.
    pub fn lost(why: impl Into<String>) -> Ledger {
        Ledger {
            lost: Some(why.into()),
            ..Ledger::default()
        }
    }

    /// Returns what is held of a day.
    pub fn get(&self, day: Date) -> Option<&DayRecord> {
        self.days.get(&day)
    }

    /// Returns the days of which something is held, in their order.
    pub fn days(&self) -> impl DoubleEndedIterator<Item = &DayRecord> {
        self.days.values()
    }

    /// Returns the first day of which something is held.
    pub fn first_day(&self) -> Option<Date> {
        self.days.keys().next().copied()
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }
}
