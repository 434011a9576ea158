//! Runs a pipeline: source → transforms → sink.
//!
//! Worker threads read partitions, transform their batches and send them
//! through one bounded channel to the dispatcher, which runs on the caller's
//! thread and alone owns the transaction, the counters and the observer.
//! Sequential and parallel are the same code with one worker or several.

mod dispatch;
mod room;
mod worker;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;

use crate::cancel::CancelToken;
use crate::context::{Counters, Delivery, Tally, TaskContext};
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::fit::Provenance;
use crate::observer::Observer;
use crate::reject::{RejectLog, Rejects};
use crate::report::{PartitionReport, PartitionStatus, RunReport, Status};
use crate::sink::{Preview, Residue, Sink, TxnContext};
use crate::source::{Plan, Source};
use crate::stand_in::StandIns;
use crate::transform::{NamedTransform, OpenTransform};
use dispatch::{Dispatcher, Ending, SinkState, Sums, Told};

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
        self.sink.destination(&self.source.info().data_type)
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
    /// When rows may leave a partition; `None` lets the engine choose.
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
pub struct RunContext<'a> {
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
}

/// Gets what a run holds to its end. May block until the token is cancelled.
pub type Hold<'a> = Box<dyn FnOnce(&CancelToken) -> Result<Box<dyn Any>> + 'a>;

/// Runs `pipeline` to its end. Never fails: every end is a report.
///
/// Blocks until then. When `cx.cancel` is cancelled, every wait ends at once
/// and so, within half a second, does this call.
pub fn run(pipeline: &Pipeline, cx: RunContext<'_>) -> RunReport {
    let started = Instant::now();
    let txn_cx = txn_context(pipeline, cx.run_id, cx.cancel.clone());
    let (info, started_at) = (txn_cx.source.clone(), txn_cx.started_at);
    let counters = Arc::new(Counters::default());
    let rejects = Arc::new(Rejects::new(cx.rejects, pipeline.source.max_rejects()));
    let (notices, notices_out) = crossbeam::channel::unbounded();
    let mut told = Told::default();
    let mut sums = Sums::default();
    let mut transforms = None;
    let mut started_over = false;
    let held = match cx.hold {
        Some(hold) => contained("the lock", || hold(&cx.cancel)).map(Some),
        None => Ok(None),
    };
    let (ending, slots) = loop {
        if let Err(error) = held {
            let ending = Ending::Aborted {
                error,
                residue: Residue::None,
            };
            break (ending, Vec::new());
        }
        // Everything that reads is cancelled by its own guard, which goes when
        // the run ends for whatever reason, or from outside.
        let (guard, cancel) = cx.cancel.child();
        let task = TaskContext {
            cancel,
            delivery: delivery(pipeline),
            counters: Arc::clone(&counters),
            attempts: Arc::default(),
            rejected: Arc::default(),
            tally: Arc::default(),
            notices: notices.clone(),
            rejects: Arc::clone(&rejects),
            stand_ins: StandIns::default(),
        };
        let mut dispatcher = Dispatcher {
            pipeline,
            txn_cx: txn_cx.clone(),
            task,
            observer: &mut *cx.observer,
            notices: notices_out.clone(),
            started,
            patience: cx.patience,
            patience_at_start: cx.patience_at_start,
            queue: cx.queue,
            slots: Vec::new(),
            told: std::mem::take(&mut told),
            rows: 0,
            given: 0,
            tally: Tally::default(),
            done: 0,
            read: 0,
            expected_rows: None,
            may_start_over: !started_over,
            txn: None,
            sink_state: SinkState::default(),
            commit_tried: false,
        };
        if !started_over {
            for warning in pipeline.warnings() {
                dispatcher.warn(warning);
            }
        }
        let ending = execute(&mut dispatcher, guard, &mut transforms);
        dispatcher.drain_notices();
        let again = match &ending {
            Ending::Aborted {
                error,
                residue: Residue::None,
            } if error.is_plan_void() && !started_over => {
                dispatcher.warn(format!("{}; the run starts over", error.in_a_line()));
                true
            }
            _ => false,
        };
        if !again {
            sums = dispatcher.sum_up();
        }
        let slots = dispatcher.slots;
        told = dispatcher.told;
        if !again {
            break (ending, slots);
        }
        rejects.start_over();
        started_over = true;
    };
    let reject_file = contained("the reject log", || rejects.finish());
    let Told {
        mut warnings,
        waits,
        reused,
    } = told;
    let reject_file = reject_file.unwrap_or_else(|error| {
        warnings.push(format!(
            "the reject file may be incomplete: {}",
            error.in_a_line()
        ));
        None
    });
    let destination = pipeline.destination();
    let mut report = RunReport {
        run_id: txn_cx.run_id.clone(),
        only_failed_of: None,
        pipeline: pipeline.name.clone(),
        source: pipeline.source_type.clone(),
        sink: pipeline.sink_type.clone(),
        table: destination.table.clone(),
        destination,
        data_type: info.data_type,
        status: Status::Aborted,
        row_count: 0,
        read: sums.read,
        dropped: sums.dropped,
        rejected: rejects.count(),
        reject_file: reject_file.filter(|_| rejects.count() > 0),
        duplicates: sums.duplicates,
        bytes_received: counters.bytes.load(std::sync::atomic::Ordering::Relaxed),
        requests: counters.requests.load(std::sync::atomic::Ordering::Relaxed),
        retries: counters.retries.load(std::sync::atomic::Ordering::Relaxed),
        from_date: info.from_date,
        to_date: info.to_date,
        started_at,
        duration_seconds: 0.0,
        completed_at: Timestamp::default(),
        reused_partitions: reused,
        waits,
        partitions: Vec::with_capacity(slots.len()),
        failed_partitions: Vec::new(),
        warnings,
        residue: Residue::None,
        error: None,
    };
    for slot in slots {
        if slot.status == PartitionStatus::Failed {
            report.failed_partitions.push(slot.info.label.clone());
        }
        report.partitions.push(PartitionReport {
            timing: slot.timing(),
            rows_by_event: slot.rows_by_event,
            label: slot.info.label,
            status: slot.status,
            rows: slot.rows,
            read: slot.read,
            dropped: slot.dropped,
            attempts: slot.attempts,
            error: slot.error,
        });
    }
    match ending {
        Ending::Committed { rows, partial } => {
            report.row_count = rows;
            report.status = match partial {
                true => Status::Partial,
                false => Status::Committed,
            };
        }
        Ending::Stopped { rows } => {
            report.row_count = rows;
            report.status = Status::Stopped;
        }
        Ending::Aborted { error, residue } => {
            if let Residue::Rows(rows) = residue {
                report.row_count = rows;
            }
            report.residue = residue;
            report.error = Some(error);
        }
    }
    if !is_of_use_to_the_next_run(&report) {
        let released = contained("the source", || {
            pipeline.source.release();
            Ok(())
        });
        if let Err(error) = released {
            report.warnings.push(error.in_a_line());
        }
    }
    report.duration_seconds = started.elapsed().as_secs_f64();
    report.completed_at = Timestamp::now();
    report
}

/// Whether the next run can go on with what this one has read.
///
/// Not if it is where it should be, nor if it was refused: the next run is to
/// see whether the server has something better by then.
fn is_of_use_to_the_next_run(report: &RunReport) -> bool {
    // Whoever has mended the destination wants to write it again.
    if report.error.as_ref().is_some_and(Error::is_in_doubt) {
        return true;
    }
    match report.error_kind() {
        None => false,
        Some(
            ErrorKind::Auth
            | ErrorKind::Quota
            | ErrorKind::Destination
            | ErrorKind::Request
            | ErrorKind::Network
            | ErrorKind::Incomplete
            | ErrorKind::Io
            | ErrorKind::Interrupted,
        ) => true,
        Some(
            ErrorKind::Config
            | ErrorKind::Data
            | ErrorKind::Closed
            | ErrorKind::Panic
            | ErrorKind::Other,
        ) => false,
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

/// Returns when rows may leave a partition of this pipeline.
///
/// A sink that is not transactional cannot take anything back anyway, so with
/// one worker rows flow straight through unless told otherwise.
pub fn delivery(pipeline: &Pipeline) -> Delivery {
    let transactional = pipeline.sink.capabilities().transactional;
    match pipeline.options.delivery {
        // A retry may not reach a transaction twice, so `direct` is for
        // sinks that cannot promise anything.
        Some(Delivery::Direct) if transactional => Delivery::Verified,
        Some(delivery) => delivery,
        None if !transactional && pipeline.options.workers.get() == 1 => Delivery::Direct,
        None => Delivery::Verified,
    }
}

fn execute(
    dispatcher: &mut Dispatcher<'_, '_>,
    guard: crate::cancel::CancelGuard,
    transforms: &mut Option<Arc<[OpenTransform]>>,
) -> Ending {
    let (transforms, plan) = match prepare(dispatcher, transforms) {
        Ok(prepared) => prepared,
        Err(error) => {
            return Ending::Aborted {
                error,
                residue: Residue::None,
            };
        }
    };
    let mut crew = worker::Crew::new(
        &dispatcher.task,
        &transforms,
        &dispatcher.pipeline.options,
        &plan,
        dispatcher.queue,
    );
    dispatcher.planned(&plan, crew.size());
    let outcome = dispatcher.dispatch(plan, &mut crew);
    // The guard first: it wakes every worker, so that none waits for a
    // dispatcher that no longer listens.
    match outcome {
        Ok(()) => {
            drop(crew);
            let ending = dispatcher.finish();
            drop(guard);
            ending
        }
        Err(error) => {
            drop(guard);
            let ending = dispatcher.give_up(error);
            crew.disband();
            ending
        }
    }
}

/// Everything that must be right before the first rows are asked for.
///
/// `transforms` are those that are open already, when the run starts over.
fn prepare(
    dispatcher: &mut Dispatcher<'_, '_>,
    transforms: &mut Option<Arc<[OpenTransform]>>,
) -> Result<(Arc<[OpenTransform]>, Plan)> {
    let transforms = match transforms {
        Some(transforms) => Arc::clone(transforms),
        None => Arc::clone(transforms.insert(open(dispatcher.pipeline, &dispatcher.task)?)),
    };
    dispatcher.task.stand_ins = StandIns::chosen(&transforms);
    let mut provenance = Provenance::default();
    for transform in transforms.iter() {
        transform.session.provenance(&mut provenance);
    }
    dispatcher.txn_cx.source.provenance = Some(provenance);
    dispatcher.preview()?;
    let plan = dispatcher.plan()?;
    dispatcher.task.cancel.check()?;
    Ok((transforms, plan))
}

/// Opens the transforms of a run.
fn open(pipeline: &Pipeline, task: &TaskContext) -> Result<Arc<[OpenTransform]>> {
    let opened = pipeline.transforms.iter().map(|named| {
        let what = format!("the transform `{}`", named.kind);
        contained(&what, || named.open(task))
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

/// Returns the number of threads for a plan, and a warning if it was capped.
fn workers(options: &RunOptions, plan: &Plan) -> (usize, Option<String>) {
    let wanted = options.workers.get();
    let allowed = plan.max_workers.map_or(wanted, NonZeroUsize::get);
    let warning = (wanted > allowed).then(|| {
        format!("{wanted} workers were asked for; the source allows {allowed} at once, so {allowed} are used")
    });
    let useful = plan.partitions.len().max(1);
    (wanted.min(allowed).min(useful), warning)
}

/// Returns the error of a run in which no partition succeeded.
fn nothing_succeeded(first: Option<Error>) -> Error {
    first.unwrap_or_else(|| Error::new(ErrorKind::Other, "no partition could be read"))
}

/// Tells a sink apart from its reader having gone away.
fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}
