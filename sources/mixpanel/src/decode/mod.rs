//! From a record's bytes to normalised columns.
//!
//! The first path scans a record once, slices the reserved keys out and copies
//! the rest of `properties` as it was written. A record that it cannot read
//! for its bytes (invalid UTF-8, raw control characters in a text) goes
//! through a slower second path that repairs these, and nothing else. What
//! neither can read is a reject. Properties with a key that stands twice, or
//! with half of an emoji, are mended, so that all readers read the same.
//!
//! A type of record is a file: `event`, `profile`, and `raw` for any. What
//! they share is how a record is read ([`record`]), its properties
//! ([`properties`]), and its rows ([`rows`]).

mod event;
mod profile;
mod properties;
mod raw;
mod record;
mod rows;

use arrow::array::{AsArray as _, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use mixflow_core::context::UnitContext;
use mixflow_core::error::{Error, Result};
use mixflow_core::stand_in::StandIns;

use self::event::Events;
use self::profile::Profiles;
use self::raw::RawRecords;
use self::rows::Records;
use crate::schema;
use crate::time::EventClock;

/// Which records a decoder reads, and in which form it gives them out.
#[derive(Clone, Debug)]
pub enum Form {
    /// Events, normalised.
    Events(EventClock),
    /// Profiles, normalised.
    Profiles,
    /// Any record, untouched.
    Raw,
}

impl Form {
    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Form::Events(_) => schema::events(),
            Form::Profiles => schema::profiles(),
            Form::Raw => schema::raw(),
        }
    }
}

/// Turns records into batches.
pub struct Decoder {
    form: Form,
    records: Box<dyn Records>,
    stand_ins: StandIns,
    /// The bytes of each record of the rows so far.
    lengths: Vec<u32>,
}

impl Decoder {
    /// Creates a decoder without rows.
    pub fn new(form: Form) -> Decoder {
        let records: Box<dyn Records> = match &form {
            Form::Events(clock) => Box::new(Events::new(clock.clone())),
            Form::Profiles => Box::new(Profiles::new()),
            Form::Raw => Box::new(RawRecords::new()),
        };
        Decoder {
            form,
            records,
            stand_ins: StandIns::default(),
            lengths: Vec::new(),
        }
    }

    /// Chooses how ids are made for events without `$insert_id`; a plain hash
    /// of the record, unless it is said.
    pub fn with_stand_ins(self, stand_ins: StandIns) -> Decoder {
        Decoder { stand_ins, ..self }
    }

    /// Returns a decoder without rows that decodes as this one does.
    pub(crate) fn another(&self) -> Decoder {
        Decoder::new(self.form.clone()).with_stand_ins(self.stand_ins.clone())
    }

    /// Decodes one record. An error is the reason to reject it.
    pub fn push(&mut self, record: &[u8]) -> Result<(), String> {
        self.records.push(record, &self.stand_ins)?;
        self.lengths
            .push(u32::try_from(record.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Returns whether there are enough rows for a batch.
    pub fn is_full(&self) -> bool {
        self.records.is_full()
    }

    /// Returns the rows so far; `None` if there are none.
    pub fn take(&mut self) -> Option<RecordBatch> {
        self.lengths.clear();
        self.records.take()
    }

    /// Returns the rows so far, and counts their records as those of the unit
    /// that `cx` is of: their bytes by day, and the largest version.
    pub fn take_counted(&mut self, cx: &UnitContext) -> Option<RecordBatch> {
        Some(self.take_uncounted()?.counted(cx))
    }

    /// Returns the rows so far, whose records are to be counted elsewhere.
    pub(crate) fn take_uncounted(&mut self) -> Option<Uncounted> {
        Some(Uncounted {
            rows: self.records.take()?,
            lengths: std::mem::take(&mut self.lengths),
            version: self.records.take_version(),
        })
    }
}

/// Rows whose records are not counted as those of a unit yet.
pub(crate) struct Uncounted {
    rows: RecordBatch,
    /// The bytes of each record.
    lengths: Vec<u32>,
    /// The largest version among them.
    version: Option<i64>,
}

impl Uncounted {
    /// Returns the rows, the bytes of each record, and the largest version.
    #[cfg(test)]
    pub(crate) fn into_parts(self) -> (RecordBatch, Vec<u32>, Option<i64>) {
        (self.rows, self.lengths, self.version)
    }

    /// Counts the records as those of the unit that `cx` is of.
    pub(crate) fn counted(self, cx: &UnitContext) -> RecordBatch {
        let times = self.rows.column_by_name(schema::ROLES.time);
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        cx.count_records(times.map(|times| &times.values()[..]), &self.lengths);
        if let Some(version) = self.version {
            cx.note_version(version);
        }
        self.rows
    }

    /// Returns those of the rows whose time `is_taken`, and counts their
    /// records. For events alone, since other rows have no time.
    pub(crate) fn some(
        self,
        cx: &UnitContext,
        is_taken: impl Fn(i64) -> bool,
    ) -> Result<RecordBatch> {
        let times = self.rows.column_by_name(schema::ROLES.time);
        let times = times
            .expect("only events are of days")
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        let taken: BooleanArray = times.iter().map(|us| Some(is_taken(*us))).collect();
        let of_taken = times
            .iter()
            .zip(self.lengths)
            .filter(|(us, _)| is_taken(**us));
        let (times, lengths): (Vec<i64>, Vec<u32>) = of_taken.unzip();
        cx.count_records(Some(&times), &lengths);
        if let Some(version) = self.version {
            cx.note_version(version);
        }
        filter_record_batch(&self.rows, &taken).map_err(Error::from)
    }
}

#[cfg(test)]
mod tests;
