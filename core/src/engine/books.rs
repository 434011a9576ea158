//! What is counted and told of a run, and the report that it becomes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use jiff::Timestamp;

use super::ending::{Ending, conclude, contained, sink_reports};
use super::pipeline::Pipeline;
use super::worker::{Counts, Spent};
use crate::batch::PartitionId;
use crate::carried::Carried;
use crate::context::{Counters, Notice, Tally};
use crate::error::{Error, Result};
use crate::ledger::{DayRecord, DayState, FetchedUnit, UnitRecord};
use crate::observer::{Observer, Progress, RunEvent};
use crate::reject::Rejects;
use crate::report::{PartitionReport, PartitionStatus, RunReport, Timing, WaitKind, WaitReport};
use crate::sink::{PartitionInfo, TxnContext};
use crate::source::{Extent, Plan, Unit};

/// More waits than this are counted by `retries` only.
const MOST_WAITS: usize = 1_000;

/// The books of a run.
pub(super) struct Books<'o> {
    observer: &'o mut dyn Observer,
    notices: Receiver<Notice>,
    counters: Arc<Counters>,
    pub(super) rejects: Arc<Rejects>,
    started: Instant,
    warnings: Vec<String>,
    waits: Vec<WaitReport>,
    reused: Vec<String>,
    /// Of the attempt that is made now.
    pub(super) totals: Totals,
}

/// What is counted of one attempt.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) slots: Vec<Slot>,
    pub(super) expected_rows: Option<u64>,
    /// Rows that the sink was given.
    rows: u64,
    /// Rows that the source gave; transforms may have left some out.
    pub(super) given: u64,
    tally: Tally,
    /// Units whose files the sink took as they were.
    files: u64,
    /// Units that workers are through with; some may wait for their turn.
    read: usize,
    pub(super) done: usize,
    /// How each sink ended, where there are several.
    sinks: Vec<Ending>,
}

/// What is known of a unit so far.
pub(super) struct Slot {
    pub(super) info: PartitionInfo,
    /// None for rows that were announced and belong to no unit.
    pub(super) unit: Option<Unit>,
    pub(super) status: PartitionStatus,
    pub(super) rows: u64,
    attempts: u32,
    error: Option<String>,
    counts: Counts,
    timing: Option<Timing>,
    pub(super) write: Duration,
}

impl Slot {
    fn new(n: usize, label: String, extent: Extent, unit: Option<Unit>) -> Slot {
        let id = u32::try_from(n).expect("a plan has fewer than 2^32 units");
        Slot {
            info: PartitionInfo {
                id: PartitionId(id),
                label,
                extent,
            },
            unit,
            status: PartitionStatus::Skipped,
            rows: 0,
            attempts: 0,
            error: None,
            counts: Counts::default(),
            timing: None,
            write: Duration::ZERO,
        }
    }

    fn of(n: usize, unit: &Unit) -> Slot {
        Slot::new(n, unit.label.clone(), unit.extent, Some(unit.clone()))
    }

    /// Returns what a ledger says of a unit that was read whole; `None` of rows
    /// that belong to no unit.
    fn fetched(&self, run_id: &str, limited: bool) -> Option<FetchedUnit> {
        let unit = self.unit.as_ref()?;
        if let Some(carried) = &self.counts.carried {
            return Some(self.carried(carried, run_id));
        }
        let facts = &self.counts.facts;
        let asked_at = self.counts.started_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let fetched_at = facts.body.as_ref().map_or(asked_at, |body| body.fetched_at);
        let days = facts.counted(self.rows).into_iter().map(|day| DayRecord {
            day: day.day,
            state: match day.rows.unwrap_or(self.rows) {
                _ if limited || fetched_at.as_microsecond() < day.end_us => DayState::Partial,
                0 => DayState::Empty,
                _ => DayState::Complete,
            },
            rows: day.rows,
            duplicates: day.duplicates,
            bytes: day.bytes,
            fetched_at,
            run_id: run_id.to_owned(),
            unit_key: unit.key.clone(),
        });
        Some(FetchedUnit {
            id: self.info.id,
            days: days.collect(),
            record: UnitRecord {
                unit_key: unit.key.clone(),
                label: unit.label.clone(),
                days: match unit.extent {
                    Extent::Days(days) => Some(days),
                    Extent::Page(_) | Extent::Whole => None,
                },
                fetched_at,
                run_id: run_id.to_owned(),
                rows: self.rows,
                duplicates: self.counts.tally.duplicates,
                rejected: self.counts.rejected,
                bytes: facts.bytes,
                sha256: facts.body.as_ref().and_then(|body| body.sha256.clone()),
                latest_version: facts.latest_version,
                outside: facts.outside,
            },
        })
    }

    /// Returns what a ledger says of a unit that was read elsewhere: what was said
    /// of it there, as this run's.
    fn carried(&self, carried: &Carried, run_id: &str) -> FetchedUnit {
        let mut record = carried.record.clone();
        run_id.clone_into(&mut record.run_id);
        let mut days = carried.days.clone();
        for day in &mut days {
            run_id.clone_into(&mut day.run_id);
        }
        FetchedUnit {
            id: self.info.id,
            record,
            days,
        }
    }

    fn into_report(self) -> PartitionReport {
        let write_seconds = self.write.as_secs_f64();
        PartitionReport {
            label: self.info.label,
            status: self.status,
            rows: self.rows,
            read: self.counts.given,
            dropped: self.counts.tally.dropped,
            attempts: self.attempts,
            error: self.error,
            rows_by_event: self.counts.rows_by_event,
            ids: self.counts.facts.ids,
            timing: self.timing.map(|timing| Timing {
                write_seconds,
                ..timing
            }),
            unit: self.unit,
        }
    }
}

impl<'o> Books<'o> {
    pub(super) fn new(
        observer: &'o mut dyn Observer,
        notices: Receiver<Notice>,
        counters: Arc<Counters>,
        rejects: Rejects,
    ) -> Books<'o> {
        Books {
            observer,
            notices,
            counters,
            rejects: Arc::new(rejects),
            started: Instant::now(),
            warnings: Vec::new(),
            waits: Vec::new(),
            reused: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Counts from nothing, for another attempt. What was rejected is forgotten,
    /// in the log as well. Fails when that cannot be emptied.
    pub(super) fn start_over(&mut self) -> Result<()> {
        self.rejects = Arc::new(self.rejects.start_over()?);
        self.totals = Totals::default();
        Ok(())
    }

    /// Notes what is to be read.
    pub(super) fn planned(&mut self, plan: &Plan, workers: usize) {
        for warning in &plan.warnings {
            self.warn(warning.clone());
        }
        self.totals.expected_rows = plan.expected_rows;
        self.enter(&plan.units);
        self.observer.on_event(&RunEvent::Planned {
            partitions: plan.units.len(),
            expected_rows: plan.expected_rows,
            workers,
        });
    }

    /// Enters units, of which nothing has been read.
    pub(super) fn enter(&mut self, units: &[Unit]) {
        let slots = units.iter().enumerate();
        self.totals.slots = slots.map(|(n, unit)| Slot::of(n, unit)).collect();
    }

    pub(super) fn slot(&mut self, id: PartitionId) -> &mut Slot {
        &mut self.totals.slots[id.index()]
    }

    /// Returns the rows that the sink was given in this attempt.
    pub(super) fn rows(&self) -> u64 {
        self.totals.rows
    }

    /// Notes that a worker has begun with a unit.
    pub(super) fn begun(&mut self, id: PartitionId, worker: usize) {
        let at = self.started.elapsed().as_secs_f64();
        let slot = &mut self.totals.slots[id.index()];
        slot.timing = Some(Timing {
            worker,
            started_seconds: at,
            ended_seconds: at,
            ..Timing::default()
        });
        self.observer.on_event(&RunEvent::PartitionStarted {
            label: &slot.info.label,
            worker,
        });
    }

    /// Notes that a worker is through with a unit, whether or not it is its turn.
    pub(super) fn read(&mut self, id: PartitionId, spent: &Spent) {
        let at = self.started.elapsed().as_secs_f64();
        let slot = &mut self.totals.slots[id.index()];
        let Some(timing) = &mut slot.timing else {
            return;
        };
        timing.ended_seconds = at;
        timing.fetch_seconds = spent.fetch.as_secs_f64();
        timing.decode_seconds = spent.decode.as_secs_f64();
        timing.queue_seconds = spent.queue.as_secs_f64();
        let worker = timing.worker;
        let label = slot.info.label.clone();
        self.totals.read += 1;
        let progress = self.progress();
        self.observer.on_event(&RunEvent::PartitionRead {
            label: &label,
            worker,
            progress: &progress,
        });
    }

    /// Notes that the sink has taken rows of a unit.
    pub(super) fn wrote(&mut self, id: PartitionId, rows: u64) {
        self.totals.rows += rows;
        self.slot(id).rows += rows;
        self.tell_progress();
    }

    /// Notes that the sink has taken the file of a unit.
    pub(super) fn took_file(&mut self, id: PartitionId, rows: u64) {
        self.totals.files += 1;
        self.wrote(id, rows);
    }

    /// Notes how a unit ended. What was counted of rows that are not there is
    /// not told.
    pub(super) fn ended(
        &mut self,
        id: PartitionId,
        attempts: u32,
        counts: Counts,
        result: &Result<()>,
    ) {
        self.totals.done += 1;
        let slot = &mut self.totals.slots[id.index()];
        slot.attempts = attempts;
        slot.status = PartitionStatus::Failed;
        slot.error = result.as_ref().err().map(Error::in_a_line);
        if result.is_ok() {
            slot.status = PartitionStatus::Done;
            self.totals.given += counts.given;
            self.totals.tally.add(counts.tally.clone());
            slot.counts = counts;
        } else {
            slot.counts.rows_by_event = counts.rows_by_event;
        }
    }

    /// Tells how a unit ended.
    pub(super) fn tell_ended(&mut self, id: PartitionId, error: Option<&Error>) {
        let slot = self.slot(id);
        let (label, rows) = (slot.info.label.clone(), slot.rows);
        let progress = self.progress();
        self.observer.on_event(&RunEvent::PartitionDone {
            label: &label,
            rows,
            error,
            progress: &progress,
        });
    }

    /// Notes how each of several sinks ended, in their order.
    pub(super) fn sinks_ended(&mut self, endings: Vec<Ending>) {
        if endings.len() > 1 {
            self.totals.sinks = endings;
        }
    }

    /// Returns whether a sink has failed and another one has not.
    pub(super) fn left_a_sink_out(&self) -> bool {
        let failed = |ending: &Ending| matches!(ending, Ending::Aborted { .. });
        let sinks = &self.totals.sinks;
        sinks.iter().any(failed) && !sinks.iter().all(failed)
    }

    pub(super) fn tell_committing(&mut self) {
        let progress = self.progress();
        self.observer.on_event(&RunEvent::Committing(&progress));
    }

    /// Enters rows that were announced and did not come, as what has failed.
    pub(super) fn enter_missing(&mut self, label: String, why: String) {
        let mut slot = Slot::new(self.totals.slots.len(), label, Extent::Whole, None);
        slot.status = PartitionStatus::Failed;
        slot.error = Some(why);
        self.totals.slots.push(slot);
    }

    /// Returns what could not be had, with the reason.
    pub(super) fn missing(&self) -> Vec<(PartitionInfo, String)> {
        let slots = self.totals.slots.iter();
        let failed = slots.filter(|slot| slot.status == PartitionStatus::Failed);
        let reason = |slot: &Slot| slot.error.clone().unwrap_or_default();
        failed
            .map(|slot| (slot.info.clone(), reason(slot)))
            .collect()
    }

    /// Returns what a ledger says of the units that were read whole; `limited`
    /// if the source gives only a part of a day.
    pub(super) fn fetched(&self, run_id: &str, limited: bool) -> Vec<FetchedUnit> {
        let slots = self.totals.slots.iter();
        let done = slots.filter(|slot| slot.status == PartitionStatus::Done);
        done.filter_map(|slot| slot.fetched(run_id, limited))
            .collect()
    }

    /// Tells of rows whose time is in none of the days of their unit.
    pub(super) fn warn_of_rows_outside(&mut self, units: &[FetchedUnit]) {
        let outside: u64 = units.iter().map(|unit| unit.record.outside).sum();
        let Some(first) = units.iter().find(|unit| unit.record.outside > 0) else {
            return;
        };
        self.warn(format!(
            "{outside} rows lie outside the days that they were fetched for, such as of {}: `timezone` may be wrong",
            first.record.label
        ));
    }

    /// Returns whether every unit is of this status.
    pub(super) fn all(&self, status: PartitionStatus) -> bool {
        self.totals.slots.iter().all(|slot| slot.status == status)
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.observer
            .on_event(&RunEvent::Notice(&Notice::Warning(warning.clone())));
        self.warnings.push(warning);
    }

    /// Tells what sources have noticed since the last time.
    pub(super) fn drain_notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Warning(warning) = notice {
                self.warn(warning);
                continue;
            }
            self.observer.on_event(&RunEvent::Notice(&notice));
            match notice {
                Notice::Warning(_) => {}
                Notice::Reused { label } => self.reused.push(label),
                Notice::Retry {
                    label,
                    wait,
                    reason,
                } => {
                    self.waited(label, WaitKind::Retry, wait, reason);
                }
                Notice::Wait {
                    label,
                    wait,
                    reason,
                } => {
                    self.waited(label, WaitKind::Quota, wait, reason);
                }
            }
        }
    }

    fn waited(&mut self, label: String, kind: WaitKind, wait: Duration, reason: String) {
        if self.waits.len() < MOST_WAITS {
            self.waits.push(WaitReport {
                label,
                kind,
                at_seconds: Some(self.started.elapsed().as_secs_f64()),
                seconds: wait.as_secs_f64(),
                reason,
            });
        }
    }

    /// Tells what there is to tell after a wait in which `something` came, or
    /// nothing.
    pub(super) fn waited_for(&mut self, something: bool) {
        self.drain_notices();
        if !something {
            self.tell_progress();
        }
    }

    /// Returns where notices come, to wait for them.
    pub(super) fn notices(&self) -> Receiver<Notice> {
        self.notices.clone()
    }

    pub(super) fn tell_progress(&mut self) {
        let progress = self.progress();
        self.observer.on_event(&RunEvent::Progress(&progress));
    }

    fn progress(&self) -> Progress {
        let totals = &self.totals;
        Progress {
            rows: totals.rows,
            rejected: self.rejects.count(),
            bytes: self.counters.bytes.load(Ordering::Relaxed),
            requests: self.counters.requests.load(Ordering::Relaxed),
            retries: self.counters.retries.load(Ordering::Relaxed),
            partitions_read: totals.read,
            partitions_done: totals.done,
            partitions: totals.slots.len(),
            expected_rows: totals.expected_rows,
            elapsed: self.started.elapsed(),
        }
    }

    /// Tells what transforms have counted, once, and returns it.
    fn sum_up(&mut self) -> Tally {
        let tally = std::mem::take(&mut self.totals.tally);
        for (warning, n) in &tally.warnings {
            self.warn(format!("{warning}: {n}"));
        }
        tally
    }

    /// Returns where the rejects are; a log that cannot be finished is a warning.
    fn reject_file(&mut self) -> Option<String> {
        let rejects = Arc::clone(&self.rejects);
        match contained("the reject log", || rejects.finish()) {
            Ok(file) => file.filter(|_| rejects.count() > 0),
            Err(error) => {
                let error = error.in_a_line();
                self.warnings
                    .push(format!("the reject file may be incomplete: {error}"));
                None
            }
        }
    }

    /// Closes the books.
    pub(super) fn report(
        mut self,
        pipeline: &Pipeline,
        cx: &TxnContext,
        ending: Ending,
    ) -> RunReport {
        let Tally {
            duplicates,
            dropped,
            warnings: counted_warnings,
        } = self.sum_up();
        let reject_file = self.reject_file();
        let destination = pipeline.destination();
        let totals = std::mem::take(&mut self.totals);
        let failed = totals.slots.iter();
        let failed = failed.filter(|slot| slot.status == PartitionStatus::Failed);
        let mut report = RunReport {
            run_id: cx.run_id.clone(),
            pipeline: pipeline.name.clone(),
            source: pipeline.source_type.clone(),
            sink: pipeline.sinks.kinds(),
            sinks: sink_reports(pipeline, &totals.sinks, &ending),
            table: destination.table.clone(),
            destination,
            data_type: cx.source.dataset.kind.clone(),
            read: totals.given,
            dropped,
            rejected: self.rejects.count(),
            reject_file,
            duplicates,
            files_taken: totals.files,
            bytes_received: self.counters.bytes.load(Ordering::Relaxed),
            requests: self.counters.requests.load(Ordering::Relaxed),
            retries: self.counters.retries.load(Ordering::Relaxed),
            from_date: cx.source.from_date,
            to_date: cx.source.to_date,
            started_at: cx.started_at,
            reused_partitions: self.reused,
            waits: self.waits,
            failed_partitions: failed.map(|slot| slot.info.label.clone()).collect(),
            partitions: totals.slots.into_iter().map(Slot::into_report).collect(),
            warnings: self.warnings,
            counted_warnings,
            ..RunReport::default()
        };
        conclude(&mut report, ending);
        report.duration_seconds = self.started.elapsed().as_secs_f64();
        report.completed_at = crate::clock::now();
        report
    }
}
