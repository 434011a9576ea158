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

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
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
    records: Box<dyn Records>,
    stand_ins: StandIns,
}

impl Decoder {
    /// Creates a decoder without rows.
    pub fn new(form: Form) -> Decoder {
        let records: Box<dyn Records> = match form {
            Form::Events(clock) => Box::new(Events::new(clock)),
            Form::Profiles => Box::new(Profiles::new()),
            Form::Raw => Box::new(RawRecords::new()),
        };
        Decoder {
            records,
            stand_ins: StandIns::default(),
        }
    }

    /// Chooses how ids are made for events without `$insert_id`; a plain hash
    /// of the record, unless it is said.
    pub fn with_stand_ins(self, stand_ins: StandIns) -> Decoder {
        Decoder { stand_ins, ..self }
    }

    /// Decodes one record. An error is the reason to reject it.
    pub fn push(&mut self, record: &[u8]) -> Result<(), String> {
        self.records.push(record, &self.stand_ins)
    }

    /// Returns whether there are enough rows for a batch.
    pub fn is_full(&self) -> bool {
        self.records.is_full()
    }

    /// Returns the rows so far; `None` if there are none.
    pub fn take(&mut self) -> Option<RecordBatch> {
        self.records.take()
    }
}

#[cfg(test)]
mod tests;
