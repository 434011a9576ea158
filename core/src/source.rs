//! Where rows come from.

use std::num::NonZeroUsize;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::context::{RunContext, UnitContext};
use crate::error::{Error, ErrorKind, Result};
use crate::fit::Provenance;
use crate::ledger::{Calendar, Held};
use crate::roles::ColumnRoles;
use crate::whole_file::WholeFile;

pub use crate::archive_place::{ArchivePlace, BucketAddress, Listed, OpensBucket, Remote};

pub use crate::unit::{DataKind, Dataset, DayRange, Extent, Unit};

/// Which rows, and how to get them: a recipe, the same for every run.
///
/// Built and asked without I/O; nothing of a run is remembered in it. What a
/// run needs (credentials, a client, its share of the quota) is in the
/// [`Session`] that [`open`](Source::open) returns.
pub trait Source: Send + Sync {
    /// Returns the schema of every batch of every unit.
    fn schema(&self) -> SchemaRef;

    /// Returns what is known of the rows before any request.
    fn info(&self) -> SourceInfo;

    /// Describes the work without asking the endpoint that counts it, as it is
    /// for a destination that holds `held`.
    fn outline(&self, held: &Held) -> Outline;

    /// Begins a run: resolves credentials, makes a client.
    ///
    /// Fails when these cannot be had; then nothing is left behind. Called
    /// again when the plan of the first session became void.
    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>>;

    /// Asks the server as little as can be to learn whether a run could read;
    /// `None` if there is no server.
    ///
    /// Fails as a run would.
    fn probe(&self, _cx: &RunContext) -> Result<Option<Probe>> {
        Ok(None)
    }

    /// Returns whether a run in which fewer rows come than
    /// [`expected_rows`](Plan::expected_rows) says is whole all the same.
    fn accepts_short(&self) -> bool {
        false
    }

    /// Returns where it keeps whole bodies, or reads them from; `None` if it keeps
    /// none.
    fn archive(&self) -> Option<&ArchivePlace> {
        None
    }

    /// Returns how many records may be rejected before the run fails.
    fn max_rejects(&self) -> u64 {
        u64::MAX
    }

    /// Returns what must be known of a record to read it, beside its dataset; the
    /// source's own, and null for one that needs nothing.
    fn reading(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// A source in one run.
///
/// [`plan`](Session::plan) is called once, unless the run is given its units;
/// these are then read by worker threads, several at once and each at most
/// once. [`finish`](Session::finish) comes last, and not at all when the
/// process dies.
pub trait Session: Send + Sync {
    /// Splits the work into units.
    ///
    /// May make requests (page 0 of profiles, whose answer says how many pages
    /// follow). Fails when they do; then nothing is left behind.
    fn plan(&self) -> Result<Plan>;

    /// Reads the rows of a unit, of this plan or of another session's.
    ///
    /// Retries live below this call: an error that escapes it or its iterator
    /// is final. Under [`Delivery::Verified`](crate::context::Delivery::Verified)
    /// the unit is known to be complete before the first batch is returned.
    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>>;

    /// Returns the file that has the rows of a unit, all of them as a sink may keep
    /// them; `None`, which is the default, if there is none. Nobody need have looked
    /// whether it is whole.
    fn file(&self, _unit: &Unit) -> Option<WholeFile> {
        None
    }

    /// Checks, in the place of [`read`](Session::read), that the [file](Session::file)
    /// of a unit is whole and what it was, and says what was counted of the unit.
    fn check_file(&self, unit: &Unit, _cx: &UnitContext) -> Result<()> {
        let message = format!("no file has the rows of {}", unit.label);
        Err(Error::new(ErrorKind::Other, message))
    }

    /// Hears what became of what was read.
    fn finish(&self, _fate: Fate) {}
}

/// What became of the rows that a session has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are where they should be.
    Committed,
    /// They were refused for what they say: the next run is to see whether the
    /// server has something better by then.
    Refused,
    /// The run was interrupted, or lacked something: what was read whole is of
    /// use to the next one.
    Unfinished,
}

/// What is known of a source's rows before any request.
#[derive(Clone, Debug, Default)]
pub struct SourceInfo {
    /// Which data it is.
    pub dataset: Dataset,
    /// Which data, in a few words: ``events of project 12345``.
    pub title: String,
    /// The first day that is asked for, inclusive.
    pub from_date: Option<Date>,
    /// The last day that is asked for, inclusive.
    pub to_date: Option<Date>,
    /// Whether each unit is a range of whole days.
    pub partitions_are_days: bool,
    /// How days are counted, if each unit is a range of them.
    pub calendar: Option<Calendar>,
    /// The most rows, if not all that there is is asked for.
    pub limit: Option<u64>,
    /// Things a person should know before the run.
    pub warnings: Vec<String>,
    /// How the rows are made. Left to the engine, which asks the transforms, but for
    /// rows that were transformed before; `None` while it is not known, as for a
    /// preview without secrets.
    pub provenance: Option<Provenance>,
    /// What the columns are for, if their rows are of several kinds.
    pub roles: Option<ColumnRoles>,
}

impl SourceInfo {
    /// Narrows the days to those of `units`, if they stand for days.
    pub(crate) fn narrow<'u>(&mut self, units: impl IntoIterator<Item = &'u Unit>) {
        let days = units.into_iter().filter_map(|unit| match unit.extent {
            Extent::Days(days) => Some((days.first, days.last)),
            Extent::Page(_) | Extent::Whole => None,
        });
        let all = days.reduce(|all, days| (all.0.min(days.0), all.1.max(days.1)));
        if let Some((first, last)) = all {
            self.from_date = Some(first);
            self.to_date = Some(last);
        }
    }
}

/// The work of a run, split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is read independently: date windows, profile pages.
    pub units: Vec<Unit>,
    /// The source's own ceiling: 5 for profile pages.
    pub max_workers: Option<NonZeroUsize>,
    /// Whether rows reach the sink in the order of `units`, so that
    /// parallel output is the same as sequential output.
    ///
    /// Rows of later units wait in memory meanwhile, so this is for units that
    /// are small.
    pub ordered: bool,
    /// The number of rows, if the source was told. Fewer make a new plan, once;
    /// then they are a failure, unless the source accepts it.
    pub expected_rows: Option<u64>,
    /// Requests that the units will make, without retries.
    pub requests: u64,
    /// Things a person should know before the run goes on.
    pub warnings: Vec<String>,
}

/// What `mixflow plan` shows of a source.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// The units, where they are known without asking.
    pub units: Vec<Unit>,
    /// Requests that will be made; `None` if only the first answer tells.
    pub requests: Option<u64>,
    /// Requests that the server allows in an hour.
    pub requests_per_hour: Option<u32>,
    /// Requests of the last hour, as far as they are known on this machine.
    pub used_in_last_hour: Option<u64>,
    /// Requests that the server allows at once.
    pub max_workers: Option<NonZeroUsize>,
    /// Further facts, a sentence each.
    pub notes: Vec<String>,
}

/// What a source has learned from its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// All of it, in the order in which it is shown.
    pub findings: Vec<Finding>,
}

/// One thing that was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word: `credentials`.
    pub about: &'static str,
    /// What was found.
    pub text: String,
}

/// The batches of one unit. Ends at the first error.
pub type BatchIter<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_survives_serde() {
        let dataset = Dataset::default().key();
        let days = DayRange {
            first: jiff::civil::date(2024, 1, 1),
            last: jiff::civil::date(2024, 1, 7),
            start_us: 1_704_067_200_000_000,
            end_us: 1_704_672_000_000_000,
        };
        let plan = Plan {
            units: [Extent::Days(days), Extent::Page(3), Extent::Whole]
                .map(|extent| Unit::new(&dataset, extent, "a part", json!({ "n": 1 })))
                .to_vec(),
            max_workers: NonZeroUsize::new(5),
            ordered: true,
            expected_rows: Some(7),
            requests: 3,
            warnings: vec!["61 requests are more than the quota".to_owned()],
        };
        let text = serde_json::to_string(&plan).expect("a plan is JSON");
        assert_eq!(
            serde_json::from_str::<Plan>(&text).expect("it is a plan"),
            plan
        );
    }
}
