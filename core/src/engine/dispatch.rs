//! The dispatcher: the one thread that writes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Receiver, Select, TryRecvError, bounded};

use super::room::Room;
use super::worker::{Crew, Message, Work, timed};
use super::{OnFailure, Pipeline, contained, is_closed, nothing_succeeded};
use crate::batch::{Batch, PartitionId};
use crate::context::{Notice, Tally, TaskContext, incomplete};
use crate::error::{Error, ErrorKind, Result};
use crate::observer::{Observer, Progress, RunEvent};
use crate::report::{Dropped, PartitionStatus, Timing, WaitKind, WaitReport};
use crate::sink::{
    CommitSummary, Outcome, PartitionInfo, Preview, Residue, Sink, SinkTxn, TxnContext, patiently,
};
use crate::source::{Extent, Partition, Plan};

/// How often an observer hears when nothing arrives.
const TICK: Duration = Duration::from_millis(200);

/// How a run ended.
pub(super) enum Ending {
    Committed { rows: u64, partial: bool },
    Stopped { rows: u64 },
    Aborted { error: Error, residue: Residue },
}

/// What the partitions that were read whole add up to.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) read: u64,
    pub(super) dropped: Dropped,
    pub(super) duplicates: u64,
}

/// What is known of a partition so far.
pub(super) struct Slot {
    pub(super) info: PartitionInfo,
    pub(super) status: PartitionStatus,
    pub(super) rows: u64,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    pub(super) rows_by_event: BTreeMap<String, u64>,
    /// What its source gave and transforms left out, if it was read whole.
    pub(super) read: u64,
    pub(super) dropped: Dropped,
    timing: Option<Timing>,
    announced: bool,
    write: Duration,
}

impl Slot {
    fn new(info: PartitionInfo) -> Slot {
        Slot {
            info,
            status: PartitionStatus::Skipped,
            rows: 0,
            attempts: 0,
            error: None,
            rows_by_event: BTreeMap::new(),
            read: 0,
            dropped: Dropped::default(),
            timing: None,
            announced: false,
            write: Duration::ZERO,
        }
    }

    /// Returns where its time went, the sink's included.
    pub(super) fn timing(&self) -> Option<Timing> {
        let write_seconds = self.write.as_secs_f64();
        self.timing.map(|timing| Timing {
            write_seconds,
            ..timing
        })
    }
}

pub(super) struct Dispatcher<'r, 'o> {
    pub(super) pipeline: &'r Pipeline,
    pub(super) txn_cx: TxnContext,
    pub(super) task: TaskContext,
    pub(super) observer: &'o mut dyn Observer,
    pub(super) notices: Receiver<Notice>,
    pub(super) started: Instant,
    pub(super) patience: Duration,
    pub(super) patience_at_start: Duration,
    pub(super) queue: Option<NonZeroUsize>,
    pub(super) slots: Vec<Slot>,
    pub(super) told: Told,
    pub(super) rows: u64,
    /// Rows that the source gave; transforms may have left some out.
    pub(super) given: u64,
    pub(super) tally: Tally,
    pub(super) done: usize,
    /// Partitions that workers are through with; some may wait for their turn.
    pub(super) read: usize,
    pub(super) expected_rows: Option<u64>,
    /// Whether this plan is the run's first one.
    pub(super) may_start_over: bool,
    /// Begun when the first rows are there, so that a run whose credentials
    /// are wrong has not so much as created a file.
    pub(super) txn: Option<Box<dyn SinkTxn + 'r>>,
    /// How far the sink is to be trusted when the run ends badly.
    pub(super) sink_state: SinkState,
    pub(super) commit_tried: bool,
}

/// What was told while the run went on, and is to be in its report.
#[derive(Default)]
pub(super) struct Told {
    pub(super) warnings: Vec<String>,
    pub(super) waits: Vec<WaitReport>,
    pub(super) reused: Vec<String>,
}

/// More waits than this are counted by `retries` only.
const MOST_WAITS: usize = 1_000;

/// What the sink has last done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SinkState {
    /// Everything that it was asked to.
    #[default]
    Sound,
    /// It returned an error.
    Failed,
    /// It panicked, so nothing but a drop may follow.
    Panicked,
}

/// Partitions whose turn has not come, for plans that keep their order.
struct InOrder {
    head: usize,
    waiting: BTreeMap<usize, Vec<Message>>,
    room: Arc<Room>,
}

impl<'r> Dispatcher<'r, '_> {
    /// Lets the source make its plan, and tells meanwhile what it waits for.
    pub(super) fn plan(&mut self) -> Result<Plan> {
        let (source, task) = (&self.pipeline.source, &self.task.clone());
        std::thread::scope(|scope| {
            let (done, plan) = bounded(1);
            let planning = move || {
                let plan = contained("the source", || source.plan(task));
                // The receiver is there until the plan is.
                let _ = done.send(plan);
            };
            let thread = std::thread::Builder::new().name("mixflow-plan".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, planning) {
                log::warn!("cannot start a thread for the plan: {error}");
                return contained("the source", || source.plan(task));
            }
            loop {
                let mut select = Select::new();
                select.recv(&plan);
                select.recv(&self.notices);
                let idle = select.ready_timeout(TICK).is_err();
                self.drain_notices();
                if idle {
                    self.tell_progress();
                }
                if let Ok(plan) = plan.try_recv() {
                    return plan;
                }
            }
        })
    }

    pub(super) fn planned(&mut self, plan: &Plan, workers: usize) {
        self.expected_rows = plan.expected_rows;
        for warning in &plan.warnings {
            self.warn(warning.clone());
        }
        for (n, partition) in plan.partitions.iter().enumerate() {
            let n = u32::try_from(n).expect("a plan has fewer than 2^32 partitions");
            self.slots.push(Slot::new(PartitionInfo {
                id: PartitionId(n),
                label: partition.label().to_owned(),
                extent: partition.extent(),
            }));
        }
        self.observer.on_event(&RunEvent::Planned {
            partitions: plan.partitions.len(),
            expected_rows: plan.expected_rows,
            workers,
        });
    }

    /// Takes what the workers send until every partition is through.
    pub(super) fn dispatch(&mut self, plan: Plan, crew: &mut Crew) -> Result<()> {
        if let Some(warning) = crew.warning.take() {
            self.warn(warning);
        }
        let total = plan.partitions.len();
        let mut partitions = plan.partitions.into_iter().enumerate();
        let mut order = plan.ordered.then(|| InOrder {
            head: 0,
            waiting: BTreeMap::new(),
            room: Arc::clone(&crew.room),
        });
        // In order, later partitions wait in memory for their turn, so they
        // may be only so far ahead of it.
        let ahead = match order {
            Some(_) => crew.size() * 2 + 2,
            None => total,
        };
        let mut given = 0;
        while self.done < total {
            let head = order.as_ref().map_or(0, |order| order.head);
            while given < head + ahead
                && let Some((n, partition)) = partitions.next()
            {
                crew.give(work(n, partition));
                given += 1;
            }
            if given == total {
                crew.no_more_work();
            }
            let Some(message) = self.next(&crew.messages)? else {
                continue;
            };
            self.note(&message);
            match &mut order {
                None => self.take(message)?,
                Some(order) => self.take_in_order(order, message)?,
            }
        }
        Ok(())
    }

    /// Waits for a message; `None` when something else came first.
    fn next(&mut self, messages: &Receiver<Message>) -> Result<Option<Message>> {
        let mut select = Select::new();
        select.recv(messages);
        select.recv(&self.notices);
        self.task.cancel.add_to(&mut select);
        let idle = select.ready_timeout(TICK).is_err();
        self.task.cancel.check()?;
        self.drain_notices();
        if idle {
            self.tell_progress();
        }
        match messages.try_recv() {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::new(
                ErrorKind::Other,
                "no worker thread could be started",
            )),
        }
    }

    /// Tells what is worth telling at once, whether or not it is its turn.
    fn note(&mut self, message: &Message) {
        let at = self.started.elapsed().as_secs_f64();
        match message {
            Message::Begin { id, worker } => {
                let slot = &mut self.slots[id.index()];
                slot.timing = Some(Timing {
                    worker: *worker,
                    started_seconds: at,
                    ended_seconds: at,
                    ..Timing::default()
                });
                self.observer.on_event(&RunEvent::PartitionStarted {
                    label: &slot.info.label,
                    worker: *worker,
                });
            }
            Message::Batch { .. } => {}
            Message::Done { id, spent, .. } => {
                let slot = &mut self.slots[id.index()];
                if let Some(timing) = &mut slot.timing {
                    timing.ended_seconds = at;
                    timing.fetch_seconds = spent.fetch.as_secs_f64();
                    timing.decode_seconds = spent.decode.as_secs_f64();
                    timing.queue_seconds = spent.queue.as_secs_f64();
                    let worker = timing.worker;
                    self.read += 1;
                    let label = slot.info.label.clone();
                    let progress = self.progress();
                    self.observer.on_event(&RunEvent::PartitionRead {
                        label: &label,
                        worker,
                        progress: &progress,
                    });
                }
            }
        }
    }

    fn take_in_order(&mut self, order: &mut InOrder, message: Message) -> Result<()> {
        let n = match &message {
            Message::Begin { .. } => return Ok(()),
            Message::Batch { id, .. } | Message::Done { id, .. } => id.index(),
        };
        if n != order.head {
            order.waiting.entry(n).or_default().push(message);
            return Ok(());
        }
        let mut is_done = matches!(message, Message::Done { .. });
        self.take(message)?;
        while is_done {
            order.head += 1;
            order.room.turn_to(order.head);
            is_done = false;
            for message in order.waiting.remove(&order.head).unwrap_or_default() {
                is_done = matches!(message, Message::Done { .. });
                self.take(message)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Begin { .. } => Ok(()),
            // The place is given up when the sink has the rows.
            Message::Batch {
                id,
                records,
                place: _place,
            } => self.write(id, records),
            Message::Done {
                id,
                attempts,
                counts,
                result,
                ..
            } => {
                self.slots[id.index()].attempts = attempts;
                self.slots[id.index()].rows_by_event = counts.rows_by_event;
                self.done += 1;
                // What was counted of rows that are not there is not told.
                if result.is_ok() {
                    let slot = &mut self.slots[id.index()];
                    slot.read = counts.given;
                    slot.dropped = counts.tally.dropped.clone();
                    self.given += counts.given;
                    self.tally.add(counts.tally);
                }
                self.partition_done(id, result)
            }
        }
    }

    fn write(&mut self, id: PartitionId, records: RecordBatch) -> Result<()> {
        let rows = records.num_rows() as u64;
        self.announce(id)?;
        let batch = Batch {
            records,
            partition: id,
        };
        let txn = self.txn.as_mut().expect("`announce` has begun it");
        let spent = &mut self.slots[id.index()].write;
        let written = timed(spent, || contained("the sink", || txn.write(&batch)));
        self.judged(written)?;
        self.rows += rows;
        self.slots[id.index()].rows += rows;
        self.tell_progress();
        Ok(())
    }

    fn partition_done(&mut self, id: PartitionId, result: Result<()>) -> Result<()> {
        if result.is_ok() {
            self.announce(id)?;
        }
        let slot = &mut self.slots[id.index()];
        slot.status = match result {
            Ok(()) => PartitionStatus::Done,
            Err(_) => PartitionStatus::Failed,
        };
        let error = result.err();
        slot.error = error.as_ref().map(Error::in_a_line);
        let (label, rows) = (slot.info.label.clone(), slot.rows);
        let progress = self.progress();
        self.observer.on_event(&RunEvent::PartitionDone {
            label: &label,
            rows,
            error: error.as_ref(),
            progress: &progress,
        });
        let Some(error) = error else { return Ok(()) };
        let keep = self.pipeline.options.on_failure == OnFailure::Keep;
        // With one partition, or none left that could succeed, there is
        // nothing to keep.
        let hopeless = self
            .slots
            .iter()
            .all(|slot| slot.status == PartitionStatus::Failed);
        if !keep || error.is_fatal() || hopeless {
            return Err(error);
        }
        if rows > 0 && self.pipeline.sink.capabilities().transactional {
            return Err(error.context(format!(
                "{label} broke off after {rows} of its rows were written, so nothing can be kept"
            )));
        }
        log::warn!("{label} is missing: {}", error.in_a_line());
        Ok(())
    }

    /// Begins the transaction if need be and announces a partition once.
    fn announce(&mut self, id: PartitionId) -> Result<()> {
        self.begin()?;
        let slot = &mut self.slots[id.index()];
        if !slot.announced {
            slot.announced = true;
            let txn = self.txn.as_mut().expect("it has begun");
            let announced = contained("the sink", || txn.partition(&slot.info));
            self.judged(announced)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.txn.is_none() {
            let begun = self.patiently(self.patience, |sink, cx| sink.begin(cx));
            self.txn = Some(self.judged(begun)?);
        }
        Ok(())
    }

    /// Looks at the destination before the first request.
    pub(super) fn preview(&mut self) -> Result<Preview> {
        self.patiently(self.patience_at_start, |sink, cx| sink.preview(cx))
    }

    /// Asks the sink, and tells when it is asked again because somebody else
    /// has the destination.
    fn patiently<T>(
        &mut self,
        patience: Duration,
        call: impl Fn(&'r dyn Sink, &TxnContext) -> Result<T>,
    ) -> Result<T> {
        let sink = &*self.pipeline.sink;
        let mut done = contained("the sink", || call(sink, &self.txn_cx));
        if let Err(error) = &done
            && error.is_busy()
            && !patience.is_zero()
        {
            self.warn(format!("{}; the run waits for it", error.in_a_line()));
            let (cx, cancel) = (&self.txn_cx, &self.task.cancel);
            let again = || patiently(patience, cancel, || call(sink, cx));
            done = contained("the sink", again);
        }
        done
    }

    /// Notes whether the sink did what it was asked to.
    fn judged<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.sink_state = match error.kind() {
                ErrorKind::Panic => SinkState::Panicked,
                _ => SinkState::Failed,
            };
        }
        result
    }

    /// Commits, every partition being through.
    pub(super) fn finish(&mut self) -> Ending {
        match self.commit() {
            Ok(ending) => ending,
            Err(error) => self.give_up(error),
        }
    }

    fn commit(&mut self) -> Result<Ending> {
        self.compare_with_announced()?;
        let missing: Vec<(PartitionInfo, String)> = self
            .slots
            .iter()
            .filter(|slot| slot.status == PartitionStatus::Failed)
            .map(|slot| (slot.info.clone(), slot.error.clone().unwrap_or_default()))
            .collect();
        if !missing.is_empty() && missing.len() == self.slots.len() {
            return Err(nothing_succeeded(None));
        }
        let min_rows = self.pipeline.options.min_rows;
        if self.rows < min_rows {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "{} rows arrived, fewer than `min_rows = {min_rows}`",
                    self.rows
                ),
            )
            .hint("check the dates and filters, or lower `min_rows`"));
        }
        self.begin()?;
        // The last moment at which an interrupt can still be heard.
        self.task.cancel.check()?;
        let progress = self.progress();
        self.observer.on_event(&RunEvent::Committing(&progress));
        let txn = self.txn.take().expect("it has begun");
        let outcome = Outcome {
            missing: &missing,
            rows: self.rows,
        };
        self.commit_tried = true;
        let committed = contained("the sink", || txn.commit(&outcome));
        let CommitSummary { rows, warnings, .. } = self.judged(committed.and_then(|summary| {
            // For a sink that is not guarded.
            summary.check_rows(self.rows)?;
            Ok(summary)
        }))?;
        for warning in warnings {
            self.warn(warning);
        }
        Ok(Ending::Committed {
            rows,
            partial: !missing.is_empty(),
        })
    }

    /// Compares the rows of the source with what it had said.
    ///
    /// More are a warning. Fewer make the plan void once; after that they are
    /// a failure: what is missing takes a slot of its own, or fails the run.
    fn compare_with_announced(&mut self) -> Result<()> {
        let arrived = self.given + self.task.rejects.count();
        let complete = |slot: &Slot| slot.status == PartitionStatus::Done;
        let Some(expected) = self.expected_rows.filter(|rows| *rows != arrived) else {
            return Ok(());
        };
        if !self.slots.iter().all(complete) {
            return Ok(());
        }
        let said = format!("the source announced {expected} rows and gave {arrived}");
        if arrived > expected || self.pipeline.source.accepts_short() {
            self.warn(said);
            return Ok(());
        }
        let error = incomplete(said.clone()).hint(
            "run it again later; `accept_short = true` takes what there is, for a source whose totals are known to be wrong",
        );
        let transactional = self.pipeline.sink.capabilities().transactional;
        if self.may_start_over && (transactional || self.rows == 0) {
            return Err(error.voids_plan());
        }
        if self.pipeline.options.on_failure == OnFailure::Abort || self.given == 0 {
            return Err(error);
        }
        let id = u32::try_from(self.slots.len()).expect("a plan has fewer than 2^32 partitions");
        let mut slot = Slot::new(PartitionInfo {
            id: PartitionId(id),
            label: format!("{} of {expected} announced rows", expected - arrived),
            extent: Extent::Whole,
        });
        slot.status = PartitionStatus::Failed;
        slot.error = Some(said);
        self.slots.push(slot);
        Ok(())
    }

    /// Aborts what was begun.
    pub(super) fn give_up(&mut self, error: Error) -> Ending {
        let transactional = self.pipeline.sink.capabilities().transactional;
        let residue = match self.txn.take() {
            // A commit that returns an error has taken everything back, if
            // the sink can; one that panicked may have come to its end, and a
            // sink may say that it does not know.
            None if self.commit_tried => match self.sink_state {
                SinkState::Panicked => Residue::Unknown,
                _ if error.is_in_doubt() => Residue::Unknown,
                _ if transactional || self.rows == 0 => Residue::None,
                _ => Residue::Unknown,
            },
            None => Residue::None,
            // A sink that panicked is not asked again, only dropped.
            Some(txn) if self.sink_state == SinkState::Panicked => {
                let dropped = contained("the sink", || {
                    drop(txn);
                    Ok(())
                });
                match dropped {
                    Ok(()) if transactional => Residue::None,
                    _ => Residue::Unknown,
                }
            }
            Some(txn) => contained("the sink", || txn.abort()).unwrap_or_else(|failed| {
                self.warn(format!("the sink could not abort: {}", failed.in_a_line()));
                Residue::Unknown
            }),
        };
        if self.sink_state == SinkState::Failed && is_closed(&error) {
            // The sink knows better: part of the last batch may have gone out.
            let rows = match residue {
                Residue::Rows(rows) => rows,
                Residue::None => 0,
                Residue::Unknown => self.rows,
            };
            return Ending::Stopped { rows };
        }
        Ending::Aborted { error, residue }
    }

    /// Tells what was counted, once, and returns the numbers of rows.
    pub(super) fn sum_up(&mut self) -> Sums {
        let Tally {
            duplicates,
            dropped,
            warnings,
        } = std::mem::take(&mut self.tally);
        for (warning, n) in warnings {
            self.warn(format!("{warning}: {n}"));
        }
        Sums {
            read: self.given,
            dropped,
            duplicates,
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.observer
            .on_event(&RunEvent::Notice(&Notice::Warning(warning.clone())));
        self.told.warnings.push(warning);
    }

    pub(super) fn drain_notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            let kind = match &notice {
                Notice::Warning(warning) => {
                    self.warn(warning.clone());
                    continue;
                }
                Notice::Reused { label } => {
                    self.told.reused.push(label.clone());
                    self.observer.on_event(&RunEvent::Notice(&notice));
                    continue;
                }
                Notice::Retry { .. } => WaitKind::Retry,
                Notice::Wait { .. } => WaitKind::Quota,
            };
            self.observer.on_event(&RunEvent::Notice(&notice));
            if let Notice::Retry {
                label,
                wait,
                reason,
            }
            | Notice::Wait {
                label,
                wait,
                reason,
            } = notice
                && self.told.waits.len() < MOST_WAITS
            {
                self.told.waits.push(WaitReport {
                    label,
                    kind,
                    seconds: wait.as_secs_f64(),
                    reason,
                });
            }
        }
    }

    fn tell_progress(&mut self) {
        let progress = self.progress();
        self.observer.on_event(&RunEvent::Progress(&progress));
    }

    fn progress(&self) -> Progress {
        let counters = &self.task.counters;
        Progress {
            rows: self.rows,
            rejected: self.task.rejects.count(),
            bytes: counters.bytes.load(Ordering::Relaxed),
            requests: counters.requests.load(Ordering::Relaxed),
            retries: counters.retries.load(Ordering::Relaxed),
            partitions_read: self.read,
            partitions_done: self.done,
            partitions: self.slots.len(),
            expected_rows: self.expected_rows,
            elapsed: self.started.elapsed(),
        }
    }
}

fn work(n: usize, partition: Box<dyn Partition>) -> Work {
    let n = u32::try_from(n).expect("a plan has fewer than 2^32 partitions");
    Work {
        id: PartitionId(n),
        partition,
    }
}
