//! Where rows go.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, PartitionId};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Earlier, FetchedUnit, Ledger};
use crate::made_of::Existing;
use crate::source::{Extent, SourceInfo};
use crate::whole_file::{FileForm, FilePlace, WholeFile};

pub use crate::destination::Destination;
pub use crate::guard::{Guarded, guarded};
pub use crate::shrink::{ReplacedDay, check_replace, check_shrink};
pub use crate::unit::{DataKind, Dataset};

/// What happens to what is at the destination already: `mode` in TOML.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// It is an error, before any request.
    #[default]
    Create,
    /// Rows are added.
    Append,
    /// All of it is swapped at commit.
    Replace,
    /// The days that were fetched are replaced at commit.
    ReplaceWindow,
}

impl WriteMode {
    /// Returns the name that TOML has: `replace_window`.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteMode::Create => "create",
            WriteMode::Append => "append",
            WriteMode::Replace => "replace",
            WriteMode::ReplaceWindow => "replace_window",
        }
    }
}

/// A destination.
///
/// The engine calls, in this order: [`capabilities`](Sink::capabilities) and
/// [`check_schema`](Sink::check_schema) while the pipeline is built (no I/O), and
/// again when columns that go by the rows are fixed,
/// [`preview`](Sink::preview) and [`reserve`](Sink::reserve) before the first
/// request, and
/// [`begin`](Sink::begin) when the first rows are there, or, if the sink is
/// [`exclusive`](Sink::exclusive), later, when they come slowly. All calls come from
/// one thread, so a sink need be neither `Send` nor `Sync`; inside it may use
/// as many threads as it likes.
pub trait Sink {
    /// Returns what the sink, as configured, can promise.
    fn capabilities(&self) -> Capabilities;

    /// Returns where the rows go. `kind` is what they are, for a sink that
    /// names a table after them. Makes no I/O.
    fn destination(&self, kind: &DataKind) -> Destination;

    /// Makes the runs that follow do `mode` with what is there, whatever the
    /// options said. Makes no I/O.
    ///
    /// Fails with [`ErrorKind::Config`] if the sink cannot do that, or, which
    /// is the default, has no write mode.
    fn set_mode(&mut self, _mode: WriteMode) -> Result<()> {
        Err(Error::new(
            ErrorKind::Config,
            "this sink has no write mode that could be chosen",
        ))
    }

    /// Returns what the destination holds of `dataset`, from the ledger that the
    /// sink keeps with the data; `None` if it keeps none. Changes and creates nothing; a destination that is not there
    /// holds nothing.
    fn ledger(&self, _dataset: &Dataset) -> Result<Option<Ledger>> {
        Ok(None)
    }

    /// Returns what becomes of earlier rows when a run commits, for whoever keeps
    /// the ledger of a sink that keeps none. Makes no I/O.
    fn earlier(&self) -> Earlier {
        if self.capabilities().replaces_days {
            Earlier::GoByDay
        } else {
            Earlier::Stay
        }
    }

    /// Returns whether the run `run_id` has committed rows of `kind`, of which the
    /// run itself does not know it; `None`, which is the default, if the sink cannot
    /// tell. Changes nothing.
    ///
    /// Fails with [`Error::is_busy`] while that may still change.
    fn has_committed(&self, _run_id: &str, _kind: &DataKind) -> Result<Option<bool>> {
        Ok(None)
    }

    /// Takes the destination for a run, before its first request, so that another
    /// one that comes meanwhile is refused at once. It is given back when what is
    /// returned is dropped; `None`, which is the default, if there is nothing to
    /// take. Readers are not held up.
    ///
    /// Fails with [`Error::is_busy`], and names who has it.
    fn reserve(&self, _cx: &TxnContext) -> Result<Option<Box<dyn Any>>> {
        Ok(None)
    }

    /// Returns the columns that the destination has, for transforms whose columns
    /// go by them; nothing, which is the default, if the sink cannot tell. Changes
    /// and creates nothing.
    ///
    /// Fails with [`Error::is_busy`] if somebody else has the destination just now.
    fn existing(&self, _cx: &TxnContext) -> Result<Existing> {
        Ok(Existing::default())
    }

    /// Checks that rows of `schema` can be written. Makes no I/O.
    fn check_schema(&self, schema: &Schema) -> Result<()>;

    /// Returns what tells rows that the destination cannot hold, if these are to be
    /// rejected; nothing, which is the default, if they are not. Makes no I/O.
    fn row_check(&self) -> Option<Arc<dyn RowCheck>> {
        None
    }

    /// Looks whether what the sink needs of this machine is there, such as a
    /// program; for `check`, which asks nobody and opens nothing.
    ///
    /// Nothing is needed, unless the sink says so.
    fn check_machine(&self) -> Result<()> {
        Ok(())
    }

    /// Looks at the destination and says what a run would do to it.
    ///
    /// Fails where [`begin`](Sink::begin) would fail. Never creates or changes
    /// anything.
    fn preview(&self, cx: &TxnContext) -> Result<Preview>;

    /// Returns what the engine must know to begin as late as it can, if nobody
    /// else can use the destination while a transaction is open; `None`, which
    /// is the default, if others can. Asked when the first rows are there.
    fn exclusive(&self) -> Option<Exclusive> {
        None
    }

    /// Returns how rows are to be written into a file at `place`, so that a
    /// transaction can [take](SinkTxn::take) it as it is; `None`, which is the
    /// default, if none can take files from there. Makes no I/O.
    fn file_form(&self, _cx: &TxnContext, _place: &FilePlace) -> Result<Option<Box<dyn FileForm>>> {
        Ok(None)
    }

    /// Removes what runs that died have left at the destination, of which no reader
    /// sees anything, and what no run that is alive will use. A run does so too, when
    /// it begins.
    ///
    /// There is nothing of the kind, unless the sink says so.
    fn vacuum(&self) -> Result<Removed> {
        Ok(Removed::default())
    }

    /// Begins a transaction. Nothing is visible until it commits.
    ///
    /// Fails with [`Error::is_busy`] if somebody else has the destination just
    /// now; then a later call may succeed.
    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>>;
}

/// Looks at rows for a sink before they are written, on the threads that read.
pub trait RowCheck: Send + Sync {
    /// Returns which rows the destination cannot hold, in their order, and why. They are
    /// rejected like records that cannot be read, and go to none of the sinks.
    fn refused(&self, records: &RecordBatch) -> Vec<(usize, String)>;
}

/// How long a run waits for a destination that somebody else has just now,
/// unless it is told.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a run that waits looks whether the destination is free.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Calls `call` again, for up to `patience`, while somebody else has the
/// destination.
///
/// Fails with what `call` said last, or when `cancel` is cancelled.
pub fn patiently<T>(
    patience: Duration,
    cancel: &CancelToken,
    call: impl Fn() -> Result<T>,
) -> Result<T> {
    let asked = Instant::now();
    loop {
        match call() {
            Err(error) if error.is_busy() && asked.elapsed() < patience => {
                cancel.wait(LOOK_AGAIN)?;
            }
            done => return done,
        }
    }
}

/// A run's writes. Dropping it aborts.
///
/// [`partition`](SinkTxn::partition) comes before the first batch of each
/// partition; batches of several partitions may interleave. A file may come in the
/// place of all batches of a partition, if the transaction
/// [takes](SinkTxn::takes) it. After an error
/// from any call only [`abort`](SinkTxn::abort) follows, or a drop.
pub trait SinkTxn {
    /// Announces a partition: what `replace_window` deletes, what a file is called.
    fn partition(&mut self, info: &PartitionInfo) -> Result<()>;

    /// Writes a batch.
    fn write(&mut self, batch: &Batch) -> Result<()>;

    /// Returns whether [`take`](SinkTxn::take) would make of `file` what it makes of
    /// the rows of the partition, had they been written. Not for a file whose sink
    /// has no [form](Sink::file_form) for its place.
    fn takes(&self, _info: &PartitionInfo, _file: &WholeFile) -> bool {
        false
    }

    /// Takes a file with all rows of a partition that was announced, in their stead.
    /// The file may go when the transaction has committed.
    fn take(&mut self, _partition: PartitionId, file: &WholeFile) -> Result<()> {
        let message = format!("this sink takes no files, such as {:?}", file.place);
        Err(Error::new(ErrorKind::Other, message))
    }

    /// Makes everything visible at once. On an error nothing is, unless the
    /// error is [in doubt](Error::in_doubt).
    fn commit(self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary>;

    /// Gives everything up and says what remains all the same.
    fn abort(self: Box<Self>) -> Result<Residue>;
}

/// What a sink, as configured, can promise and wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether nothing is visible before commit and nothing remains after abort.
    pub transactional: bool,
    /// Whether commit replaces the days of the partitions (`replace_window`),
    /// which needs a source whose partitions are days.
    pub replaces_days: bool,
    /// The form of record that the sink wants.
    pub records: RecordFormat,
}

/// A destination that nobody else can use while a transaction is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusive {
    /// The bytes of rows, as Arrow has them in memory, that the sink takes a
    /// second on a modest machine. Rows that come a tenth as fast wait for
    /// the commit; those that come faster go to the transaction as they come.
    pub bytes_per_second: u64,
    /// Where rows may wait: the destination's own folder, so that they are on
    /// its disk. They have no name there, and leave nothing behind.
    pub folder: PathBuf,
}

/// The form in which a source hands out records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordFormat {
    /// Named, typed columns.
    #[default]
    Normalized,
    /// One binary column with each record's bytes, untouched.
    Raw,
}

/// What a transaction is told when it begins.
#[derive(Clone, Debug)]
pub struct TxnContext {
    /// The run, unique among runs.
    pub run_id: String,
    /// The schema of every batch.
    pub schema: SchemaRef,
    /// What the rows are.
    pub source: SourceInfo,
    /// When the run started.
    pub started_at: Timestamp,
    /// Tells that the run is to stop. For waits that may be long, such as for
    /// a reader that does not read; nothing else need look at it.
    pub cancel: CancelToken,
}

/// What a transaction is told of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The position in the plan.
    pub id: PartitionId,
    /// What people call it.
    pub label: String,
    /// What part of the destination it stands for.
    pub extent: Extent,
}

/// How the run went, as far as it is known at commit.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The partitions that could not be had, with the reason.
    pub missing: &'a [(PartitionInfo, String)],
    /// Rows written.
    pub rows: u64,
    /// The units that are committed, with what a ledger says of each.
    pub units: &'a [FetchedUnit],
}

impl Outcome<'_> {
    /// Returns the status that reports and metadata show.
    pub fn status(&self) -> &'static str {
        if self.missing.is_empty() {
            "committed"
        } else {
            "partial"
        }
    }
}

/// What a run would do to the destination, a sentence each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Sentences such as ``creates the table `events` in `out.db` ``.
    pub actions: Vec<String>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitSummary {
    /// Rows that this run made visible: as many as were written, or the run
    /// has failed.
    pub rows: u64,
    /// Where they are now: ``table `events` in out.db``.
    pub destination: String,
    /// Things a person should know.
    pub warnings: Vec<String>,
}

impl CommitSummary {
    /// Checks that a commit speaks of the `written` rows that it was given.
    ///
    /// The commit was made, so an error is one in doubt: rows may be missing
    /// at the destination, or be there twice.
    pub fn check_rows(&self, written: u64) -> Result<()> {
        if self.rows == written {
            return Ok(());
        }
        let CommitSummary {
            rows, destination, ..
        } = self;
        Err(Error::new(
            ErrorKind::Other,
            format!("what is in {destination} may be wrong"),
        )
        .because(format!(
            "{written} rows were written, but {destination} speaks of {rows}"
        ))
        .hint("look at what is there before anybody relies on it; the sink has a fault")
        .in_doubt())
    }
}

/// What was removed of runs that died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, or objects of a store.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Removed {
    /// Adds what was removed elsewhere.
    pub fn add(&mut self, other: Removed) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// What remains visible of a run that was aborted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residue {
    /// Nothing: the destination is as it was.
    #[default]
    None,
    /// So many rows went out and cannot be taken back.
    Rows(u64),
    /// The sink cannot tell.
    Unknown,
}

impl std::fmt::Debug for dyn SinkTxn + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SinkTxn")
    }
}

/// Returns the error of a sink that finds its target already there.
///
/// One place for the words, because every sink with `create` needs them.
pub fn already_exists(target: &str) -> Error {
    Error::new(ErrorKind::TableExists, format!("{target} already exists"))
}
