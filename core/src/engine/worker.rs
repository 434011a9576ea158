//! The threads that read units.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::AsArray as _;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use crossbeam::channel::{self, Receiver, Sender};
use jiff::Timestamp;

use super::ending::contained;
use super::late::Late;
use super::pipeline::{OnFailure, Pipeline, RunOptions};
use super::room::{Door, Place, Room};
use super::screen::Screen;
use crate::batch::PartitionId;
use crate::carried::Carried;
use crate::context::{RunContext, Tally, UnitContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::UnitFacts;
use crate::roles::ColumnRoles;
use crate::sink::RowCheck;
use crate::source::{BatchIter, Plan, Session, Unit};
use crate::stand_in;
use crate::transform::{OpenTransform, settled_after};
use crate::whole_file::WholeFile;

/// How long a run that ends early waits for its threads.
///
/// They end by themselves, at once unless they are inside a system call that
/// nothing can wake, such as a name look-up. Those are left behind.
const GRACE: Duration = Duration::from_millis(500);

/// A unit on its way to a worker.
pub(super) struct Work {
    pub(super) id: PartitionId,
    pub(super) unit: Unit,
    /// The file that the sink takes in the place of the rows.
    pub(super) file: Option<Box<WholeFile>>,
}

/// What workers send to the dispatcher.
pub(super) enum Message {
    Begin {
        id: PartitionId,
        worker: usize,
    },
    Batch {
        id: PartitionId,
        records: RecordBatch,
        place: Place,
    },
    /// The file that the unit came with is whole.
    File {
        id: PartitionId,
        file: Box<WholeFile>,
    },
    Done {
        id: PartitionId,
        attempts: u32,
        spent: Spent,
        counts: Box<Counts>,
        result: Result<()>,
    },
}

impl Message {
    /// Returns the position of the unit whose rows, or whose end, this is.
    pub(super) fn writes_to(&self) -> Option<usize> {
        match self {
            Message::Begin { .. } => None,
            Message::Batch { id, .. } | Message::File { id, .. } | Message::Done { id, .. } => {
                Some(id.index())
            }
        }
    }

    /// Returns whether the unit is through.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Message::Done { .. })
    }
}

/// What a worker has counted of a unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Rows that the source gave, before any transform.
    pub(super) given: u64,
    pub(super) rows_by_event: BTreeMap<String, u64>,
    pub(super) tally: Tally,
    /// Records that cannot be read.
    pub(super) rejected: u64,
    pub(super) facts: UnitFacts,
    /// When a worker began to read it; none if its turn did not come.
    pub(super) started_at: Option<Timestamp>,
    /// What was counted of it elsewhere, if it was read there.
    pub(super) carried: Option<Box<Carried>>,
}

/// Where a worker's time went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) fetch: Duration,
    pub(super) decode: Duration,
    pub(super) queue: Duration,
}

/// The threads of a run and the channels to them.
pub(super) struct Crew {
    size: usize,
    pub(super) warning: Option<String>,
    work: Option<Sender<Work>>,
    pub(super) messages: Receiver<Message>,
    pub(super) room: Arc<Room>,
    /// Disconnected when the last thread has ended.
    ended: Receiver<()>,
}

impl Crew {
    /// Starts the threads, of which there are no more than are of use.
    pub(super) fn new(
        cx: &RunContext,
        session: &Arc<dyn Session>,
        (transforms, late): (&Arc<[OpenTransform]>, Option<&Arc<Late>>),
        pipeline: &Pipeline,
        plan: &Plan,
        queue: Option<NonZeroUsize>,
    ) -> Crew {
        let (size, warning) = workers(&pipeline.options, plan);
        let roles = pipeline.source.info().roles;
        let checks: Arc<[_]> = pipeline
            .sinks
            .iter()
            .filter_map(|named| named.sink.row_check())
            .collect();
        let (work, work_out) = channel::unbounded();
        let (messages_in, messages) = channel::bounded(queue.map_or(size + 2, NonZeroUsize::get));
        let (alive, ended) = channel::bounded(0);
        let (room, doors) = Room::new(size, plan.ordered);
        for (n, door) in doors.into_iter().enumerate() {
            let worker = Worker {
                number: n,
                work: work_out.clone(),
                messages: messages_in.clone(),
                door,
                cx: cx.clone(),
                session: Arc::clone(session),
                transforms: Arc::clone(transforms),
                late: late.map(Arc::clone),
                checks: Arc::clone(&checks),
                roles,
                on_failure: pipeline.options.on_failure,
            };
            let alive = alive.clone();
            let body = move || {
                worker.serve();
                drop(worker);
                drop(alive);
            };
            let spawned = std::thread::Builder::new()
                .name(format!("mixflow-worker-{n}"))
                .spawn(body);
            if let Err(error) = spawned {
                // Fewer threads do the same work; without any, the messages
                // are disconnected and the run says so.
                log::warn!("cannot start worker {n}: {error}");
            }
        }
        Crew {
            size,
            warning,
            work: Some(work),
            messages,
            room,
            ended,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn give(&self, work: Work) {
        if let Some(sender) = &self.work {
            // The receivers are gone only when every worker has ended, which
            // the dispatcher sees as disconnected messages.
            let _ = sender.send(work);
        }
    }

    /// Tells the workers that there is no more work.
    pub(super) fn no_more_work(&mut self) {
        self.work = None;
    }

    /// Waits a moment for the threads to end, having been cancelled.
    pub(super) fn disband(mut self) {
        self.no_more_work();
        drop(self.messages);
        let _ = self.ended.recv_timeout(GRACE);
    }
}

/// Returns the number of threads for a plan, and a warning if it was capped.
fn workers(options: &RunOptions, plan: &Plan) -> (usize, Option<String>) {
    let wanted = options.workers.get();
    let allowed = plan.max_workers.map_or(wanted, NonZeroUsize::get);
    let warning = (wanted > allowed).then(|| {
        format!("{wanted} workers were asked for; the source allows {allowed} at once, so {allowed} are used")
    });
    let useful = plan.units.len().max(1);
    (wanted.min(allowed).min(useful), warning)
}

/// One thread.
struct Worker {
    number: usize,
    work: Receiver<Work>,
    messages: Sender<Message>,
    door: Door,
    cx: RunContext,
    session: Arc<dyn Session>,
    transforms: Arc<[OpenTransform]>,
    /// The last transform, if its columns go by the rows.
    late: Option<Arc<Late>>,
    /// What the sinks refuse.
    checks: Arc<[Arc<dyn RowCheck>]>,
    /// What the columns are for that rows are counted by.
    roles: Option<ColumnRoles>,
    on_failure: OnFailure,
}

impl Worker {
    /// Reads units until there are none, or the run is to end.
    fn serve(&self) {
        while let Some(work) = self.cx.cancel.recv(&self.work) {
            let begin = Message::Begin {
                id: work.id,
                worker: self.number,
            };
            if self.cx.cancel.send(&self.messages, begin).is_err() {
                return;
            }
            let done = self.read_whole(&work);
            // The run will be ended for this; until it is, no request is to be
            // made that nobody needs.
            let ends_the_run = self.ends_the_run(&done);
            if self.cx.cancel.send(&self.messages, done).is_err() || ends_the_run {
                return;
            }
        }
    }

    fn ends_the_run(&self, done: &Message) -> bool {
        let Message::Done {
            result: Err(error), ..
        } = done
        else {
            return false;
        };
        self.on_failure == OnFailure::Abort || error.is_fatal()
    }

    /// Reads a unit to its end, whatever that is.
    fn read_whole(&self, work: &Work) -> Message {
        let mut cx = self.cx.unit_of(&work.unit.extent);
        let mut spent = Spent::default();
        let mut counts = Counts {
            started_at: Some(crate::clock::now()),
            ..Counts::default()
        };
        let what = format!("partition `{}`", work.unit.label);
        let result = contained(&what, || match &work.file {
            Some(file) => self.check_file(work, file, &cx, &mut spent),
            None => self.read(work, &cx, &mut spent, &mut counts),
        });
        if let Some(late) = &self.late {
            late.ended(work.id);
        }
        counts.tally = std::mem::take(&mut *cx.tally());
        counts.facts = std::mem::take(&mut *cx.facts());
        counts.rejected = cx.rejected.load(Ordering::Relaxed);
        counts.carried = cx.take_carried();
        if let Some(carried) = &counts.carried {
            counts.given = carried.read;
            if work.file.is_some() {
                counts.rows_by_event.clone_from(&carried.rows_by_event);
            }
        }
        Message::Done {
            id: work.id,
            attempts: cx.attempts.load(Ordering::Relaxed),
            spent,
            counts: Box::new(counts),
            // A panic in one unit is that unit's failure only.
            result: result.map_err(|error| match error.kind() {
                ErrorKind::Panic => unfatal(error),
                _ => error,
            }),
        }
    }

    fn read(
        &self,
        work: &Work,
        cx: &UnitContext,
        spent: &mut Spent,
        counts: &mut Counts,
    ) -> Result<()> {
        let given = Cell::new(0);
        let passed: Vec<Cell<u64>> = self.transforms.iter().map(|_| Cell::new(0)).collect();
        let batches = timed(&mut spent.fetch, || self.session.read(&work.unit, cx))?;
        let batches: BatchIter<'_> = Box::new(batches.inspect(|records| {
            let rows = records.as_ref().map_or(0, RecordBatch::num_rows);
            given.set(given.get() + rows as u64);
        }));
        let mut batches = timed(&mut spent.decode, || {
            transformed(batches, &self.transforms, &passed, cx)
        });
        if let Some(late) = &self.late {
            batches = timed(&mut spent.decode, || late.stream(work.id, batches, cx))?;
        }
        let mut screen = Screen::new(&self.checks, &work.unit.label);
        while let Some(records) = timed(&mut spent.decode, || batches.next()) {
            let records = records?;
            for records in timed(&mut spent.decode, || screen.let_through(records, cx))? {
                let by_event = &mut counts.rows_by_event;
                timed(&mut spent.decode, || {
                    let kind = self.roles.map(|roles| roles.kind);
                    count_events(&records, kind, by_event);
                    self.count_days(&records, cx);
                });
                timed(&mut spent.queue, || self.send(work.id, records))?;
            }
        }
        drop(batches);
        count_unexplained(given.get(), &self.transforms, &passed, cx);
        counts.given = given.get() - screen.end(cx)?;
        match (counts.given, cx.rejected.load(Ordering::Relaxed)) {
            (0, rejected @ 1..) => Err(nothing_readable(&work.unit.label, rejected)),
            _ => Ok(()),
        }
    }

    /// Looks whether the file of a unit is whole, and passes it on.
    fn check_file(
        &self,
        work: &Work,
        file: &WholeFile,
        cx: &UnitContext,
        spent: &mut Spent,
    ) -> Result<()> {
        let session = &self.session;
        timed(&mut spent.fetch, || session.check_file(&work.unit, cx))?;
        let (id, file) = (work.id, Box::new(file.clone()));
        let file = Message::File { id, file };
        timed(&mut spent.queue, || {
            self.cx.cancel.send(&self.messages, file)
        })
    }

    /// Counts rows by the days that they say.
    fn count_days(&self, records: &RecordBatch, cx: &UnitContext) {
        let time = self.roles.map(|roles| roles.time);
        let times = time.and_then(|time| records.column_by_name(time));
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        cx.facts()
            .count_rows(times.map(|times| &times.values()[..]));
    }

    fn send(&self, id: PartitionId, records: RecordBatch) -> Result<()> {
        let bytes = records.get_array_memory_size();
        let place = self.door.take(id, bytes, &self.cx.cancel)?;
        let batch = Message::Batch { id, records, place };
        self.cx.cancel.send(&self.messages, batch)
    }
}

/// Passes the batches of a unit through the transforms, and counts in `passed`
/// what comes out of each.
fn transformed<'a>(
    mut batches: BatchIter<'a>,
    transforms: &'a [OpenTransform],
    passed: &'a [Cell<u64>],
    cx: &'a UnitContext,
) -> BatchIter<'a> {
    let settled_after = settled_after(&cx.stand_ins(), transforms);
    for (n, (transform, passed)) in transforms.iter().zip(passed).enumerate() {
        batches = transform.stream(batches, cx);
        batches = Box::new(batches.map(move |records| {
            let records = records?;
            passed.set(passed.get() + records.num_rows() as u64);
            if settled_after == Some(n) {
                return stand_in::settled(&records);
            }
            Ok(records)
        }));
    }
    batches
}

fn unfatal(error: Error) -> Error {
    let cause = error.causes().join(": ");
    Error::new(ErrorKind::Panic, error.message()).because(cause)
}

/// Returns the error of a partition that gave nothing but rejects.
///
/// One bad record among many is left out. Where there are only bad ones it is
/// the format that has changed, or the answer is none.
fn nothing_readable(label: &str, rejected: u64) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("none of the {rejected} records of {label} can be read"),
    )
    .hint("look at the reject file: it has each of them, with the reason")
}

/// Counts the rows that transforms left out without a word.
fn count_unexplained(
    given: u64,
    transforms: &[OpenTransform],
    passed: &[Cell<u64>],
    cx: &UnitContext,
) {
    let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
    let mut before = given;
    for (transform, passed) in transforms.iter().zip(passed) {
        *lost.entry(&transform.kind).or_default() += before.saturating_sub(passed.get());
        before = passed.get();
    }
    for (kind, lost) in lost {
        let explained = cx.tally().dropped.rows(Some(kind));
        if lost > explained {
            cx.count_dropped(kind, "other", lost - explained);
        }
    }
}

/// Names that are counted one by one.
const MOST_EVENTS: usize = 100;

/// Counts rows by the column `kind`, if they have it.
fn count_events(records: &RecordBatch, kind: Option<&str>, counts: &mut BTreeMap<String, u64>) {
    let names = kind.and_then(|kind| records.column_by_name(kind));
    let Some(names) = names.and_then(|names| names.as_string_opt::<i32>()) else {
        return;
    };
    for name in names.iter().flatten() {
        if let Some(count) = counts.get_mut(name) {
            *count += 1;
        } else {
            let name = if counts.len() < MOST_EVENTS {
                name
            } else {
                "…"
            };
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// Adds the time that `work` takes to `spent`, also if it panics.
pub(super) fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    struct Clock<'s>(Instant, &'s mut Duration);
    impl Drop for Clock<'_> {
        fn drop(&mut self) {
            *self.1 += self.0.elapsed();
        }
    }
    let _clock = Clock(Instant::now(), spent);
    work()
}
