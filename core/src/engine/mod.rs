//! Runs a pipeline: source → transforms → sink.
//!
//! A run is an [`attempt`] at it: the source plans, worker threads read its
//! units, transform their batches and send them through one bounded channel to
//! the caller's thread, which alone owns the transaction (the [`writer`]) and
//! what is counted and told (the [`books`]). A plan that becomes void is
//! attempted once more. Sequential and parallel are the same code with one
//! worker or several.

mod attempt;
mod books;
mod order;
mod room;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::cancel::CancelToken;
use crate::context::{Counters, Delivery, RunContext};
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::fit::Provenance;
use crate::observer::Observer;
use crate::reject::{RejectLog, Rejects};
use crate::report::RunReport;
use crate::sink::{Preview, Residue, Sink, TxnContext};
use crate::source::{Extent, Fate, Source, Unit};
use crate::stand_in::StandIns;
use crate::transform::{NamedTransform, OpenTransform, stand_ins_for};
use attempt::Attempt;
use books::Books;
use writer::Writer;

/// A source, transforms and a sink that fit each other.
pub struct Pipeline {
    /// The name, for reports.
    pub name: String,
    /// The type of the source, for reports.
    pub source_type: String,
    /// Where rows come from.
    pub source: Box<dyn Source>,
    /// What happens to them, in order.
    pub transforms: Vec<NamedTransform>,
    /// The type of the sink, for reports.
    pub sink_type: String,
    /// Where rows go.
    pub sink: Box<dyn Sink>,
    /// How to run it.
    pub options: RunOptions,
}

impl Pipeline {
    /// Returns where the rows go.
    pub fn destination(&self) -> Destination {
        self.sink.destination(&self.source.info().dataset.kind)
    }

    /// Returns things a person should know before a run.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.source.info().warnings;
        let transforms = self.transforms.iter();
        warnings.extend(transforms.flat_map(|named| named.transform.warnings()));
        warnings
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.name)
            .field("source", &self.source_type)
            .field("transforms", &self.transforms.len())
            .field("sink", &self.sink_type)
            .field("options", &self.options)
            .finish()
    }
}

/// How to run a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The number of threads that read.
    pub workers: NonZeroUsize,
    /// What happens when a partition fails for good.
    pub on_failure: OnFailure,
    /// When rows may leave a unit; `None` lets the engine choose.
    pub delivery: Option<Delivery>,
    /// Fewer rows than this fail the run.
    pub min_rows: u64,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            workers: NonZeroUsize::MIN,
            on_failure: OnFailure::Abort,
            delivery: None,
            min_rows: 0,
        }
    }
}

/// What happens when a partition fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The rest is cancelled and nothing becomes visible.
    Abort,
    /// The others go on; the commit holds them and names the missing ones.
    Keep,
}

/// What a run is given from outside.
pub struct RunSetup<'a> {
    /// The run, unique among runs.
    pub run_id: String,
    /// Ends the run when it is cancelled.
    pub cancel: CancelToken,
    /// Hears how the run goes on.
    pub observer: &'a mut dyn Observer,
    /// Keeps the records that cannot be read.
    pub rejects: Box<dyn RejectLog>,
    /// Called before anything is looked at, such as to lock the destination;
    /// what it returns is held to the end of the run.
    pub hold: Option<Hold<'a>>,
    /// How long to wait for a destination that somebody else has when the first
    /// rows are there.
    pub patience: Duration,
    /// How long to wait for one that somebody else has when the run starts, such
    /// as a program that writes to it.
    pub patience_at_start: Duration,
    /// Batches that may wait for the sink; `None` is two more than workers.
    pub queue: Option<NonZeroUsize>,
    /// The units to read, of this source's dataset; `None` is what the source
    /// plans.
    pub units: Option<Vec<Unit>>,
}

/// Gets what a run holds to its end. May block until the token is cancelled.
pub type Hold<'a> = Box<dyn FnOnce(&CancelToken) -> Result<Box<dyn Any>> + 'a>;

/// How a run ended.
enum Ending {
    Committed { rows: u64, partial: bool },
    Stopped { rows: u64 },
    Aborted { error: Error, residue: Residue },
}

impl Ending {
    /// Returns the end of a run that has not begun to write.
    fn nothing_done(error: Error) -> Ending {
        Ending::Aborted {
            error,
            residue: Residue::None,
        }
    }

    /// Returns why another attempt is to be made, if one is.
    fn voids_plan(&self) -> Option<&Error> {
        match self {
            Ending::Aborted {
                error,
                residue: Residue::None,
            } if error.is_plan_void() => Some(error),
            _ => None,
        }
    }
}

/// Runs `pipeline` to its end. Never fails: every end is a report.
///
/// Blocks until then. When `setup.cancel` is cancelled, every wait ends at once
/// and so, within half a second, does this call.
pub fn run(pipeline: &Pipeline, mut setup: RunSetup<'_>) -> RunReport {
    let hold = setup.hold.take();
    let mut run = Run::new(pipeline, setup);
    let held = hold.map(|hold| contained("the lock", || hold(&run.cx.cancel)));
    // What is held is held until the report is made.
    let (ending, _held) = match held.transpose() {
        Ok(held) => (run.go(), held),
        Err(error) => (Ending::nothing_done(error), None),
    };
    run.report(ending)
}

/// What a run's attempts have in common.
struct Run<'r, 'o> {
    pipeline: &'r Pipeline,
    cx: RunContext,
    txn_cx: TxnContext,
    books: Books<'o>,
    patience: Duration,
    patience_at_start: Duration,
    queue: Option<NonZeroUsize>,
    units: Option<Vec<Unit>>,
}

impl<'r, 'o> Run<'r, 'o> {
    fn new(pipeline: &'r Pipeline, setup: RunSetup<'o>) -> Run<'r, 'o> {
        let mut txn_cx = txn_context(pipeline, setup.run_id, setup.cancel.clone());
        if let Some(units) = &setup.units {
            narrow(&mut txn_cx, units);
        }
        let counters = Arc::new(Counters::default());
        let rejects = Rejects::new(setup.rejects, pipeline.source.max_rejects());
        let (notices, notices_out) = crossbeam::channel::unbounded();
        let books = Books::new(setup.observer, notices_out, Arc::clone(&counters), rejects);
        let cx = RunContext {
            cancel: setup.cancel,
            delivery: delivery(pipeline),
            counters,
            notices,
            rejects: Arc::clone(&books.rejects),
            stand_ins: StandIns::default(),
        };
        Run {
            pipeline,
            cx,
            txn_cx,
            books,
            patience: setup.patience,
            patience_at_start: setup.patience_at_start,
            queue: setup.queue,
            units: setup.units,
        }
    }

    /// Makes an attempt, and another one if its plan became void.
    fn go(&mut self) -> Ending {
        for warning in self.pipeline.warnings() {
            self.books.warn(warning);
        }
        let transforms = match self.prepare() {
            Ok(transforms) => transforms,
            Err(error) => return Ending::nothing_done(error),
        };
        let ending = self.attempt(&transforms, true);
        let Some(error) = ending.voids_plan() else {
            return ending;
        };
        let why = error.in_a_line();
        self.books.warn(format!("{why}; the run starts over"));
        if let Err(error) = self.books.start_over() {
            return Ending::nothing_done(error);
        }
        self.cx.rejects = Arc::clone(&self.books.rejects);
        self.attempt(&transforms, false)
    }

    /// Opens the transforms. They say how ids are made, and what the rows must
    /// share with those that are there.
    fn prepare(&mut self) -> Result<Arc<[OpenTransform]>> {
        check_delivery(self.pipeline.options.delivery, &*self.pipeline.sink)?;
        let transforms = open(self.pipeline, &self.cx)?;
        self.cx.stand_ins = stand_ins_for(&transforms);
        let mut provenance = Provenance::default();
        for transform in transforms.iter() {
            transform.session.provenance(&mut provenance);
        }
        self.txn_cx.source.provenance = Some(provenance);
        Ok(transforms)
    }

    fn attempt(&mut self, transforms: &Arc<[OpenTransform]>, is_first: bool) -> Ending {
        // Everything that reads is cancelled by its own guard, which goes when
        // the attempt ends for whatever reason, or from outside.
        let (guard, cancel) = self.cx.cancel.child();
        let writer = Writer::new(&*self.pipeline.sink, self.txn_cx.clone(), self.patience);
        if let Err(error) = writer.preview(self.patience_at_start, &mut self.books) {
            return Ending::nothing_done(error);
        }
        let attempt = Attempt {
            pipeline: self.pipeline,
            cx: RunContext {
                cancel,
                ..self.cx.clone()
            },
            transforms: Arc::clone(transforms),
            writer,
            books: &mut self.books,
            queue: self.queue,
            may_start_over: is_first,
        };
        attempt.make(self.units.as_deref(), guard)
    }

    /// Closes the books. A run that ended before it had a plan names the units
    /// that it was to read, as far as they are known.
    fn report(mut self, ending: Ending) -> RunReport {
        if self.books.totals.slots.is_empty() {
            let outlined = || self.pipeline.source.outline().units;
            self.books
                .enter(&self.units.take().unwrap_or_else(outlined));
        }
        self.books.report(self.pipeline, &self.txn_cx, ending)
    }
}

/// Narrows what a transaction is told of the source to `units`.
fn narrow(cx: &mut TxnContext, units: &[Unit]) {
    let days = || {
        units.iter().filter_map(|unit| match unit.extent {
            Extent::Days(days) => Some(days),
            Extent::Page(_) | Extent::Whole => None,
        })
    };
    if let (Some(first), Some(last)) = (
        days().map(|days| days.first).min(),
        days().map(|days| days.last).max(),
    ) {
        cx.source.from_date = Some(first);
        cx.source.to_date = Some(last);
    }
}

/// Returns what becomes of what a session has read.
fn fate_of(ending: &Ending) -> Fate {
    let Ending::Aborted { error, .. } = ending else {
        return Fate::Committed;
    };
    // Whoever has mended the destination wants to write it again.
    if error.is_in_doubt() {
        return Fate::Unfinished;
    }
    match error.kind() {
        ErrorKind::Auth
        | ErrorKind::Quota
        | ErrorKind::Destination
        | ErrorKind::TableExists
        | ErrorKind::TableNotFound
        | ErrorKind::Locked
        | ErrorKind::Request
        | ErrorKind::Query
        | ErrorKind::Network
        | ErrorKind::Incomplete
        | ErrorKind::Io
        | ErrorKind::Interrupted => Fate::Unfinished,
        ErrorKind::Config
        | ErrorKind::Data
        | ErrorKind::Closed
        | ErrorKind::Panic
        | ErrorKind::Other => Fate::Refused,
    }
}

/// Says what a run would do to the destination. Changes nothing.
pub fn preview(pipeline: &Pipeline, run_id: String) -> Result<Preview> {
    let cx = txn_context(pipeline, run_id, CancelToken::never());
    contained("the sink", || pipeline.sink.preview(&cx))
}

fn txn_context(pipeline: &Pipeline, run_id: String, cancel: CancelToken) -> TxnContext {
    let schema = pipeline
        .transforms
        .last()
        .map_or_else(|| pipeline.source.schema(), |last| last.transform.schema());
    TxnContext {
        run_id,
        schema,
        source: pipeline.source.info(),
        started_at: Timestamp::now(),
        cancel,
    }
}

/// Returns when rows may leave a unit of this pipeline.
///
/// A sink that is not transactional cannot take anything back anyway, so with
/// one worker rows flow straight through unless told otherwise.
pub fn delivery(pipeline: &Pipeline) -> Delivery {
    let transactional = pipeline.sink.capabilities().transactional;
    let alone = pipeline.options.workers.get() == 1;
    let by_default = if !transactional && alone {
        Delivery::Direct
    } else {
        Delivery::Verified
    };
    pipeline.options.delivery.unwrap_or(by_default)
}

/// Fails if rows are to go straight into a transaction: a retry would bring
/// them twice, so `direct` is for sinks that cannot promise anything.
pub(crate) fn check_delivery(delivery: Option<Delivery>, sink: &dyn Sink) -> Result<()> {
    if delivery == Some(Delivery::Direct) && sink.capabilities().transactional {
        return Err(Error::new(
            ErrorKind::Config,
            "`direct` is for a sink that cannot take rows back, and this one can",
        )
        .hint("leave `delivery` out"));
    }
    Ok(())
}

/// Opens the transforms of a run.
fn open(pipeline: &Pipeline, cx: &RunContext) -> Result<Arc<[OpenTransform]>> {
    let opened = pipeline.transforms.iter().map(|named| {
        let what = format!("the transform `{}`", named.kind);
        contained(&what, || named.open(cx))
    });
    opened.collect()
}

/// Calls a component and turns its panic into an error.
fn contained<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panicked(what, &*payload).fatal()),
    }
}

/// Tells a sink apart from its reader having gone away.
fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}
