//! Sources whose partitions go wrong in known ways.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use jiff::ToSpan;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::Gate;
use crate::carried::Carried;
use crate::context::{Notice, RunContext, UnitContext, incomplete};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Calendar, Held, UnitRecord};
use crate::reject::Reject;
use crate::report::Dropped;
use crate::source::{
    BatchIter, Dataset, DayRange, Extent, Fate, Outline, Plan, Session, Source, SourceInfo, Unit,
};
use crate::whole_file::{FilePlace, WholeFile};

/// What a row of a [`TestSource`] says: its partition and its number in there.
pub type Row = (i64, i64);

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![field("partition"), field("row")]))
});

/// The first day of a source whose partitions are [`days`](TestSource::days).
const FIRST_DAY: Date = date(2024, 1, 1);

/// Creates a partition of `rows` rows with which nothing goes wrong.
pub fn good(rows: u64) -> TestPartition {
    TestPartition {
        rows,
        said: rows,
        batch_rows: 2,
        end: End::Good,
        gate: None,
        deaf: false,
        rejects: 0,
        notices: Vec::new(),
    }
}

/// Creates a partition that fails for good after `n` rows.
///
/// With 0, [`Session::read`] itself fails; otherwise its iterator does.
pub fn failing_at(n: u64) -> TestPartition {
    TestPartition {
        end: End::Fails { fatal: false },
        ..good(n)
    }
}

/// Creates a partition that panics after `n` rows.
pub fn panicking_at(n: u64) -> TestPartition {
    TestPartition {
        end: End::Panics,
        ..good(n)
    }
}

/// Creates a good partition that waits at `gate` before each of its batches,
/// and before it ends. The wait ends when the run is cancelled.
pub fn slow(rows: u64, gate: &Gate) -> TestPartition {
    TestPartition {
        gate: Some(gate.clone()),
        ..good(rows)
    }
}

/// Creates a partition with fewer rows than the plan expects of it.
pub fn short(rows: u64, said: u64) -> TestPartition {
    TestPartition { said, ..good(rows) }
}

/// A part of a [`TestSource`], as it is planned.
#[derive(Clone, Debug)]
pub struct TestPartition {
    rows: u64,
    said: u64,
    batch_rows: u64,
    end: End,
    gate: Option<Gate>,
    deaf: bool,
    rejects: u64,
    notices: Vec<Notice>,
}

#[derive(Clone, Debug)]
enum End {
    Good,
    Fails {
        fatal: bool,
    },
    Panics,
    /// Voids the plan while the count is above 0, and is good afterwards.
    Voids(Arc<AtomicU32>),
}

impl TestPartition {
    /// Makes the error one that ends the run under any failure policy.
    pub fn fatally(mut self) -> TestPartition {
        self.end = End::Fails { fatal: true };
        self
    }

    /// Makes the partition void the plan after its rows, the first `times`
    /// times that it is read, and be good afterwards.
    pub fn voiding_plan(mut self, times: u32) -> TestPartition {
        self.end = End::Voids(Arc::new(AtomicU32::new(times)));
        self
    }

    /// Makes the waits at the gate go on when the run is cancelled.
    pub fn deaf(mut self) -> TestPartition {
        self.deaf = true;
        self
    }

    /// Tells these notices before the first row.
    pub fn noticing(mut self, notices: impl IntoIterator<Item = Notice>) -> TestPartition {
        self.notices.extend(notices);
        self
    }

    /// Puts `n` records aside before the first row.
    pub fn rejecting(mut self, n: u64) -> TestPartition {
        self.rejects = n;
        self
    }

    /// Returns whether all rows of the partition can be had.
    pub fn is_good(&self) -> bool {
        match &self.end {
            End::Good => true,
            End::Voids(left) => left.load(Ordering::SeqCst) == 0,
            End::Fails { .. } | End::Panics => false,
        }
    }

    fn wait(&self, cx: &UnitContext) -> Result<()> {
        match &self.gate {
            None => Ok(()),
            Some(gate) if self.deaf => {
                gate.pass_deaf();
                Ok(())
            }
            Some(gate) => gate.pass(&cx.cancel),
        }
    }

    fn end(&self) -> Result<()> {
        match &self.end {
            End::Good => Ok(()),
            End::Voids(left) => {
                let one_less = |left: u32| left.checked_sub(1);
                match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
                    Ok(_) => Err(incomplete("the session expired").voids_plan()),
                    Err(_) => Ok(()),
                }
            }
            End::Fails { fatal } => {
                let error = incomplete("the body ends too early");
                Err(if *fatal { error.fatal() } else { error })
            }
            End::Panics => panic!("after row {}", self.rows),
        }
    }
}

/// A source of partitions, each with its own fault.
///
/// Its rows are [`Row`]s, in batches of two; its partitions are called `p0`,
/// `p1` and so on.
#[derive(Clone, Debug, Default)]
pub struct TestSource {
    partitions: Vec<TestPartition>,
    ordered: bool,
    days: bool,
    catches_up: bool,
    max_workers: Option<NonZeroUsize>,
    max_rejects: Option<u64>,
    accepts_short: bool,
    fates: Arc<Mutex<Vec<Fate>>>,
    opened: Arc<AtomicU32>,
    plan: Planning,
    warnings: Vec<String>,
    in_files: bool,
}

#[derive(Clone, Debug, Default)]
enum Planning {
    #[default]
    Good,
    Fails,
    Panics,
    Waits(Gate),
}

impl TestSource {
    /// Creates a source of `partitions`.
    pub fn new(partitions: impl IntoIterator<Item = TestPartition>) -> TestSource {
        TestSource {
            partitions: partitions.into_iter().collect(),
            ..TestSource::default()
        }
    }

    /// Makes rows reach the sink in the order of the partitions.
    pub fn ordered(mut self, ordered: bool) -> TestSource {
        self.ordered = ordered;
        self
    }

    /// Makes each partition a day, the first of them 2024-01-01.
    pub fn days(mut self) -> TestSource {
        self.days = true;
        self
    }

    /// Makes it one that fetches the days which the destination lacks; it plans
    /// all of them all the same.
    pub fn catching_up(mut self) -> TestSource {
        self.catches_up = true;
        self.days()
    }

    /// Allows at most `workers` at once.
    pub fn max_workers(mut self, workers: usize) -> TestSource {
        self.max_workers = NonZeroUsize::new(workers);
        self
    }

    /// Returns what the source was told of its sessions' rows, one after the
    /// other.
    pub fn fates(&self) -> Arc<Mutex<Vec<Fate>>> {
        Arc::clone(&self.fates)
    }

    /// Returns how often the source was opened.
    pub fn opened(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.opened)
    }

    /// Allows at most `rejects` records that cannot be read.
    pub fn max_rejects(mut self, rejects: u64) -> TestSource {
        self.max_rejects = Some(rejects);
        self
    }

    /// Takes fewer rows than were said.
    pub fn accepting_short(mut self) -> TestSource {
        self.accepts_short = true;
        self
    }

    /// Has the rows of each partition in a file, too.
    pub fn in_files(mut self) -> TestSource {
        self.in_files = true;
        self
    }

    /// Warns when it is planned.
    pub fn warning(mut self, warning: &str) -> TestSource {
        self.warnings.push(warning.to_owned());
        self
    }

    /// Makes planning fail.
    pub fn failing_plan(mut self) -> TestSource {
        self.plan = Planning::Fails;
        self
    }

    /// Makes planning panic.
    pub fn panicking_plan(mut self) -> TestSource {
        self.plan = Planning::Panics;
        self
    }

    /// Makes planning wait at `gate`.
    pub fn slow_plan(mut self, gate: &Gate) -> TestSource {
        self.plan = Planning::Waits(gate.clone());
        self
    }

    /// Returns the rows of the good partitions, in order.
    pub fn good_rows(&self) -> Vec<Row> {
        let good = self.partitions.iter().zip(0..).filter(|(p, _)| p.is_good());
        good.flat_map(|(partition, n)| (0..partition.rows as i64).map(move |row| (n, row)))
            .collect()
    }

    /// Returns the labels of the partitions that are not good, in order.
    pub fn bad_labels(&self) -> Vec<String> {
        let bad = self
            .partitions
            .iter()
            .zip(0..)
            .filter(|(p, _)| !p.is_good());
        bad.map(|(_, n)| label(n)).collect()
    }

    fn units(&self) -> Vec<Unit> {
        let dataset = dataset().key();
        let unit = |n| {
            let request = serde_json::json!({ "n": n });
            Unit::new(&dataset, self.extent(n), label(n), request)
        };
        (0..self.partitions.len()).map(unit).collect()
    }

    fn extent(&self, n: usize) -> Extent {
        if !self.days {
            return Extent::Page(n as u64);
        }
        let first = FIRST_DAY.saturating_add((n as i64).days());
        let midnight = |date: Date| {
            let start = date.to_zoned(TimeZone::UTC).expect("UTC has no gaps");
            start.timestamp().as_microsecond()
        };
        Extent::Days(DayRange {
            first,
            last: first,
            start_us: midnight(first),
            end_us: midnight(first.saturating_add(1.day())),
        })
    }
}

impl Source for TestSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn info(&self) -> SourceInfo {
        let last = FIRST_DAY.saturating_add((self.partitions.len() as i64 - 1).days());
        SourceInfo {
            dataset: dataset(),
            title: "test rows".to_owned(),
            from_date: self.days.then_some(FIRST_DAY),
            to_date: self.days.then_some(last),
            partitions_are_days: self.days,
            calendar: self.catches_up.then(|| Calendar {
                zone: TimeZone::UTC,
                lookback: 0,
                start: Some(FIRST_DAY),
                catches_up: true,
            }),
            ..SourceInfo::default()
        }
    }

    fn outline(&self, _held: &Held) -> Outline {
        Outline {
            units: self.units(),
            max_workers: self.max_workers,
            ..Outline::default()
        }
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(TestSession {
            source: self.clone(),
            cx: cx.clone(),
        }))
    }

    fn accepts_short(&self) -> bool {
        self.accepts_short
    }

    fn max_rejects(&self) -> u64 {
        self.max_rejects.unwrap_or(u64::MAX)
    }
}

fn label(n: usize) -> String {
    format!("p{n}")
}

fn dataset() -> Dataset {
    Dataset {
        project: "test".to_owned(),
        ..Dataset::default()
    }
}

/// A [`TestSource`] in one run.
struct TestSession {
    source: TestSource,
    cx: RunContext,
}

impl TestSession {
    fn partition(&self, unit: &Unit) -> (i64, &TestPartition) {
        let n = unit.request["n"].as_u64().expect("a unit of this source");
        (n as i64, &self.source.partitions[n as usize])
    }
}

impl Session for TestSession {
    fn plan(&self) -> Result<Plan> {
        let source = &self.source;
        match &source.plan {
            Planning::Good => {}
            Planning::Fails => {
                return Err(
                    Error::new(ErrorKind::Auth, "the server answered 401").hint("check the secret")
                );
            }
            Planning::Panics => panic!("while planning"),
            Planning::Waits(gate) => gate.pass(&self.cx.cancel)?,
        }
        Ok(Plan {
            units: source.units(),
            max_workers: source.max_workers,
            ordered: source.ordered,
            expected_rows: Some(source.partitions.iter().map(|p| p.said).sum()),
            requests: source.partitions.len() as u64,
            warnings: source.warnings.clone(),
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let (n, partition) = self.partition(unit);
        cx.count_request()?;
        for notice in &partition.notices {
            cx.notify(notice.clone());
        }
        for line in 1..=partition.rejects {
            cx.reject(&Reject {
                partition: &unit.label,
                line,
                reason: "there is no `event`",
                record: b"{}",
            })?;
        }
        if partition.rows == 0 {
            partition.wait(cx)?;
            partition.end()?;
            return Ok(Box::new(std::iter::empty()));
        }
        Ok(Box::new(Batches {
            partition,
            n,
            cx,
            next: 0,
            ended: false,
        }))
    }

    fn file(&self, unit: &Unit) -> Option<WholeFile> {
        let partition = self.partition(unit).1;
        (self.source.in_files && partition.rows > 0).then(|| WholeFile {
            place: FilePlace::Local(unit.label.clone().into()),
            rows: partition.rows,
            bytes: 1,
            notes: unit.request["n"].clone(),
        })
    }

    fn check_file(&self, unit: &Unit, cx: &UnitContext) -> Result<()> {
        let partition = self.partition(unit).1;
        partition.end()?;
        cx.carry(Carried {
            record: UnitRecord {
                unit_key: unit.key.clone(),
                label: unit.label.clone(),
                days: None,
                fetched_at: jiff::Timestamp::UNIX_EPOCH,
                run_id: String::new(),
                rows: partition.rows,
                duplicates: 0,
                rejected: 0,
                bytes: None,
                sha256: None,
                latest_version: None,
                outside: 0,
            },
            days: Vec::new(),
            read: partition.rows,
            rows_by_event: [("Test".to_owned(), partition.rows)].into(),
            ids: Vec::new(),
            dropped: Dropped::default(),
            warnings: BTreeMap::new(),
        })
    }

    fn finish(&self, fate: Fate) {
        let fates = self.source.fates.lock();
        fates.unwrap_or_else(PoisonError::into_inner).push(fate);
    }
}

struct Batches<'a> {
    partition: &'a TestPartition,
    n: i64,
    cx: &'a UnitContext,
    next: u64,
    ended: bool,
}

impl Batches<'_> {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let partition = self.partition;
        partition.wait(self.cx)?;
        if self.next == partition.rows {
            return partition.end().map(|()| None);
        }
        let end = (self.next + partition.batch_rows).min(partition.rows);
        let rows = self.next..end;
        self.next = end;
        self.cx.count_bytes(rows.end - rows.start);
        Ok(Some(batch(self.n, rows)?))
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.ended {
            return None;
        }
        let batch = self.batch().transpose();
        self.ended = !matches!(batch, Some(Ok(_)));
        batch
    }
}

fn batch(partition: i64, rows: Range<u64>) -> Result<RecordBatch> {
    let rows: Int64Array = rows.map(|row| row as i64).collect();
    let partitions = Int64Array::from(vec![partition; rows.len()]);
    let columns = vec![Arc::new(partitions) as _, Arc::new(rows) as _];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

/// Returns the rows of a batch that a [`TestSource`] made.
///
/// # Panics
///
/// If its columns are others.
pub fn rows_of(records: &RecordBatch) -> Vec<Row> {
    let column = |n: usize| records.column(n).as_primitive::<Int64Type>().values();
    column(0)
        .iter()
        .copied()
        .zip(column(1).iter().copied())
        .collect()
}
