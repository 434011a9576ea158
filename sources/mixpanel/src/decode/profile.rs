//! Profiles.

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
use crate::schema;
use crate::time::last_seen;
use mixflow_core::json::keys::Keys;
use mixflow_core::json::scan::{Fault, Kind, Scanner, Value};

/// Decodes profiles.
pub(super) struct Profiles {
    rows: Rows<ProfileColumns>,
    scratch: Scratch,
}

/// Memory that is used again for every profile.
#[derive(Default)]
struct Scratch {
    runs: Vec<Run>,
    keys: Keys,
    mended: String,
    distinct_id: String,
}

impl Profiles {
    pub(super) fn new() -> Profiles {
        Profiles {
            rows: Rows::default(),
            scratch: Scratch::default(),
        }
    }

    fn decode(&mut self, text: &str) -> Result<(), Refused> {
        let scratch = &mut self.scratch;
        let mut parts = Parts::default();
        parts.find(text, &mut scratch.runs, &mut scratch.keys)?;
        let distinct_id = plain(text, parts.distinct_id()?, &mut scratch.distinct_id);
        let properties = Properties::of(
            text,
            &mut scratch.runs,
            parts.is_to_be_mended,
            &mut scratch.mended,
        )?;
        self.rows.push(|columns| {
            columns.distinct_id.append_value(distinct_id);
            columns.last_seen.append_option(parts.last_seen_us);
            distinct_id.len() + properties.append_to(&mut columns.properties)
        });
        Ok(())
    }
}

impl Records for Profiles {
    fn push(&mut self, record: &[u8], _stand_ins: &StandIns) -> Result<(), String> {
        read(record, |text| self.decode(text))
    }

    fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    fn take(&mut self) -> Option<RecordBatch> {
        self.rows.take()
    }
}

/// Where a profile's parts stand in its text.
#[derive(Default)]
struct Parts {
    distinct_id: Option<Value>,
    properties: Option<Kind>,
    last_seen_us: Option<i64>,
    /// Whether its properties are to be mended.
    is_to_be_mended: bool,
}

impl Parts {
    /// Finds the parts, and the runs of properties that are kept.
    fn find(&mut self, text: &str, runs: &mut Vec<Run>, keys: &mut Keys) -> Result<(), Refused> {
        runs.clear();
        self.is_to_be_mended = scan(text, keys, |scanner, key| {
            if key.is(text, "$properties") && scanner.at_object() {
                self.last_seen_us = scan_properties(scanner, text, runs)?;
                self.properties = Some(Kind::Object);
                return Ok(());
            }
            let value = scanner.value()?;
            if key.is(text, "$distinct_id") {
                self.distinct_id = Some(value);
            } else if key.is(text, "$properties") {
                runs.clear();
                self.properties = Some(value.kind);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Returns the profile's id. Fails if there is none, or if what should be
    /// its properties is something else.
    fn distinct_id(&self) -> Result<&Value, Refused> {
        let distinct_id = match &self.distinct_id {
            Some(value) if value.kind != Kind::Null => value,
            _ => return Err(meaning("there is no `$distinct_id`")),
        };
        match self.properties {
            // A cohort may hold ids that have no profile.
            None | Some(Kind::Object | Kind::Null) => Ok(distinct_id),
            Some(_) => Err(meaning("`$properties` is not an object")),
        }
    }
}

/// Reads a profile's properties, and returns its `$last_seen`: the last one,
/// if it can be read. One that cannot stays where it is.
fn scan_properties(
    scanner: &mut Scanner<'_>,
    text: &str,
    runs: &mut Vec<Run>,
) -> Result<Option<i64>, Fault> {
    let start = scanner.at;
    let mut found: Vec<Option<i64>> = Vec::new();
    properties::scan(scanner, text, runs, |key, value| {
        if !key.is(text, "$last_seen") {
            return false;
        }
        let read = match value.kind {
            Kind::String { .. } => last_seen(unescape(inside(text, &value)).trim()),
            _ => None,
        };
        found.push(read);
        read.is_some()
    })?;
    let last = found.last().copied().flatten();
    if found.len() > 1 {
        // Which of them stay depends on the last.
        scanner.at = start;
        properties::scan(scanner, text, runs, |key, _| {
            last.is_some() && key.is(text, "$last_seen")
        })?;
    }
    Ok(last)
}

/// The columns of [`schema::profiles`].
struct ProfileColumns {
    distinct_id: StringBuilder,
    last_seen: TimestampMicrosecondBuilder,
    properties: StringBuilder,
}

impl Default for ProfileColumns {
    fn default() -> ProfileColumns {
        ProfileColumns {
            distinct_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            last_seen: TimestampMicrosecondBuilder::with_capacity(MAX_BATCH_ROWS),
            properties: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 400),
        }
    }
}

impl Columns for ProfileColumns {
    fn schema() -> SchemaRef {
        schema::profiles()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.distinct_id.finish()),
            Arc::new(self.last_seen.finish()),
            Arc::new(self.properties.finish()),
        ]
    }
}
