//! Records as Rust values, and the batches that they come from and go to.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use jiff::Timestamp;
use mixflow_core::batch::MAX_BATCH_ROWS;
use mixflow_core::sink::RecordFormat;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_source_mixpanel::schema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A normalised event. Its JSON form is a line of `mixflow fetch --stdout`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub event_name: String,
    /// When, in UTC.
    pub event_time: Timestamp,
    /// To whom; empty if the record does not say.
    pub distinct_id: String,
    /// What tells it from others; a hash of the record if that does not say.
    pub insert_id: String,
    /// The other properties: a JSON object, as it was sent.
    pub properties: Box<RawValue>,
}

/// A normalised profile. Its JSON form is a line of `mixflow fetch --stdout`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Whose it is.
    pub distinct_id: String,
    /// When it was last seen, in UTC.
    pub last_seen: Option<Timestamp>,
    /// The other properties: a JSON object, as it was sent.
    pub properties: Box<RawValue>,
}

/// A record as Mixpanel sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord(Vec<u8>);

impl RawRecord {
    /// Returns the bytes, untouched.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the record as JSON.
    ///
    /// Fails with [`ErrorKind::Data`] if it is none, or of another shape.
    pub fn json<'r, T: Deserialize<'r>>(&'r self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::new(ErrorKind::Data, "cannot read a raw record as JSON").with_source(error)
        })
    }
}

/// What a stream makes of batches, and which batches it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<T> {
    /// The form of record that it wants.
    pub(super) records: RecordFormat,
    /// Checks that rows of a schema can be read.
    pub(super) check: fn(&Schema) -> Result<()>,
    /// Returns how many there are in a batch.
    pub(super) rows: fn(&RecordBatch) -> usize,
    /// Reads one of them.
    pub(super) read: fn(&RecordBatch, usize) -> Result<T>,
}

pub(super) const EVENT: Item<Event> = Item {
    records: RecordFormat::Normalized,
    check: |given| check(given, &schema::events(), "an event"),
    rows: RecordBatch::num_rows,
    read: |batch, row| {
        Ok(Event {
            event_name: text(batch, 0, row),
            event_time: time(batch, 1, row)?.unwrap_or_default(),
            distinct_id: text(batch, 2, row),
            insert_id: text(batch, 3, row),
            properties: json(batch, 4, row)?,
        })
    },
};

pub(super) const PROFILE: Item<Profile> = Item {
    records: RecordFormat::Normalized,
    check: |given| check(given, &schema::profiles(), "a profile"),
    rows: RecordBatch::num_rows,
    read: |batch, row| {
        Ok(Profile {
            distinct_id: text(batch, 0, row),
            last_seen: time(batch, 1, row)?,
            properties: json(batch, 2, row)?,
        })
    },
};

pub(super) const RAW: Item<RawRecord> = Item {
    records: RecordFormat::Raw,
    check: |_| Ok(()),
    rows: RecordBatch::num_rows,
    read: |batch, row| {
        let records: &BinaryArray = batch.column(0).as_binary::<i32>();
        Ok(RawRecord(records.value(row).to_vec()))
    },
};

/// Whole batches, whatever their columns are.
pub(super) const BATCH: Item<RecordBatch> = Item {
    records: RecordFormat::Normalized,
    check: |_| Ok(()),
    rows: |_| 1,
    read: |batch, _| Ok(batch.clone()),
};

/// Checks that transforms have left the columns that a record is made of.
fn check(given: &Schema, wanted: &Schema, what: &str) -> Result<()> {
    let columns = |schema: &Schema| -> Vec<(String, DataType)> {
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    if columns(given) == columns(wanted) {
        return Ok(());
    }
    let names: Vec<&str> = wanted
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    Err(
        Error::new(ErrorKind::Config, format!("cannot make {what} of each row"))
            .because(format!("that needs the columns {}", names.join(", ")))
            .hint("stream batches, or leave these columns as they are"),
    )
}

fn text(batch: &RecordBatch, column: usize, row: usize) -> String {
    batch
        .column(column)
        .as_string::<i32>()
        .value(row)
        .to_owned()
}

fn time(batch: &RecordBatch, column: usize, row: usize) -> Result<Option<Timestamp>> {
    let times = batch
        .column(column)
        .as_primitive::<TimestampMicrosecondType>();
    if times.is_null(row) {
        return Ok(None);
    }
    let micros = times.value(row);
    Timestamp::from_microsecond(micros)
        .map(Some)
        .map_err(|error| {
            let message = format!("the time {micros} µs is out of range");
            Error::new(ErrorKind::Data, message).with_source(error)
        })
}

fn json(batch: &RecordBatch, column: usize, row: usize) -> Result<Box<RawValue>> {
    RawValue::from_string(text(batch, column, row)).map_err(|error| {
        Error::new(ErrorKind::Data, "cannot read properties as JSON").with_source(error)
    })
}

pub(super) fn event_batch(events: &[Event]) -> Result<RecordBatch> {
    let times = events.iter().map(|event| event.event_time.as_microsecond());
    let columns: Vec<ArrayRef> = vec![
        texts(events, |event| &event.event_name),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        texts(events, |event| &event.distinct_id),
        texts(events, |event| &event.insert_id),
        texts(events, |event| event.properties.get()),
    ];
    Ok(RecordBatch::try_new(schema::events(), columns)?)
}

pub(super) fn profile_batch(profiles: &[Profile]) -> Result<RecordBatch> {
    let times = profiles
        .iter()
        .map(|profile| profile.last_seen.map(Timestamp::as_microsecond));
    let columns: Vec<ArrayRef> = vec![
        texts(profiles, |profile| &profile.distinct_id),
        Arc::new(times.collect::<TimestampMicrosecondArray>()),
        texts(profiles, |profile| profile.properties.get()),
    ];
    Ok(RecordBatch::try_new(schema::profiles(), columns)?)
}

fn texts<T>(records: &[T], of: impl Fn(&T) -> &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(records.iter().map(of)))
}

/// Collects records into batches. An error says at which record it was.
pub(super) fn batches<T>(
    what: &'static str,
    mut records: impl Iterator<Item = Result<T>>,
    batch: impl Fn(&[T]) -> Result<RecordBatch>,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut number = 0_u64;
    let mut over = false;
    std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        while !over && chunk.len() < MAX_BATCH_ROWS {
            number += 1;
            match records.next() {
                Some(Ok(record)) => chunk.push(record),
                Some(Err(error)) => {
                    over = true;
                    return Some(Err(error.context(format!("cannot take {what} {number}"))));
                }
                None => over = true,
            }
        }
        (!chunk.is_empty()).then(|| batch(&chunk))
    })
}
