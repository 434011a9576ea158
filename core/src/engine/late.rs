//! Columns that are fixed by the first unit in the order of the plan that has
//! rows.
//!
//! Its worker looks at all of its rows, which wait meanwhile, fixes the columns
//! and goes on with them. The others wait with their first batch until the
//! columns are fixed, or until it is their unit that fixes them.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Receiver, Sender, bounded};

use super::row_file::{RowFile, bytes_of};
use crate::batch::PartitionId;
use crate::context::{RunContext, UnitContext};
use crate::error::Result;
use crate::made_of::Existing;
use crate::source::BatchIter;
use crate::staged::cannot;
use crate::transform::{LateColumns, NamedTransform, OpenTransform};

/// The bytes of rows that wait in memory. A unit of 30,000 ordinary events has
/// 25 MB; of larger ones the rest waits on disk.
const IN_MEMORY: u64 = if cfg!(test) { 64 } else { 32 << 20 };

/// Batches on their way to where they wait.
const QUEUED: usize = 2;

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
        let rows = Waiting::filled(&self.scratch, |keep| {
            for records in std::iter::once(Ok(first)).chain(batches) {
                let records = records?;
                self.cx.cancel.check()?;
                if keep.send(records.clone()).is_err() {
                    break;
                }
                survey.count(&records);
            }
            Ok(())
        })?;
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
    /// Returns the rows that `give` sends, once it has sent all.
    ///
    /// They are kept on another thread: to compress them takes as long as to look at
    /// them does. If they cannot be kept, `give` can send no more.
    fn filled(
        scratch: &Path,
        give: impl FnOnce(Sender<RecordBatch>) -> Result<()>,
    ) -> Result<Waiting> {
        let (keep, rows) = bounded::<RecordBatch>(QUEUED);
        thread::scope(|scope| {
            let keeping = thread::Builder::new()
                .name("mixflow-waiting".to_owned())
                .spawn_scoped(scope, move || {
                    let mut waiting = Waiting::default();
                    for records in rows {
                        waiting.push(records, scratch)?;
                    }
                    Ok(waiting)
                })
                .map_err(cannot("start a thread for rows that wait"))?;
            let given = give(keep);
            let kept = keeping.join().unwrap_or_else(|panic| resume_unwind(panic));
            given.and(kept)
        })
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray as _, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn numbers(numbers: std::ops::Range<i64>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("n", numbers)]).expect("it fits")
    }

    /// Gives ten batches of five rows, of which the first alone fits into memory, until
    /// one is not taken; returns how many were.
    fn give(keep: &Sender<RecordBatch>) -> usize {
        let batches = (0..10).map(|n| numbers(5 * n..5 * (n + 1)));
        batches
            .take_while(|rows| keep.send(rows.clone()).is_ok())
            .count()
    }

    #[test]
    fn rows_that_wait_come_back_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let waiting = Waiting::filled(folder.path(), |keep| {
            assert_eq!(give(&keep), 10);
            Ok(())
        });
        let rows = waiting.and_then(Waiting::read).expect("they were kept");
        let mut all = Vec::new();
        for records in rows {
            let records = records.expect("they are read");
            let numbers = records.column(0).as_primitive::<Int64Type>();
            all.extend_from_slice(numbers.values());
        }
        assert_eq!(all, (0..50).collect::<Vec<i64>>());
    }

    #[test]
    fn rows_that_cannot_be_kept_end_it_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = folder.path().join("gone");
        let waiting = Waiting::filled(&gone, |keep| {
            assert!(give(&keep) < 10);
            Ok(())
        });
        let error = waiting.err().expect("there is no such folder");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.in_a_line().contains("gone"), "{error:?}");
    }

    #[test]
    fn what_ends_the_unit_counts_and_not_what_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let waiting = Waiting::filled(folder.path(), |keep| {
            give(&keep);
            Err(Error::new(ErrorKind::Interrupted, "cannot go on"))
        });
        let error = waiting.err().expect("it was cancelled");
        assert_eq!(error.message(), "cannot go on");
    }
}
