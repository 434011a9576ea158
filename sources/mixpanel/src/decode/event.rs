//! Events.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::MAX_BATCH_ROWS;
use mixflow_core::json::unescape;
use mixflow_core::stand_in::StandIns;

use super::properties::{self, Properties, Run};
use super::record::{Refused, inside, meaning, plain, read, scan};
use super::rows::{Columns, Records, Rows};
use crate::json::repair::excerpt;
use crate::schema;
use crate::time::EventClock;
use mixflow_core::json::keys::Keys;
use mixflow_core::json::scan::{Fault, Kind, Scanner, Value};

/// Decodes events.
pub(super) struct Events {
    clock: EventClock,
    rows: Rows<EventColumns>,
    /// The largest version since it was last asked for.
    version: Option<i64>,
    scratch: Scratch,
}

/// Memory that is used again for every event.
#[derive(Default)]
struct Scratch {
    runs: Vec<Run>,
    keys: Keys,
    mended: String,
    event_name: String,
    distinct_id: String,
    insert_id: String,
}

impl Events {
    pub(super) fn new(clock: EventClock) -> Events {
        Events {
            clock,
            rows: Rows::default(),
            version: None,
            scratch: Scratch::default(),
        }
    }

    fn decode(&mut self, text: &str, record: &[u8], stand_ins: &StandIns) -> Result<(), Refused> {
        let scratch = &mut self.scratch;
        let mut parts = Parts::default();
        parts.find(text, &mut scratch.runs, &mut scratch.keys)?;
        let event_name = plain(text, parts.event()?, &mut scratch.event_name);
        let event_time_us = parts.read_time(text, &self.clock)?;
        let distinct_id = text_of(text, parts.distinct_id.as_ref(), &mut scratch.distinct_id);
        let insert_id = text_of(text, parts.insert_id.as_ref(), &mut scratch.insert_id);
        let properties = Properties::of(
            text,
            &mut scratch.runs,
            parts.is_to_be_mended,
            &mut scratch.mended,
        )?;
        let hash;
        let insert_id = match insert_id {
            "" => {
                hash = stand_ins.id(record);
                hash.as_str()
            }
            id => id,
        };
        self.rows.push(|columns| {
            columns.event_name.append_value(event_name);
            columns.event_time.append_value(event_time_us);
            columns.distinct_id.append_value(distinct_id);
            columns.insert_id.append_value(insert_id);
            let texts = event_name.len() + distinct_id.len() + insert_id.len();
            texts + properties.append_to(&mut columns.properties)
        });
        let version = parts
            .version
            .and_then(|value| text[value.span].parse().ok());
        self.version = self.version.max(version);
        Ok(())
    }
}

impl Records for Events {
    fn push(&mut self, record: &[u8], stand_ins: &StandIns) -> Result<(), String> {
        read(record, |text| self.decode(text, record, stand_ins))
    }

    fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    fn take(&mut self) -> Option<RecordBatch> {
        self.rows.take()
    }

    fn take_version(&mut self) -> Option<i64> {
        self.version.take()
    }
}

/// Where an event's parts stand in its text.
#[derive(Default)]
struct Parts {
    event: Option<Value>,
    has_properties: bool,
    time: Option<Value>,
    distinct_id: Option<Value>,
    insert_id: Option<Value>,
    /// Stays among the properties.
    version: Option<Value>,
    /// Whether its properties are to be mended.
    is_to_be_mended: bool,
}

impl Parts {
    /// Finds the parts, and the runs of properties that are kept.
    ///
    /// In place: as a result, the parts would be copied for every event.
    fn find(&mut self, text: &str, runs: &mut Vec<Run>, keys: &mut Keys) -> Result<(), Refused> {
        self.is_to_be_mended = scan(text, keys, |scanner, key| {
            if key.is(text, "event") {
                self.event = Some(scanner.value()?);
            } else if key.is(text, "properties") && scanner.at_object() {
                self.find_properties(scanner, text, runs)?;
            } else {
                scanner.value()?;
                if key.is(text, "properties") {
                    self.has_properties = false;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    #[inline]
    fn find_properties(
        &mut self,
        scanner: &mut Scanner<'_>,
        text: &str,
        runs: &mut Vec<Run>,
    ) -> Result<(), Fault> {
        // Keys that stand twice: the last one counts, as everywhere.
        (self.time, self.distinct_id, self.insert_id) = (None, None, None);
        self.has_properties = true;
        properties::scan(scanner, text, runs, |key, value| {
            // One comparison for the keys of Mixpanel's own, `mp_…`, which stay.
            if text.as_bytes().get(key.start + 1) == Some(&b'm') {
                if key.is(text, schema::ROLES.version.1) {
                    self.version = Some(value);
                }
                return false;
            }
            let slot = match () {
                () if key.is(text, "time") => &mut self.time,
                () if key.is(text, "distinct_id") => &mut self.distinct_id,
                () if key.is(text, "$insert_id") => &mut self.insert_id,
                () => return false,
            };
            *slot = Some(value);
            true
        })
    }

    /// Returns the event's name. Fails if there is none, or are no properties.
    fn event(&self) -> Result<&Value, Refused> {
        let event = match &self.event {
            Some(value) if matches!(value.kind, Kind::String { .. }) => value,
            Some(_) => return Err(meaning("`event` is not a text")),
            None => return Err(meaning("there is no `event`")),
        };
        if !self.has_properties {
            return Err(meaning("there is no `properties` object"));
        }
        Ok(event)
    }

    fn read_time(&self, text: &str, clock: &EventClock) -> Result<i64, Refused> {
        let Some(time) = &self.time else {
            return Err(meaning("there is no `time`"));
        };
        let read = match time.kind {
            Kind::Number => clock.read(&text[time.span.clone()]),
            Kind::String { escaped: false } => clock.read(inside(text, time).trim()),
            Kind::String { escaped: true } => clock.read(unescape(inside(text, time)).trim()),
            _ => None,
        };
        read.ok_or_else(|| {
            let shown = excerpt(&text[time.span.clone()]);
            Refused::Meaning(format!("`time` cannot be read: {shown}"))
        })
    }
}

/// Returns a value as text; `""` if there is none.
fn text_of<'a>(text: &'a str, value: Option<&Value>, scratch: &'a mut String) -> &'a str {
    value.map_or("", |value| plain(text, value, scratch))
}

/// The columns of [`schema::events`].
struct EventColumns {
    event_name: StringBuilder,
    event_time: TimestampMicrosecondBuilder,
    distinct_id: StringBuilder,
    insert_id: StringBuilder,
    properties: StringBuilder,
}

impl Default for EventColumns {
    fn default() -> EventColumns {
        EventColumns {
            event_name: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 16),
            event_time: TimestampMicrosecondBuilder::with_capacity(MAX_BATCH_ROWS),
            distinct_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            insert_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            properties: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 800),
        }
    }
}

impl Columns for EventColumns {
    fn schema() -> SchemaRef {
        schema::events()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.event_name.finish()),
            Arc::new(self.event_time.finish()),
            Arc::new(self.distinct_id.finish()),
            Arc::new(self.insert_id.finish()),
            Arc::new(self.properties.finish()),
        ]
    }
}
