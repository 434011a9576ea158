//! What a body gives, for tests of the ways in which it is decoded.

use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::parallel::Rest;
use crate::decode::{Decoder, Form, Uncounted};
use crate::http::lines::OwnedLine;
use crate::time::EventClock;

/// What a body gives, whoever decodes it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) rows: Vec<String>,
    pub(super) lengths: Vec<u32>,
    pub(super) version: Option<i64>,
    pub(super) rejects: Vec<(u64, String, Vec<u8>)>,
    pub(super) last: Option<OwnedLine>,
    /// How it failed.
    pub(super) failed: Option<String>,
}

impl Given {
    pub(super) fn add(&mut self, rows: Uncounted) {
        let (batch, lengths, version) = rows.into_parts();
        self.rows.extend(shown(&batch));
        self.lengths.extend(lengths);
        self.version = self.version.max(version);
    }
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let rows = (0..batch.num_rows()).map(|n| batch.slice(n, 1));
    let shown = |row| pretty_format_batches(&[row]).expect("it has a form");
    rows.map(|row| shown(row).to_string()).collect()
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(Form::Events(EventClock {
        in_ms: false,
        zone: Some(TimeZone::UTC),
    }))
}

/// Decodes a body line by line, as where there is one core.
pub(super) fn alone(rest: Rest) -> Given {
    let Rest {
        mut pending,
        mut lines,
    } = rest;
    let (mut given, mut decoder) = (Given::default(), decoder());
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line.to_owned(),
            Ok(None) => {
                given.last = pending;
                break;
            }
            Err(error) => {
                given.failed = Some(error.to_string());
                break;
            }
        };
        if let Some(line) = pending.replace(line)
            && let Err(reason) = decoder.push(&line.bytes)
        {
            given.rejects.push((line.number, reason, line.bytes));
        }
    }
    if let Some(rows) = decoder.take_uncounted() {
        given.add(rows);
    }
    given
}

/// A line of a body: a record, a blank one, one that cannot be read, or a long one.
pub(super) fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..99, "[a-z]{0,20}").prop_map(|(time, text)| {
            let properties = format!(r#""time":{time},"mp_processing_time_ms":{time},"a":"{text}""#);
            format!(r#"{{"event":"e","properties":{{{properties}}}}}"#)
        }),
        1 => "[ \r]{0,3}",
        1 => "[x{}\"]{1,9}",
        // No `time`, and longer than a block.
        1 => (250..700_usize).prop_map(|n| format!(r#"{{"event":"{}"}}"#, "l".repeat(n))),
        1 => (250..700_usize).prop_map(|n| {
            format!(r#"{{"event":"{}","properties":{{"time":1}}}}"#, "l".repeat(n))
        }),
    ]
}
