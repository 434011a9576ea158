//! Columns that are fixed by the first unit in the order of the plan that has
//! rows.
//!
//! Its worker looks at all of its rows, which wait meanwhile, fixes the columns
//! and goes on with them. The others wait with their first batch until the
//! columns are fixed, or until it is their unit that fixes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Receiver, Sender, bounded};

use super::row_file::{RowFile, bytes_of};
use crate::batch::PartitionId;
use crate::context::{RunContext, UnitContext};
use crate::error::Result;
use crate::made_of::Existing;
use crate::source::BatchIter;
use crate::transform::{LateColumns, NamedTransform, OpenTransform};

/// The bytes of rows that wait in memory. A unit of 30,000 ordinary events has
/// 25 MB; of larger ones the rest waits on disk.
const IN_MEMORY: u64 = if cfg!(test) { 64 } else { 32 << 20 };

/// The last transform of an attempt, whose columns are not fixed yet.
pub(super) struct Late {
    kind: String,
    columns: Arc<dyn LateColumns>,
    existing: Vec<Existing>,
    cx: RunContext,
    /// Where rows may wait.
    scratch: PathBuf,
    settled: OnceLock<OpenTransform>,
    turns: Mutex<Turns>,
}

/// Whose turn it is to fix the columns.
#[derive(Default)]
struct Turns {
    /// The first unit that is not through.
    next: usize,
    /// The units behind it that are through.
    ended: BTreeSet<usize>,
    /// Dropped to have whoever waits look again.
    waiting: Vec<Sender<()>>,
}

impl Late {
    pub(super) fn new(
        kind: &str,
        columns: Arc<dyn LateColumns>,
        existing: Vec<Existing>,
        cx: &RunContext,
        scratch: PathBuf,
    ) -> Late {
        Late {
            kind: kind.to_owned(),
            columns,
            existing,
            cx: cx.clone(),
            scratch,
            settled: OnceLock::new(),
            turns: Mutex::default(),
        }
    }

    /// Returns the columns of the rows, once they are fixed.
    pub(super) fn schema(&self) -> Option<SchemaRef> {
        self.settled.get().map(OpenTransform::schema)
    }

    /// Returns the columns if no unit has rows.
    pub(super) fn schema_without_rows(&self) -> Result<SchemaRef> {
        schema_without_rows(&*self.columns, &self.existing)
    }

    /// Passes the batches of a unit on, when the columns are fixed. Blocks until
    /// then.
    pub(super) fn stream<'a>(
        &'a self,
        id: PartitionId,
        mut batches: BatchIter<'a>,
        cx: &'a UnitContext,
    ) -> Result<BatchIter<'a>> {
        let Some(first) = next_with_rows(&mut batches)? else {
            return Ok(Box::new(std::iter::empty()));
        };
        while self.settled.get().is_none() {
            let Some(woken) = self.queue_up(id) else {
                let rows = self.settle(first, batches)?;
                return Ok(self.settled(rows, cx));
            };
            // Woken by a drop, so nothing is ever received.
            let _ = cx.cancel.recv(&woken);
            cx.cancel.check()?;
        }
        let batches = Box::new(std::iter::once(Ok(first)).chain(batches));
        Ok(self.settled(batches, cx))
    }

    fn settled<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        let transform = self.settled.get().expect("the columns are fixed");
        transform.stream(batches, cx)
    }

    /// Returns what wakes the worker of a unit; `None` if it is its turn.
    fn queue_up(&self, id: PartitionId) -> Option<Receiver<()>> {
        let mut turns = self.lock();
        let (wake, woken) = bounded(0);
        if self.settled.get().is_some() {
            return Some(woken);
        }
        if turns.next == id.index() {
            return None;
        }
        turns.waiting.push(wake);
        Some(woken)
    }

    /// Looks at all rows of a unit, fixes the columns, and returns the rows.
    fn settle<'a>(&self, first: RecordBatch, batches: BatchIter<'a>) -> Result<BatchIter<'a>> {
        let mut survey = self.columns.survey(&self.existing);
        let mut rows = Waiting::default();
        for records in std::iter::once(Ok(first)).chain(batches) {
            let records = records?;
            self.cx.cancel.check()?;
            survey.count(&records);
            rows.push(records, &self.scratch)?;
        }
        let transform = NamedTransform::new(&self.kind, survey.settle()?).open(&self.cx)?;
        let mut turns = self.lock();
        log::debug!("the columns are fixed: {}", transform.columns());
        // Nobody else has had the turn.
        let _ = self.settled.set(transform);
        turns.waiting.clear();
        drop(turns);
        rows.read()
    }

    /// Notes that a unit is through, whatever came of it.
    pub(super) fn ended(&self, id: PartitionId) {
        let mut turns = self.lock();
        turns.ended.insert(id.index());
        loop {
            let next = turns.next;
            if !turns.ended.remove(&next) {
                break;
            }
            turns.next += 1;
        }
        turns.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        // A panic of a worker leaves them whole: what can panic is not done
        // while they are locked.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the columns of a transform for rows that nobody has looked at.
pub(super) fn schema_without_rows(
    columns: &dyn LateColumns,
    existing: &[Existing],
) -> Result<SchemaRef> {
    Ok(columns.survey(existing).settle()?.schema())
}

fn next_with_rows(batches: &mut BatchIter<'_>) -> Result<Option<RecordBatch>> {
    for records in batches {
        let records = records?;
        if records.num_rows() > 0 {
            return Ok(Some(records));
        }
    }
    Ok(None)
}

/// Rows that wait until their columns are fixed: the first ones in memory, the
/// others on disk.
#[derive(Default)]
struct Waiting {
    first: Vec<RecordBatch>,
    bytes: u64,
    rest: Option<RowFile>,
}

impl Waiting {
    fn push(&mut self, records: RecordBatch, scratch: &Path) -> Result<()> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            None => {
                let bytes = bytes_of(&records);
                if self.bytes + bytes <= IN_MEMORY {
                    self.bytes += bytes;
                    self.first.push(records);
                    return Ok(());
                }
                let what = "their columns";
                let file = RowFile::create(scratch, what, records.schema_ref())?;
                self.rest.insert(file)
            }
        };
        rest.push(&records)
    }

    fn read<'a>(self) -> Result<BatchIter<'a>> {
        let first = self.first.into_iter().map(Ok);
        let rest = self.rest.map(RowFile::read).transpose()?;
        Ok(Box::new(first.chain(rest.into_iter().flatten())))
    }
}
