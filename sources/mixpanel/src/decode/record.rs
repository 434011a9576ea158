//! How a record is read, whatever it is.

use mixflow_core::json::unescape;

use crate::json::repair::repair;
use mixflow_core::json::keys::Keys;
use mixflow_core::json::scan::{Fault, Key, Kind, Scanner, Value};

/// Why a record is not decoded.
pub(super) enum Refused {
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

/// Returns why JSON is not a record.
pub(super) fn meaning(reason: &str) -> Refused {
    Refused::Meaning(reason.to_owned())
}

/// Decodes a record as it is, or else what can be repaired of it.
pub(super) fn read(
    record: &[u8],
    mut decode: impl FnMut(&str) -> Result<(), Refused>,
) -> Result<(), String> {
    let first = match std::str::from_utf8(record) {
        Ok(text) => decode(text),
        Err(_) => Err(Refused::Bytes("it is not UTF-8".to_owned())),
    };
    match first {
        Ok(()) => Ok(()),
        Err(Refused::Meaning(reason)) => Err(reason),
        Err(Refused::Bytes(reason)) => decode(&repair(record)).map_err(|refused| match refused {
            Refused::Meaning(reason) => reason,
            Refused::Bytes(_) => reason,
        }),
    }
}

/// Scans the object that a record is, whose values `member` reads; returns
/// whether its properties are to be mended.
#[inline]
pub(super) fn scan<'t>(
    text: &'t str,
    keys: &'t mut Keys,
    mut member: impl FnMut(&mut Scanner<'t>, Key) -> Result<(), Fault>,
) -> Result<bool, Fault> {
    let mut scanner = Scanner::noting(text, keys);
    scanner.enter_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        member(&mut scanner, key)?;
    }
    scanner.end()?;
    Ok(scanner.is_to_be_mended())
}

/// Returns a value as text: a string's content, `""` for null, otherwise the
/// value as it was written, so that a number keeps its digits.
pub(super) fn plain<'a>(text: &'a str, value: &Value, scratch: &'a mut String) -> &'a str {
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
pub(super) fn inside<'a>(text: &'a str, value: &Value) -> &'a str {
    &text[value.span.start + 1..value.span.end - 1]
}
