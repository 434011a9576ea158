//! `dedupe`: leaves out events that Mixpanel has more than once.
//!
//! A partition is written to temporary files first: its rows, and a small
//! record of each row's key. The records say which row of each key stays; then
//! the rows are read again. Rows that are duplicates have the same time, so
//! they are in the same window, and a partition at a time is enough.

mod key;
mod spool;
mod winners;

#[cfg(test)]
mod tests;

use arrow::array::{AsArray as _, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::Result;
use mixflow_core::registry::{ComponentDoc, Registry};
use mixflow_core::roles::ColumnRoles;
use mixflow_core::source::BatchIter;
use mixflow_core::transform::{Transform, TransformSession};
use schemars::JsonSchema;
use serde::Deserialize;

use key::Keys;
use spool::{Replay, Spool};

const DOC: ComponentDoc = ComponentDoc {
    name: "dedupe",
    about: "of events with the same event_name, event_time, distinct_id and insert_id keeps the one with the largest `mp_processing_time_ms`, or the first; takes about 64 MB and one bit a row for each worker, and the rows of its window in the system's temporary folder",
    options: &[],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |DedupeOptions {}, input, cx| {
            let dedupe = Dedupe::new(input, cx.roles.as_ref())?;
            Ok(Box::new(dedupe))
        })
        .takes::<DedupeOptions>();
}

/// The options of `dedupe`: there are none.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupeOptions {}

/// Keeps one of the events that have the same key.
#[derive(Clone, Debug)]
pub struct Dedupe {
    schema: SchemaRef,
    keys: Keys,
    limits: Limits,
}

/// How much memory a partition may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Rows and records, each, before they go to the disk.
    spool: usize,
    /// Keys that are compared in one pass.
    pass: u64,
}

/// Together about 64 MB: rows and records of 8 MB each, which may double while
/// they grow, and a table of 2^20 places of 33 bytes, of which the standard
/// library's fills seven of eight before it takes twice as many.
const LIMITS: Limits = Limits {
    spool: 8 << 20,
    pass: 900_000,
};

impl Dedupe {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails if the source has not said which of its columns make two rows
    /// copies of one record, and if the input has not these.
    pub fn new(input: &SchemaRef, roles: Option<&ColumnRoles>) -> Result<Dedupe, Vec<Invalid>> {
        let Some(roles) = roles else {
            // Such as profiles, of which Mixpanel has one each.
            let message = "the rows of this source have no copies; only events have duplicates";
            return Err(vec![Invalid::new("", message)]);
        };
        Ok(Dedupe {
            schema: SchemaRef::clone(input),
            keys: Keys::new(input, roles)?,
            limits: LIMITS,
        })
    }

    /// Reads the partition to its end, and returns its rows with those that
    /// stay.
    fn read(&self, batches: BatchIter<'_>, cx: &UnitContext) -> Result<Kept> {
        let mut spool = Spool::new(&self.schema, self.limits.spool)?;
        let mut records = Vec::new();
        for batch in batches {
            let batch = batch?;
            self.keys.read(&batch, &mut records)?;
            spool.write(&batch, &records)?;
            records.clear();
        }
        let rows = spool.rows();
        let (batches, mut keys) = spool.finish()?;
        let passes = rows.div_ceil(self.limits.pass).max(1);
        let stay = winners::of(rows, passes, |each| keys.each(&cx.cancel, each))?;
        let kept = stay.count_set_bits() as u64;
        cx.count_duplicates(rows - kept);
        cx.count_dropped(DOC.name, "duplicate", rows - kept);
        Ok(Kept {
            batches,
            stay,
            next: 0,
            time: self.keys.time(),
        })
    }
}

impl Transform for Dedupe {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn open(&self, _cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        Ok(Box::new(self.clone()))
    }

    fn compares_ids(&self) -> bool {
        true
    }
}

impl TransformSession for Dedupe {
    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        Box::new(Deduped {
            dedupe: self,
            cx,
            state: State::Unread(batches),
        })
    }
}

/// The rows of a partition, with those that stay.
struct Kept {
    batches: Replay,
    stay: BooleanBuffer,
    next: usize,
    /// The column that says when a row happened.
    time: usize,
}

/// Says on which days the rows are that do not stay.
fn place_duplicates(records: &RecordBatch, time: usize, stay: &BooleanBuffer, cx: &UnitContext) {
    let times = records.column(time);
    let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
        return;
    };
    let gone = times.values().iter().zip(stay).filter(|(_, stays)| !stays);
    cx.place_duplicates(gone.map(|(us, _)| *us));
}

impl Kept {
    fn next(&mut self, schema: &SchemaRef, cx: &UnitContext) -> Result<Option<RecordBatch>> {
        cx.cancel.check()?;
        let Some(records) = self.batches.next()? else {
            return Ok(None);
        };
        // What was read has the same schema in another place of memory.
        let records = RecordBatch::try_new(SchemaRef::clone(schema), records.columns().to_vec())?;
        let stay = self.stay.slice(self.next, records.num_rows());
        self.next += records.num_rows();
        if stay.count_set_bits() == records.num_rows() {
            Ok(Some(records))
        } else {
            place_duplicates(&records, self.time, &stay, cx);
            Ok(Some(filter_record_batch(
                &records,
                &BooleanArray::from(stay),
            )?))
        }
    }
}

/// The batches of a partition without its duplicates.
struct Deduped<'a> {
    dedupe: &'a Dedupe,
    cx: &'a UnitContext,
    state: State<'a>,
}

enum State<'a> {
    Unread(BatchIter<'a>),
    Read(Box<Kept>),
    Ended,
}

impl Deduped<'_> {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut kept = match std::mem::replace(&mut self.state, State::Ended) {
            State::Unread(batches) => Box::new(self.dedupe.read(batches, self.cx)?),
            State::Read(kept) => kept,
            State::Ended => return Ok(None),
        };
        let records = kept.next(&self.dedupe.schema, self.cx)?;
        if records.is_some() {
            self.state = State::Read(kept);
        }
        Ok(records)
    }
}

impl Iterator for Deduped<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.batch().transpose()
    }
}
