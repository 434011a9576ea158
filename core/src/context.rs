//! What sources and transforms are given while they work.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam::channel::Sender;
use jiff::tz::TimeZone;

use crate::cancel::CancelToken;
use crate::carried::Carried;
use crate::dropped::Dropped;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{BodyFacts, Held, UnitFacts};
use crate::reject::{CountRejects, Reject, Rejects};
use crate::stand_in::StandIns;
use crate::unit::Extent;

/// When rows may leave a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When the partition is known to be complete.
    Verified,
    /// As they arrive. A retry skips exactly what went out, or fails.
    Direct,
}

/// What sources and transforms are given when they are opened for a run.
///
/// All methods may be called from any thread; none blocks.
#[derive(Clone)]
pub struct RunContext {
    /// Tells that the work is to stop. Every wait must go through it.
    pub cancel: CancelToken,
    /// When rows may leave a unit.
    pub delivery: Delivery,
    /// What the destination holds already.
    pub held: Held,
    /// How many units are read at once, unless the source allows fewer.
    pub workers: NonZeroUsize,
    /// Requests that the run may make, tries included.
    pub(crate) most_requests: Option<u64>,
    /// Whether a later run compares the [ids](UnitContext::note_ids) of its unit.
    pub(crate) keeps_ids: bool,
    /// The zone that the days of units are counted in.
    pub(crate) zone: TimeZone,
    pub(crate) counters: Arc<Counters>,
    pub(crate) notices: Sender<Notice>,
    pub(crate) rejects: Arc<Rejects>,
    pub(crate) stand_ins: StandIns,
}

impl RunContext {
    /// Creates a context for work that belongs to no run: nothing is held,
    /// nothing is kept of rejects, of which there may be none.
    pub(crate) fn without_run(cancel: CancelToken, notices: Sender<Notice>) -> RunContext {
        RunContext {
            cancel,
            delivery: Delivery::Verified,
            held: Held::default(),
            workers: NonZeroUsize::MIN,
            most_requests: None,
            keeps_ids: false,
            zone: TimeZone::UTC,
            counters: Arc::default(),
            notices,
            rejects: Arc::new(Rejects::new(Box::new(CountRejects), 0)),
            stand_ins: StandIns::default(),
        }
    }

    /// Tells the observer.
    pub fn notify(&self, notice: Notice) {
        // The receiver is gone only when the run is over.
        let _ = self.notices.send(notice);
    }

    /// Returns a context for work on no unit: for a session that asks something
    /// while it plans.
    pub fn unit(&self) -> UnitContext {
        self.unit_of(&Extent::Whole)
    }

    /// Returns a context for the work on one unit.
    pub(crate) fn unit_of(&self, extent: &Extent) -> UnitContext {
        UnitContext {
            cancel: self.cancel.clone(),
            delivery: self.delivery,
            run: self.clone(),
            attempts: AtomicU32::new(0),
            rejected: AtomicU64::new(0),
            tally: Mutex::default(),
            facts: Mutex::new(UnitFacts::of(extent, &self.zone)),
            carried: OnceLock::new(),
        }
    }
}

/// What a session is given to read a unit, and transforms to change its rows.
///
/// All methods may be called from any thread; none blocks, but for
/// [`reject`](UnitContext::reject), which writes to a file.
pub struct UnitContext {
    /// Tells that the work is to stop. Every wait must go through it.
    pub cancel: CancelToken,
    /// When rows may leave the unit.
    pub delivery: Delivery,
    run: RunContext,
    pub(crate) attempts: AtomicU32,
    /// Records of the unit that cannot be read.
    pub(crate) rejected: AtomicU64,
    tally: Mutex<Tally>,
    facts: Mutex<UnitFacts>,
    carried: OnceLock<Box<Carried>>,
}

/// Totals of a run, counted by the sources.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// What transforms have counted of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) duplicates: u64,
    pub(crate) dropped: Dropped,
    /// By what is told at the end of the run.
    pub(crate) warnings: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what was counted of another partition.
    pub(crate) fn add(&mut self, other: Tally) {
        self.duplicates += other.duplicates;
        self.dropped.add(&other.dropped);
        for (warning, n) in other.warnings {
            *self.warnings.entry(warning).or_default() += n;
        }
    }
}

/// Something worth telling a person while the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Notice {
    /// A request is tried again after a wait.
    Retry {
        /// Which partition.
        label: String,
        /// How long the wait is.
        wait: Duration,
        /// Why the last try did not do.
        reason: String,
    },
    /// A request waits for quota.
    Wait {
        /// Which partition.
        label: String,
        /// How long the wait is.
        wait: Duration,
        /// What is waited for.
        reason: String,
    },
    /// A partition was there already, from another run that has not committed.
    Reused {
        /// Which partition.
        label: String,
    },
    /// A person may want to act.
    Warning(String),
}

impl UnitContext {
    /// Counts a request that is about to be made, and a try of its partition.
    ///
    /// Fails when the run may make no more; then it is not to be made.
    pub fn count_request(&self) -> Result<()> {
        let counters = &self.run.counters;
        let most = self.run.most_requests.unwrap_or(u64::MAX);
        let count = |made: u64| (made < most).then_some(made + 1);
        counters
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .map_err(|_| {
                Error::new(
                    ErrorKind::Quota,
                    format!("the run may make {most} requests"),
                )
                .because("they are used up")
            })?;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a try of its partition whose request was counted before it was the
    /// partition's turn.
    pub fn count_try(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that came over the wire.
    pub fn count_bytes(&self, bytes: u64) {
        self.run.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns a function that counts bytes like [`count_bytes`], for a thread
    /// that may outlive the context.
    ///
    /// [`count_bytes`]: UnitContext::count_bytes
    pub fn byte_counter(&self) -> impl Fn(u64) + Send + 'static {
        let counters = Arc::clone(&self.run.counters);
        move |bytes| {
            counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Tells the observer; counts a retry if it is one.
    pub fn notify(&self, notice: Notice) {
        if matches!(notice, Notice::Retry { .. }) {
            self.run.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        self.run.notify(notice);
    }

    /// Puts a record aside that cannot be read.
    ///
    /// Fails, and with it the run, when more are rejected than the source allows.
    pub fn reject(&self, reject: &Reject<'_>) -> Result<()> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.run.rejects.push(reject)
    }

    /// Counts rows that were left out as duplicates.
    ///
    /// The report has their number for the partitions that were read whole.
    pub fn count_duplicates(&self, rows: u64) {
        self.tally().duplicates += rows;
    }

    /// Says by their times, in microseconds since 1970 (UTC), which rows these
    /// were, so that each counts for its day.
    pub fn place_duplicates(&self, times: impl IntoIterator<Item = i64>) {
        if let Some(days) = &mut self.facts().days {
            for us in times {
                days.at(us).duplicates += 1;
            }
        }
    }

    /// Says how many bytes each of some records has, before compression, and
    /// if it is known when each happened, in microseconds since 1970 (UTC).
    pub fn count_records(&self, times: Option<&[i64]>, lengths: &[u32]) {
        self.facts().count_records(times, lengths);
    }

    /// Says which body the rows of the unit come from.
    pub fn note_body(&self, body: BodyFacts) {
        self.facts().body = Some(body);
    }

    /// Says what the largest version among some records is; see
    /// [`ColumnRoles::version`](crate::roles::ColumnRoles::version).
    pub fn note_version(&self, version: i64) {
        let mut facts = self.facts();
        facts.latest_version = facts.latest_version.max(Some(version));
    }

    /// Says what stands for who each of the rows is of, the same on every machine, where
    /// nobody may be in two units.
    pub fn note_ids(&self, ids: Vec<u64>) {
        if self.run.keeps_ids {
            self.facts().ids = ids;
        }
    }

    /// Counts rows that the transform left out, and why in a word: `false`. Rows
    /// that it leaves out without a word are counted as `other`.
    ///
    /// With 0 it says that it might have. The report has the numbers for the
    /// partitions that were read whole.
    pub fn count_dropped(&self, transform: &str, reason: &str, rows: u64) {
        self.tally().dropped.count(transform, reason, rows);
    }

    /// Says what was counted of the unit where it was read, so that reports and
    /// ledgers say that, and not what is seen of it here.
    ///
    /// Fails, and with it the run, when more records are rejected by now than the
    /// source allows.
    pub fn carry(&self, carried: Carried) -> Result<()> {
        let (rejected, label) = (carried.record.rejected, carried.record.label.clone());
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
        self.tally().add(Tally {
            duplicates: carried.record.duplicates,
            dropped: carried.dropped.clone(),
            warnings: carried.warnings.clone(),
        });
        // Of a unit that is read once this is the first.
        let _ = self.carried.set(Box::new(carried));
        self.run.rejects.count_elsewhere(rejected, &label)
    }

    /// Returns whether the unit was read and counted elsewhere.
    pub(crate) fn is_carried(&self) -> bool {
        self.carried.get().is_some()
    }

    /// Returns what was counted elsewhere, if the unit was read there.
    pub(crate) fn take_carried(&mut self) -> Option<Box<Carried>> {
        self.carried.take()
    }

    /// Returns how to make ids for events that have none.
    pub fn stand_ins(&self) -> StandIns {
        self.run.stand_ins.clone()
    }

    /// Counts what deserves one warning at the end of the run: `warning` and,
    /// after a colon, how many there were in the partitions that were read
    /// whole.
    pub fn count_warning(&self, warning: &str, n: u64) {
        if n == 0 {
            return;
        }
        let mut tally = self.tally();
        match tally.warnings.get_mut(warning) {
            Some(count) => *count += n,
            None => drop(tally.warnings.insert(warning.to_owned(), n)),
        }
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, UnitFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts are whole, whatever panicked beside them.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error of a partition that could not be had whole.
pub fn incomplete(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Incomplete, message)
}
