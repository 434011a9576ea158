//! Runs a pipeline: source → transforms → sinks.
//!
//! A run is an attempt (`attempt`) at it: the source plans, worker threads read its
//! units, transform their batches and send them through one bounded channel to
//! the caller's thread, which alone owns the transactions (the `writers`, a
//! `writer` for each sink) and what is counted and told (the `books`). A plan
//! that becomes void is attempted once more. Sequential and parallel are the
//! same code with one worker or several.

mod attempt;
mod backlog;
mod books;
mod ending;
mod late;
mod order;
mod pipeline;
mod planning;
mod probe;
mod room;
mod row_file;
mod screen;
mod sinks;
mod worker;
mod writer;
mod writers;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cancel::CancelToken;
use crate::context::{Counters, Delivery, RunContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Calendar, Held, LedgerStore};
use crate::observer::Observer;
use crate::reject::{RejectLog, Rejects};
use crate::report::RunReport;
use crate::sink::{Preview, TxnContext};
use crate::source::Unit;
use crate::stand_in::StandIns;
use crate::transform::{OpenTransform, stand_ins_for};
use attempt::{Attempt, Fixing};
use books::Books;
use ending::{Ending, contained};
use late::{Late, schema_without_rows};
use writers::Writers;

pub use pipeline::{OnFailure, Pipeline, RunOptions};
pub use planning::plan;
pub use probe::probe;
pub use sinks::{NamedSink, Sinks};

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
    /// Requests that the run may make, tries included; `None` is any number. A
    /// unit that would need more has failed.
    pub most_requests: Option<u64>,
    /// A folder where rows may wait, in files without a name.
    pub scratch: PathBuf,
    /// Keeps the ledgers of destinations whose sinks keep none.
    pub ledgers: Option<&'a dyn LedgerStore>,
}

/// Gets what a run holds to its end. May block until the token is cancelled.
pub type Hold<'a> = Box<dyn FnOnce(&CancelToken) -> Result<Box<dyn Any>> + 'a>;

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
    ledgers: Option<&'r dyn LedgerStore>,
    scratch: PathBuf,
}

impl<'r, 'o> Run<'r, 'o> {
    fn new<'s: 'r + 'o>(pipeline: &'r Pipeline, setup: RunSetup<'s>) -> Run<'r, 'o> {
        let mut txn_cx = txn_context(pipeline, setup.run_id, setup.cancel.clone());
        if let Some(units) = &setup.units {
            txn_cx.source.narrow(units);
        }
        let counters = Arc::new(Counters::default());
        let rejects = Rejects::new(setup.rejects, pipeline.source.max_rejects());
        let (notices, notices_out) = crossbeam::channel::unbounded();
        let books = Books::new(setup.observer, notices_out, Arc::clone(&counters), rejects);
        let cx = RunContext {
            cancel: setup.cancel,
            delivery: delivery(pipeline),
            held: Held::default(),
            workers: pipeline.options.workers,
            most_requests: setup.most_requests,
            // One alone is for others to put together with the rest.
            keeps_ids: matches!(setup.units.as_deref(), Some([_])),
            zone: zone(&txn_cx.source.dataset.zone),
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
            ledgers: setup.ledgers,
            scratch: setup.scratch,
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
        check_delivery(self.pipeline.options.delivery, &self.pipeline.sinks)?;
        let transforms = open(self.pipeline, &self.cx)?;
        self.cx.stand_ins = stand_ins_for(&transforms);
        // Of rows that were transformed elsewhere the source knows it.
        let mut provenance = self.txn_cx.source.provenance.take().unwrap_or_default();
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
        let mut writers = Writers::new(&self.pipeline.sinks, &self.txn_cx, self.patience);
        let late = match self.late(&mut writers) {
            Ok(late) => late.map(Arc::new),
            Err(error) => return Ending::nothing_done(error),
        };
        let held = match self.look_at(&mut writers) {
            Ok(held) => held,
            Err(error) => return Ending::nothing_done(error),
        };
        let attempt = Attempt {
            pipeline: self.pipeline,
            cx: RunContext {
                cancel,
                held,
                ..self.cx.clone()
            },
            transforms: Arc::clone(transforms),
            late: late.map(Fixing::new),
            writers,
            books: &mut self.books,
            queue: self.queue,
            may_start_over: is_first,
        };
        attempt.make(self.units.as_deref(), guard)
    }

    /// Asks the destinations for their columns, if those of the rows go by them,
    /// and has the rows come in these until they are fixed.
    fn late(&mut self, writers: &mut Writers<'r>) -> Result<Option<Late>> {
        let (_, Some((kind, columns))) = self.pipeline.stages() else {
            return Ok(None);
        };
        let existing = writers.existing(self.patience_at_start, &mut self.books)?;
        let late = Late::new(kind, columns, existing, &self.cx, self.scratch.clone());
        writers.set_schema(&late.schema_without_rows()?, &mut self.books)?;
        Ok(Some(late))
    }

    /// Looks at the destinations, takes them, and returns what they hold already.
    fn look_at(&mut self, writers: &mut Writers<'r>) -> Result<Held> {
        let (patience, books) = (self.patience_at_start, &mut self.books);
        writers.preview(patience, books)?;
        writers.reserve(patience, books)?;
        let calendar = self.txn_cx.source.calendar.as_ref();
        let is_planned_by = |calendar: &&Calendar| calendar.catches_up && self.units.is_none();
        let calendar = calendar.filter(is_planned_by);
        writers.held(patience, self.ledgers, calendar, books)
    }

    /// Closes the books. A run that ended before it had a plan names the units
    /// that it was to read, as far as they are known.
    fn report(mut self, ending: Ending) -> RunReport {
        if self.books.totals.slots.is_empty() {
            let outlined = || self.pipeline.source.outline(&Held::default()).units;
            self.books
                .enter(&self.units.take().unwrap_or_else(outlined));
        }
        let units = self.books.totals.slots.iter();
        let units = units.filter_map(|slot| slot.unit.as_ref());
        self.txn_cx.source.narrow(units);
        self.books.report(self.pipeline, &self.txn_cx, ending)
    }
}

/// Says what a run would do to the destinations. Changes nothing.
pub fn preview(pipeline: &Pipeline, run_id: String) -> Result<Preview> {
    let mut cx = txn_context(pipeline, run_id, CancelToken::never());
    if let (_, Some((_, columns))) = pipeline.stages() {
        let sinks = pipeline.sinks.iter();
        let existing = sinks.map(|named| contained("the sink", || named.sink.existing(&cx)));
        let existing: Vec<_> = existing.collect::<Result<_>>()?;
        cx.schema = schema_without_rows(&*columns, &existing)?;
    }
    let mut preview = Preview::default();
    for named in pipeline.sinks.iter() {
        let one = contained("the sink", || named.sink.preview(&cx))?;
        preview.actions.extend(one.actions);
    }
    Ok(preview)
}

/// Returns the zone of a name that a source has checked; UTC if it is none.
fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
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
        started_at: crate::clock::now(),
        cancel,
    }
}

/// Returns when rows may leave a unit of this pipeline.
///
/// Sinks that are not transactional cannot take anything back anyway, so with
/// one worker rows flow straight through unless told otherwise, or unless the
/// source keeps bodies, which it does when they are whole.
pub fn delivery(pipeline: &Pipeline) -> Delivery {
    let transactional = pipeline.sinks.is_any_transactional();
    let alone = pipeline.options.workers.get() == 1;
    let keeps_bodies = pipeline.source.archive().is_some();
    let by_default = if !transactional && alone && !keeps_bodies {
        Delivery::Direct
    } else {
        Delivery::Verified
    };
    pipeline.options.delivery.unwrap_or(by_default)
}

/// Fails if rows are to go straight into a transaction: a retry would bring
/// them twice, so `direct` is for sinks that cannot promise anything.
pub(crate) fn check_delivery(delivery: Option<Delivery>, sinks: &Sinks) -> Result<()> {
    if delivery == Some(Delivery::Direct) && sinks.is_any_transactional() {
        return Err(Error::new(
            ErrorKind::Config,
            "`direct` is for a sink that cannot take rows back, and this one can",
        )
        .hint("leave `delivery` out"));
    }
    Ok(())
}

/// Says that a transform stands in the wrong place.
pub(crate) fn must_be_last(kind: &str) -> String {
    format!(
        "the columns of this `{kind}` are known only when rows are there, so no other transform can stand behind it: make it the last one"
    )
}

/// Opens the transforms of a run, but the one whose columns go by the rows.
fn open(pipeline: &Pipeline, cx: &RunContext) -> Result<Arc<[OpenTransform]>> {
    let (transforms, _) = pipeline.stages();
    let hidden = transforms.iter().find(|t| t.transform.late().is_some());
    if let Some(named) = hidden {
        return Err(Error::new(ErrorKind::Config, must_be_last(&named.kind)));
    }
    let opened = transforms.iter().map(|named| {
        let what = format!("the transform `{}`", named.kind);
        contained(&what, || named.open(cx))
    });
    opened.collect()
}
