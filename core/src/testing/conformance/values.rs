//! Values of every scalar type, and whether they came back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::Field;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::batch::json_field;

/// A column of three values, the second of them null.
pub(super) struct Typed {
    pub(super) field: Field,
    pub(super) values: ArrayRef,
    kind: Kind,
    expected: [&'static str; 2],
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Json,
    Number,
    Bool,
    Time,
    Date,
    Bytes,
}

impl Typed {
    /// Returns whether `found` is value `n`, which is not the null.
    pub(super) fn is(&self, n: usize, found: &str) -> bool {
        let expected = self.expected[n.min(1)];
        let number = |text: &str| text.parse::<f64>().ok();
        match self.kind {
            Kind::Text => found == expected,
            Kind::Json => {
                let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
                value(found).is_some() && value(found) == value(expected)
            }
            // By their digits if they can be that, because a float has too few
            // for 64 bits.
            Kind::Number => match (found.parse::<i128>(), expected.parse::<i128>()) {
                (Ok(found), Ok(expected)) => found == expected,
                _ => number(found).is_some() && number(found) == number(expected),
            },
            Kind::Bool => found.eq_ignore_ascii_case(expected),
            Kind::Time => instant(found).is_some() && instant(found) == instant(expected),
            Kind::Date => found.starts_with(expected),
            // Hex, base64 or as they are: each sink has a form of its own.
            Kind::Bytes => true,
        }
    }

    /// Returns the expected value, for a message.
    pub(super) fn expected(&self, n: usize) -> &str {
        self.expected[n.min(1)]
    }
}

/// Reads a time with an offset, or without one as UTC.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Returns a column of each scalar type.
pub(super) fn all() -> Vec<Typed> {
    [texts(), integers(), fractions(), times(), others()]
        .into_iter()
        .flatten()
        .collect()
}

fn typed(name: &str, values: ArrayRef, kind: Kind, expected: [&'static str; 2]) -> Typed {
    Typed {
        field: Field::new(name, values.data_type().clone(), true),
        values,
        kind,
        expected,
    }
}

/// Makes a column of the smallest and the largest number of a type.
macro_rules! numbers {
    ($name:literal, $array:ty, $first:expr, $second:expr, $expected:expr) => {
        typed(
            $name,
            Arc::new(<$array>::from(vec![Some($first), None, Some($second)])),
            Kind::Number,
            $expected,
        )
    };
}

fn texts() -> Vec<Typed> {
    let texts = [Some("größer; \"so\", \n'x'\t☃ 😀"), None, Some("")];
    let json = [Some("{\"a b\":[1,\"\\\"\"],\"☃\":null}"), None, Some("{}")];
    vec![
        typed(
            "a_text",
            Arc::new(StringArray::from(texts.to_vec())),
            Kind::Text,
            [texts[0].unwrap_or_default(), ""],
        ),
        typed(
            "a_large_text",
            Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("é")])),
            Kind::Text,
            ["a", "é"],
        ),
        typed(
            "a_text_view",
            Arc::new(StringViewArray::from(vec![Some("a"), None, Some("é")])),
            Kind::Text,
            ["a", "é"],
        ),
        Typed {
            field: json_field("a_json", true),
            values: Arc::new(StringArray::from(json.to_vec())),
            kind: Kind::Json,
            expected: [json[0].unwrap_or_default(), "{}"],
        },
    ]
}

fn integers() -> Vec<Typed> {
    vec![
        numbers!("an_int8", Int8Array, i8::MIN, i8::MAX, ["-128", "127"]),
        numbers!(
            "an_int16",
            Int16Array,
            i16::MIN,
            i16::MAX,
            ["-32768", "32767"]
        ),
        numbers!(
            "an_int32",
            Int32Array,
            i32::MIN,
            i32::MAX,
            ["-2147483648", "2147483647"]
        ),
        numbers!(
            "an_int64",
            Int64Array,
            i64::MIN,
            i64::MAX,
            ["-9223372036854775808", "9223372036854775807"]
        ),
        numbers!("a_uint8", UInt8Array, 0, u8::MAX, ["0", "255"]),
        numbers!("a_uint16", UInt16Array, 0, u16::MAX, ["0", "65535"]),
        numbers!("a_uint32", UInt32Array, 0, u32::MAX, ["0", "4294967295"]),
        numbers!(
            "a_uint64",
            UInt64Array,
            0,
            u64::MAX,
            ["0", "18446744073709551615"]
        ),
    ]
}

fn fractions() -> Vec<Typed> {
    let decimals = Decimal128Array::from(vec![Some(12_345), None, Some(-1)]);
    let decimals = decimals.with_precision_and_scale(18, 2).expect("in range");
    vec![
        numbers!("a_float32", Float32Array, 1.5, -0.25, ["1.5", "-0.25"]),
        numbers!("a_float64", Float64Array, 0.1, 1e300, ["0.1", "1e300"]),
        typed(
            "a_decimal",
            Arc::new(decimals),
            Kind::Number,
            ["123.45", "-0.01"],
        ),
    ]
}

fn times() -> Vec<Typed> {
    // 2024-02-29T12:00:00.123456Z and 1969-12-31T23:59:59Z.
    const TIME: [&str; 2] = ["2024-02-29T12:00:00.123456Z", "1969-12-31T23:59:59Z"];
    const WHOLE: [&str; 2] = ["2024-02-29T12:00:00Z", "1969-12-31T23:59:59Z"];
    let micros = vec![Some(1_709_208_000_123_456), None, Some(-1_000_000)];
    let micros = TimestampMicrosecondArray::from(micros);
    let seconds = TimestampSecondArray::from(vec![Some(1_709_208_000), None, Some(-1)]);
    let millis = TimestampMillisecondArray::from(vec![Some(1_709_208_000_000), None, Some(-1_000)]);
    let nanos = vec![Some(1_709_208_000_123_456_000), None, Some(-1_000_000_000)];
    let nanos = TimestampNanosecondArray::from(nanos);
    vec![
        typed("a_time_in_s", Arc::new(seconds.clone()), Kind::Time, WHOLE),
        typed("a_time_in_ms", Arc::new(millis), Kind::Time, WHOLE),
        typed("a_time_in_us", Arc::new(micros.clone()), Kind::Time, TIME),
        typed("a_time_in_ns", Arc::new(nanos), Kind::Time, TIME),
        typed(
            "a_time_in_UTC",
            Arc::new(micros.clone().with_timezone("UTC")),
            Kind::Time,
            TIME,
        ),
        typed(
            "a_time_at_+02:00",
            Arc::new(micros.clone().with_timezone("+02:00")),
            Kind::Time,
            TIME,
        ),
        typed(
            "a_time_in_Berlin",
            Arc::new(micros.with_timezone("Europe/Berlin")),
            Kind::Time,
            TIME,
        ),
    ]
}

fn others() -> Vec<Typed> {
    vec![
        typed(
            "a_bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Kind::Bool,
            ["true", "false"],
        ),
        typed(
            "a_date",
            Arc::new(Date32Array::from(vec![Some(19_782), None, Some(-1)])),
            Kind::Date,
            ["2024-02-29", "1969-12-31"],
        ),
        typed(
            "bytes",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\x00\xff"[..]),
                None,
                Some(b""),
            ])),
            Kind::Bytes,
            ["", ""],
        ),
    ]
}
