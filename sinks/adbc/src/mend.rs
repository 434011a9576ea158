//! Texts that a database cannot hold.
//!
//! Postgres takes no NUL in a text, and in `jsonb` also no lone surrogate and no
//! number beyond its own. Mixpanel may send all of them. They are mended and
//! counted, or their rows are rejected, or the run is refused.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use memchr::{memchr, memchr2, memmem};
use mixflow_core::batch::is_json;
use mixflow_core::sink::RowCheck;
use mixflow_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// What happens to a text that the database cannot hold: `on_mismatch` in TOML.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// What cannot be held in it is replaced, and counted in a warning.
    #[default]
    Mend,
    /// The row is rejected, like a record that cannot be read.
    Reject,
    /// The run fails.
    Fail,
}

/// What stands for a character that cannot be held.
const REPLACEMENT: &str = "\u{fffd}";

/// What stands for an escaped one in JSON.
const ESCAPED: &[u8] = b"\\ufffd";

/// Digits before the point that a number of Postgres may have.
const DIGITS: i64 = 131_000;

/// Digits behind it.
const FRACTION: i64 = 16_000;

/// Finds the rows that Postgres cannot hold.
pub(crate) struct Unholdable;

impl RowCheck for Unholdable {
    fn refused(&self, records: &RecordBatch) -> Vec<(usize, String)> {
        let mut refused = Vec::new();
        for (field, column) in records.schema_ref().fields().iter().zip(records.columns()) {
            let Some(texts) = column.as_string_opt::<i32>() else {
                continue;
            };
            let mend = mending(field);
            let is_odd = |text: &str| matches!(mend(text), Cow::Owned(_));
            for (row, text) in texts.iter().enumerate() {
                if text.is_some_and(is_odd) {
                    let name = field.name();
                    refused.push((row, format!("the database cannot hold its `{name}`: there is a NUL, half of a surrogate pair, or a number that is too large in it")));
                }
            }
        }
        refused
    }
}

/// Returns what mends the texts of a column.
fn mending(field: &Field) -> fn(&str) -> Cow<'_, str> {
    match is_json(field) {
        true => mended_json,
        false => mended_text,
    }
}

/// Mends the batches of a run, and counts.
#[derive(Debug, Default)]
pub(crate) struct Mender {
    on_mismatch: OnMismatch,
    mended: u64,
}

impl Mender {
    pub(crate) fn new(on_mismatch: OnMismatch) -> Mender {
        Mender {
            on_mismatch,
            mended: 0,
        }
    }

    /// Returns what people should know of it.
    pub(crate) fn warning(&self) -> Option<String> {
        let n = self.mended;
        let values = if n == 1 { "value" } else { "values" };
        (n > 0).then(|| {
            format!(
                "{n} {values} had something in them that the database cannot hold, such as `\\u0000`, which was replaced"
            )
        })
    }

    /// Returns the rows as the database can hold them.
    ///
    /// Fails with [`ErrorKind::Data`] if that is not wanted.
    pub(crate) fn mend(&mut self, records: RecordBatch) -> Result<RecordBatch> {
        let mut columns: Option<Vec<ArrayRef>> = None;
        for (at, field) in records.schema_ref().fields().iter().enumerate() {
            if *field.data_type() != DataType::Utf8 {
                continue;
            }
            let texts = records.column(at).as_string::<i32>();
            let Some(mended) = self.column(texts, field.name(), mending(field))? else {
                continue;
            };
            columns.get_or_insert_with(|| records.columns().to_vec())[at] = mended;
        }
        match columns {
            None => Ok(records),
            Some(columns) => Ok(RecordBatch::try_new(records.schema(), columns)?),
        }
    }

    /// Returns a column that was mended, if it had to be.
    fn column(
        &mut self,
        texts: &StringArray,
        name: &str,
        mend: fn(&str) -> Cow<'_, str>,
    ) -> Result<Option<ArrayRef>> {
        let is_odd = |text: &str| matches!(mend(text), Cow::Owned(_));
        let mut values = texts.iter().flatten();
        if !values.any(is_odd) {
            return Ok(None);
        }
        if self.on_mismatch != OnMismatch::Mend {
            let message = format!("the database cannot hold a value of `{name}`");
            return Err(Error::new(ErrorKind::Data, message)
                .because(
                    "there is a NUL, half of a surrogate pair, or a number that is too large in it",
                )
                .hint("have such values mended with `on_mismatch = \"mend\"`, or their rows rejected with \"reject\""));
        }
        let mut mended = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
        for text in texts {
            let Some(text) = text else {
                mended.append_null();
                continue;
            };
            let text = mend(text);
            self.mended += u64::from(matches!(text, Cow::Owned(_)));
            mended.append_value(text);
        }
        Ok(Some(Arc::new(mended.finish())))
    }
}

fn mended_text(text: &str) -> Cow<'_, str> {
    match memchr(0, text.as_bytes()) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.replace('\0', REPLACEMENT)),
    }
}

fn mended_json(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_usual = memmem::find(bytes, b"\\u").is_none() && !may_be_too_large(bytes);
    if is_usual {
        return Cow::Borrowed(text);
    }
    Json::new(text).mended()
}

/// Whether a text may have a number in it that is too large: one with a large
/// exponent, or very many digits.
fn may_be_too_large(bytes: &[u8]) -> bool {
    if bytes.len() as i64 > FRACTION {
        return true;
    }
    let mut from = 0;
    while let Some(found) = memchr2(b'e', b'E', &bytes[from..]) {
        let at = from + found;
        let after = match bytes.get(at + 1) {
            Some(b'+' | b'-') => at + 2,
            _ => at + 1,
        };
        let digits = bytes[after.min(bytes.len())..].iter();
        let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
        if digits >= 4 && at > 0 && bytes[at - 1].is_ascii_digit() {
            return true;
        }
        from = at + 1;
    }
    false
}

/// JSON that is looked through once.
struct Json<'t> {
    text: &'t str,
    /// What was copied so far, if anything had to be changed.
    out: Vec<u8>,
    /// Up to where.
    copied: usize,
}

impl<'t> Json<'t> {
    fn new(text: &'t str) -> Json<'t> {
        Json {
            text,
            out: Vec::new(),
            copied: 0,
        }
    }

    fn mended(mut self) -> Cow<'t, str> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            at = match bytes[at] {
                b'"' => self.string(at),
                b'-' | b'0'..=b'9' => self.number(at),
                _ => at + 1,
            };
        }
        if self.copied == 0 && self.out.is_empty() {
            return Cow::Borrowed(self.text);
        }
        self.out.extend_from_slice(&bytes[self.copied..]);
        // What is put in is ASCII, and stands for ASCII.
        Cow::Owned(String::from_utf8_lossy(&self.out).into_owned())
    }

    /// Puts `new` in the place of what stands from `start` to `end`.
    fn replace(&mut self, start: usize, end: usize, new: &[u8]) {
        let bytes = self.text.as_bytes();
        self.out.extend_from_slice(&bytes[self.copied..start]);
        self.out.extend_from_slice(new);
        self.copied = end;
    }

    /// Looks at the string that begins at `at`; returns where it ends.
    fn string(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = at + 1;
        while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
            at += found;
            if bytes[at] == b'"' {
                return at + 1;
            }
            at = match code(bytes, at) {
                None => at + 2,
                Some(high) if (0xd800..0xdc00).contains(&high) => match code(bytes, at + 6) {
                    Some(low) if (0xdc00..0xe000).contains(&low) => at + 12,
                    _ => self.escaped(at),
                },
                Some(0 | 0xdc00..0xe000) => self.escaped(at),
                Some(_) => at + 6,
            }
            .min(bytes.len());
        }
        bytes.len()
    }

    fn escaped(&mut self, at: usize) -> usize {
        self.replace(at, at + 6, ESCAPED);
        at + 6
    }

    /// Looks at the number that begins at `at`; returns where it ends. One that
    /// is too large becomes a text.
    fn number(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let part = |byte: &&u8| matches!(**byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let end = at + bytes[at..].iter().take_while(part).count();
        let number = &self.text[at..end];
        if is_too_large(number) {
            self.replace(at, end, format!("\"{number}\"").as_bytes());
        }
        end
    }
}

/// Returns the code unit of the escape `\uXXXX` that begins at `at`.
fn code(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn is_too_large(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let digits = digits.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let length = |part: &str| i64::try_from(part.len()).unwrap_or(i64::MAX / 4);
    // An exponent that is no number of 64 bits is too large.
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else {
        return true;
    };
    length(whole).saturating_add(exponent) > DIGITS
        || length(fraction).saturating_sub(exponent) > FRACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_cannot_hold_is_mended() {
        for (json, mended) in [
            (r#"{"a":"x\u0000y"}"#, r#"{"a":"x\ufffdy"}"#),
            (r#"{"a\u0000":"\\u0000"}"#, r#"{"a\ufffd":"\\u0000"}"#),
            (
                r#"{"a":"\ud83d\ude00 \uD83D \ude00"}"#,
                r#"{"a":"\ud83d\ude00 \ufffd \ufffd"}"#,
            ),
            (r#"{"a":"\ud83d\n"}"#, r#"{"a":"\ufffd\n"}"#),
            (
                r#"{"a":1e400000,"b":1e-20000}"#,
                r#"{"a":"1e400000","b":"1e-20000"}"#,
            ),
            (
                r#"{"a":-1E+99999999999999999999}"#,
                r#"{"a":"-1E+99999999999999999999"}"#,
            ),
        ] {
            assert_eq!(mended_json(json), mended);
        }
    }

    #[test]
    fn what_it_can_hold_stays() {
        for json in [
            r#"{"a":"\u00e9 \\u0000 e12345","b":1e308,"c":[1.5e-7,-0]}"#,
            r#"{"\"":"1e99999"}"#,
            "{}",
            r#"{"a":"\"#,
        ] {
            assert!(matches!(mended_json(json), Cow::Borrowed(_)), "{json}");
        }
        let long = format!("{{\"a\":{}}}", "9".repeat(20_000));
        assert!(matches!(mended_json(&long), Cow::Borrowed(_)));
        let too_long = format!("{{\"a\":{0}}}", "9".repeat(140_000));
        assert!(mended_json(&too_long).starts_with("{\"a\":\"999"));
    }
}
