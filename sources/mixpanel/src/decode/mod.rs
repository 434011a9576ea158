//! From a record's bytes to normalised columns.
//!
//! The first path scans a record once, slices the reserved keys out and copies
//! the rest of `properties` as it was written. A record that it cannot read
//! for its bytes (invalid UTF-8, raw control characters in a text) goes
//! through a slower second path that repairs these, and nothing else. What
//! neither can read is a reject. Properties with a key that stands twice, or
//! with half of an emoji, are mended, so that all readers read the same.

use arrow::record_batch::RecordBatch;
use mixflow_core::json::unescape;
use mixflow_core::stand_in::StandIns;

use crate::json::keys::Keys;
use crate::json::mend;
use crate::json::repair::{excerpt, repair};
use crate::json::scan::{Fault, Key, Kind, Scanner, Value};
use crate::schema::{EventRow, ProfileRow, Properties, Rows};
use crate::time::{EventClock, last_seen};

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

/// Turns records into batches.
pub struct Decoder {
    form: Form,
    stand_ins: StandIns,
    rows: Rows,
    scratch: Scratch,
}

/// Memory that is used again for every record.
#[derive(Default)]
struct Scratch {
    runs: Vec<(usize, usize)>,
    keys: Keys,
    mended: String,
    event_name: String,
    distinct_id: String,
    insert_id: String,
}

impl Decoder {
    /// Creates a decoder without rows.
    pub fn new(form: Form) -> Decoder {
        let rows = match form {
            Form::Events(_) => Rows::events(),
            Form::Profiles => Rows::profiles(),
            Form::Raw => Rows::raw(),
        };
        Decoder {
            form,
            stand_ins: StandIns::default(),
            rows,
            scratch: Scratch::default(),
        }
    }

    /// Chooses how ids are made for events without `$insert_id`; a plain hash
    /// of the record, unless it is said.
    pub fn with_stand_ins(self, stand_ins: StandIns) -> Decoder {
        Decoder { stand_ins, ..self }
    }

    /// Decodes one record. An error is the reason to reject it.
    pub fn push(&mut self, record: &[u8]) -> Result<(), String> {
        if matches!(self.form, Form::Raw) {
            self.rows.push_raw(record);
            return Ok(());
        }
        let first = match std::str::from_utf8(record) {
            Ok(text) => self.decode(text, record),
            Err(_) => Err(Refused::Bytes("it is not UTF-8".to_owned())),
        };
        match first {
            Ok(()) => Ok(()),
            Err(Refused::Meaning(reason)) => Err(reason),
            Err(Refused::Bytes(reason)) => {
                let repaired = repair(record);
                self.decode(&repaired, record)
                    .map_err(|refused| match refused {
                        Refused::Meaning(reason) => reason,
                        Refused::Bytes(_) => reason,
                    })
            }
        }
    }

    /// Returns whether there are enough rows for a batch.
    pub fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    /// Returns the rows so far; `None` if there are none.
    pub fn take(&mut self) -> Option<RecordBatch> {
        self.rows.take()
    }

    fn decode(&mut self, text: &str, record: &[u8]) -> Result<(), Refused> {
        match &self.form {
            Form::Events(clock) => {
                let Scratch { runs, keys, .. } = &mut self.scratch;
                let event = scan_event(text, runs, keys)?;
                push_event(
                    text,
                    record,
                    &event,
                    clock,
                    &self.stand_ins,
                    &mut self.scratch,
                    &mut self.rows,
                )
            }
            Form::Profiles => {
                let Scratch { runs, keys, .. } = &mut self.scratch;
                let profile = scan_profile(text, runs, keys)?;
                push_profile(text, &profile, &mut self.scratch, &mut self.rows)
            }
            Form::Raw => Ok(()),
        }
    }
}

/// Why a record is not decoded.
enum Refused {
    /// It is not JSON; the second path may help.
    Bytes(String),
    /// It is JSON but not a record.
    Meaning(String),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Bytes(format!(
            "it is not JSON at byte {}: {}",
            fault.at, fault.reason
        ))
    }
}

fn meaning(reason: &str) -> Refused {
    Refused::Meaning(reason.to_owned())
}

/// Where an event's parts stand in its text.
#[derive(Default)]
struct EventParts {
    event: Option<Value>,
    has_properties: bool,
    time: Option<Value>,
    distinct_id: Option<Value>,
    insert_id: Option<Value>,
    /// Whether its properties are to be mended.
    is_to_be_mended: bool,
}

fn scan_event(
    text: &str,
    runs: &mut Vec<(usize, usize)>,
    keys: &mut Keys,
) -> Result<EventParts, Refused> {
    let mut parts = EventParts::default();
    let mut scanner = Scanner::noting(text, keys);
    scanner.enter_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        if key.is(text, "event") {
            parts.event = Some(scanner.value()?);
        } else if key.is(text, "properties") && scanner.at_object() {
            // Keys that stand twice: the last one counts, as everywhere.
            parts = EventParts {
                event: parts.event,
                has_properties: true,
                ..EventParts::default()
            };
            scan_members(&mut scanner, text, runs, |key, value| {
                let slot = match () {
                    () if key.is(text, "time") => &mut parts.time,
                    () if key.is(text, "distinct_id") => &mut parts.distinct_id,
                    () if key.is(text, "$insert_id") => &mut parts.insert_id,
                    () => return false,
                };
                *slot = Some(value);
                true
            })?;
        } else {
            scanner.value()?;
            if key.is(text, "properties") {
                parts.has_properties = false;
            }
        }
    }
    scanner.end()?;
    parts.is_to_be_mended = scanner.is_to_be_mended();
    Ok(parts)
}

/// Reads an object's members; keeps, as runs, those that `taken` does not take.
fn scan_members(
    scanner: &mut Scanner<'_>,
    text: &str,
    runs: &mut Vec<(usize, usize)>,
    mut taken: impl FnMut(Key, Value) -> bool,
) -> Result<(), Fault> {
    runs.clear();
    scanner.enter_object()?;
    let mut first = true;
    // Whether the run goes on: the member before was kept too.
    let mut open = false;
    while let Some(key) = scanner.next_key(&mut first)? {
        let value = scanner.value()?;
        let end = value.span.end;
        // Reserved keys begin with one of three letters; most keys do not.
        let candidate = matches!(
            text.as_bytes().get(key.start + 1),
            Some(b't' | b'd' | b'$' | b'\\')
        );
        if candidate && taken(key, value) {
            open = false;
            continue;
        }
        match runs.last_mut() {
            Some(run) if open => run.1 = end,
            _ => runs.push((key.start, end)),
        }
        open = true;
    }
    Ok(())
}

fn push_event(
    text: &str,
    record: &[u8],
    parts: &EventParts,
    clock: &EventClock,
    stand_ins: &StandIns,
    scratch: &mut Scratch,
    rows: &mut Rows,
) -> Result<(), Refused> {
    let event_name = match &parts.event {
        Some(value) if matches!(value.kind, Kind::String { .. }) => {
            plain(text, value, &mut scratch.event_name)
        }
        Some(_) => return Err(meaning("`event` is not a text")),
        None => return Err(meaning("there is no `event`")),
    };
    if !parts.has_properties {
        return Err(meaning("there is no `properties` object"));
    }
    let Some(time) = &parts.time else {
        return Err(meaning("there is no `time`"));
    };
    let event_time_us = read_time(text, time, clock).ok_or_else(|| {
        Refused::Meaning(format!(
            "`time` cannot be read: {}",
            excerpt(&text[time.span.clone()])
        ))
    })?;
    let distinct_id = match &parts.distinct_id {
        Some(value) => plain(text, value, &mut scratch.distinct_id),
        None => "",
    };
    let insert_id = match &parts.insert_id {
        Some(value) => plain(text, value, &mut scratch.insert_id),
        None => "",
    };
    let hash;
    let text = whole(
        text,
        parts.is_to_be_mended,
        &mut scratch.runs,
        &mut scratch.mended,
    )?;
    let insert_id = match insert_id {
        "" => {
            hash = stand_ins.id(record);
            hash.as_str()
        }
        id => id,
    };
    rows.push_event(&EventRow {
        event_name,
        event_time_us,
        distinct_id,
        insert_id,
        properties: Properties {
            text,
            runs: &scratch.runs,
        },
    });
    Ok(())
}

/// Returns the text that the runs of properties stand in, which is not the
/// record's if they are to be mended.
fn whole<'a>(
    text: &'a str,
    is_to_be_mended: bool,
    runs: &mut Vec<(usize, usize)>,
    mended: &'a mut String,
) -> Result<&'a str, Refused> {
    if !is_to_be_mended {
        return Ok(text);
    }
    *mended = mend::mended(&Properties { text, runs }.joined())?;
    runs.clear();
    // Between the braces.
    if mended.len() > 2 {
        runs.push((1, mended.len() - 1));
    }
    Ok(mended)
}

fn read_time(text: &str, time: &Value, clock: &EventClock) -> Option<i64> {
    match time.kind {
        Kind::Number => clock.read(&text[time.span.clone()]),
        Kind::String { escaped: false } => clock.read(inside(text, time).trim()),
        Kind::String { escaped: true } => clock.read(unescape(inside(text, time)).trim()),
        _ => None,
    }
}

/// Where a profile's parts stand in its text.
#[derive(Default)]
struct ProfileParts {
    distinct_id: Option<Value>,
    properties: Option<Value>,
    last_seen_us: Option<i64>,
    /// Whether its properties are to be mended.
    is_to_be_mended: bool,
}

fn scan_profile(
    text: &str,
    runs: &mut Vec<(usize, usize)>,
    keys: &mut Keys,
) -> Result<ProfileParts, Refused> {
    let mut parts = ProfileParts::default();
    runs.clear();
    let mut scanner = Scanner::noting(text, keys);
    scanner.enter_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        if key.is(text, "$properties") && scanner.at_object() {
            let start = scanner.at;
            parts.last_seen_us = scan_profile_members(&mut scanner, text, runs)?;
            parts.properties = Some(Value {
                kind: Kind::Object,
                span: start..scanner.at,
            });
            continue;
        }
        let value = scanner.value()?;
        if key.is(text, "$distinct_id") {
            parts.distinct_id = Some(value);
        } else if key.is(text, "$properties") {
            runs.clear();
            parts.properties = Some(value);
        }
    }
    scanner.end()?;
    parts.is_to_be_mended = scanner.is_to_be_mended();
    Ok(parts)
}

/// Reads a profile's properties, and returns its `$last_seen`: the last one,
/// if it can be read. One that cannot stays where it is.
fn scan_profile_members(
    scanner: &mut Scanner<'_>,
    text: &str,
    runs: &mut Vec<(usize, usize)>,
) -> Result<Option<i64>, Fault> {
    let start = scanner.at;
    let mut found: Vec<Option<i64>> = Vec::new();
    scan_members(scanner, text, runs, |key, value| {
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
        scan_members(scanner, text, runs, |key, _| {
            last.is_some() && key.is(text, "$last_seen")
        })?;
    }
    Ok(last)
}

fn push_profile(
    text: &str,
    parts: &ProfileParts,
    scratch: &mut Scratch,
    rows: &mut Rows,
) -> Result<(), Refused> {
    let distinct_id = match &parts.distinct_id {
        Some(value) if value.kind != Kind::Null => plain(text, value, &mut scratch.distinct_id),
        _ => return Err(meaning("there is no `$distinct_id`")),
    };
    match &parts.properties {
        // A cohort may hold ids that have no profile.
        None => {}
        Some(value) if matches!(value.kind, Kind::Object | Kind::Null) => {}
        Some(_) => return Err(meaning("`$properties` is not an object")),
    }
    let text = whole(
        text,
        parts.is_to_be_mended,
        &mut scratch.runs,
        &mut scratch.mended,
    )?;
    rows.push_profile(&ProfileRow {
        distinct_id,
        last_seen_us: parts.last_seen_us,
        properties: Properties {
            text,
            runs: &scratch.runs,
        },
    });
    Ok(())
}

/// Returns a value as text: a string's content, `""` for null, otherwise the
/// value as it was written, so that a number keeps its digits.
fn plain<'a>(text: &'a str, value: &Value, scratch: &'a mut String) -> &'a str {
    match value.kind {
        Kind::String { escaped: false } => inside(text, value),
        Kind::String { escaped: true } => {
            *scratch = unescape(inside(text, value)).into_owned();
            scratch
        }
        Kind::Null => "",
        _ => &text[value.span.clone()],
    }
}

/// Returns what stands between a string's quotes.
fn inside<'a>(text: &'a str, value: &Value) -> &'a str {
    &text[value.span.start + 1..value.span.end - 1]
}

#[cfg(test)]
mod tests;
