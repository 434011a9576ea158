//! Where rows come from.

use std::num::NonZeroUsize;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use jiff::civil::Date;

use crate::context::TaskContext;
use crate::error::Result;
use crate::fit::Provenance;
use crate::roles::ColumnRoles;
use crate::unit::DataKind;

pub use crate::unit::{DayRange, Extent};

/// Splits work into partitions and reads them.
///
/// [`schema`](Source::schema) and [`info`](Source::info) are answered without
/// I/O, before the first request. [`plan`](Source::plan) is called once a run;
/// the partitions it returns are read by worker threads, each at most once.
pub trait Source: Send + Sync {
    /// Returns the schema of every batch of every partition.
    fn schema(&self) -> SchemaRef;

    /// Returns what is known of the rows before any request.
    fn info(&self) -> SourceInfo;

    /// Splits the work.
    ///
    /// May make requests (page 0 of profiles, whose answer says how many pages
    /// follow). Begins nothing: an error here leaves nothing behind.
    fn plan(&self, cx: &TaskContext) -> Result<Plan>;

    /// Describes the work without asking the endpoint that counts it.
    fn outline(&self) -> Outline;

    /// Hears that what was read is not needed again: it is committed, or was
    /// refused for what it says.
    ///
    /// Not called when a run dies, is interrupted or lacks something, so that
    /// a source can give the next run what this one has.
    fn release(&self) {}

    /// Returns whether a run in which fewer rows come than
    /// [`expected_rows`](Plan::expected_rows) says is whole all the same.
    fn accepts_short(&self) -> bool {
        false
    }

    /// Returns how many records may be rejected before the run fails.
    fn max_rejects(&self) -> u64 {
        u64::MAX
    }
}

/// What is known of a source's rows before any request.
#[derive(Clone, Debug, Default)]
pub struct SourceInfo {
    /// What the rows are.
    pub data_type: DataKind,
    /// Which data, in a few words: ``events of project 12345``.
    pub title: String,
    /// The first day that is asked for, inclusive.
    pub from_date: Option<Date>,
    /// The last day that is asked for, inclusive.
    pub to_date: Option<Date>,
    /// The filters that apply, for the metadata.
    pub filters: serde_json::Map<String, serde_json::Value>,
    /// Whether each partition is a range of whole days.
    pub partitions_are_days: bool,
    /// Things a person should know before the run.
    pub warnings: Vec<String>,
    /// How the rows are made. Left to the engine, which asks the transforms;
    /// `None` while it is not known, as for a preview without secrets.
    pub provenance: Option<Provenance>,
    /// What the columns are for, if their rows are of several kinds.
    pub roles: Option<ColumnRoles>,
}

/// The work of a run, split.
pub struct Plan {
    /// What is read independently: date windows, profile pages.
    pub partitions: Vec<Box<dyn Partition>>,
    /// The source's own ceiling: 5 for profile pages.
    pub max_workers: Option<NonZeroUsize>,
    /// Whether rows reach the sink in the order of `partitions`, so that
    /// parallel output is the same as sequential output.
    ///
    /// Rows of later partitions wait in memory meanwhile, so this is for
    /// partitions that are small.
    pub ordered: bool,
    /// The number of rows, if the source was told. Fewer make a new plan, once;
    /// then they are a failure, unless the source accepts it.
    pub expected_rows: Option<u64>,
    /// Requests that the partitions will make, without retries.
    pub requests: u64,
    /// Things a person should know before the run goes on.
    pub warnings: Vec<String>,
}

/// What `mixflow plan` shows of a source.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// The labels of the partitions, where they are known without asking.
    pub partitions: Vec<String>,
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

/// A part of the work that succeeds or fails as a whole.
///
/// Retries live below this trait: an error that escapes
/// [`read`](Partition::read) or its iterator is final.
pub trait Partition: Send {
    /// Returns what people call the partition: `2024-01-01..2024-01-07`, `page 17`.
    fn label(&self) -> &str;

    /// Returns what part of the destination the rows stand for.
    fn extent(&self) -> Extent;

    /// Reads the rows.
    ///
    /// Under [`Delivery::Verified`](crate::context::Delivery::Verified) the
    /// partition is known to be complete before the first batch is returned.
    fn read<'a>(&'a self, cx: &'a TaskContext) -> Result<BatchIter<'a>>;
}

/// The batches of one partition. Ends at the first error.
pub type BatchIter<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;
