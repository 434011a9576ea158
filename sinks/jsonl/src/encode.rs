//! Rows to lines.

use std::io::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::batch::is_json;
use mixflow_core::json::copy_on_one_line;
use mixflow_core::sink::RecordFormat;
use mixflow_core::{Error, ErrorKind, Result};

/// Writes rows of one schema as lines: what this sink puts out, for others that
/// send lines too.
#[derive(Debug)]
pub struct Encoder {
    columns: Vec<Column>,
    raw: bool,
}

#[derive(Debug)]
struct Column {
    /// What stands before the value: `{"a":` or `,"b":`.
    lead: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Json,
    Text,
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    Date,
    Micros,
}

impl Encoder {
    /// Prepares for rows of `schema`. Fails if a column has no form in JSON.
    pub fn new(schema: &Schema, records: RecordFormat) -> Result<Encoder> {
        if records == RecordFormat::Raw {
            return match schema.fields().first().map(|field| field.data_type()) {
                Some(DataType::Binary) => Ok(Encoder {
                    columns: Vec::new(),
                    raw: true,
                }),
                _ => Err(Error::new(
                    ErrorKind::Config,
                    "`format = \"raw\"` needs a source that hands out raw records",
                )),
            };
        }
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(n, field)| Column::new(n, field))
            .collect::<Result<_>>()?;
        Ok(Encoder {
            columns,
            raw: false,
        })
    }

    /// Appends the lines of `records` to `out`.
    ///
    /// On an error `out` may end in part of a line.
    pub fn encode(&self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if self.raw {
            let column = records.column(0).as_binary::<i32>();
            for record in column.iter().flatten() {
                copy_on_one_line(record, out);
                out.push(b'\n');
            }
            return Ok(());
        }
        for row in 0..records.num_rows() {
            for (column, values) in self.columns.iter().zip(records.columns()) {
                out.extend_from_slice(&column.lead);
                column.kind.encode(values, row, out)?;
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }
}

impl Column {
    fn new(n: usize, field: &Field) -> Result<Column> {
        let kind = match field.data_type() {
            DataType::Utf8 if is_json(field) => Kind::Json,
            DataType::Utf8 => Kind::Text,
            DataType::Boolean => Kind::Bool,
            DataType::Int8 => Kind::Int8,
            DataType::Int16 => Kind::Int16,
            DataType::Int32 => Kind::Int32,
            DataType::Int64 => Kind::Int64,
            DataType::UInt8 => Kind::UInt8,
            DataType::UInt16 => Kind::UInt16,
            DataType::UInt32 => Kind::UInt32,
            DataType::UInt64 => Kind::UInt64,
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Date32 => Kind::Date,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Micros,
            other => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the column `{}` has the type {other}, which JSON Lines cannot take here",
                        field.name()
                    ),
                ));
            }
        };
        let mut lead = vec![if n == 0 { b'{' } else { b',' }];
        json_text(field.name(), &mut lead);
        lead.push(b':');
        Ok(Column { lead, kind })
    }
}

impl Kind {
    fn encode(self, values: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if values.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Kind::Json => copy_on_one_line(values.as_string::<i32>().value(row).as_bytes(), out),
            Kind::Text => json_text(values.as_string::<i32>().value(row), out),
            Kind::Bool => show(values.as_boolean().value(row), out),
            Kind::Int8 => show(value::<Int8Type>(values, row), out),
            Kind::Int16 => show(value::<Int16Type>(values, row), out),
            Kind::Int32 => show(value::<Int32Type>(values, row), out),
            Kind::Int64 => show(value::<Int64Type>(values, row), out),
            Kind::UInt8 => show(value::<UInt8Type>(values, row), out),
            Kind::UInt16 => show(value::<UInt16Type>(values, row), out),
            Kind::UInt32 => show(value::<UInt32Type>(values, row), out),
            Kind::UInt64 => show(value::<UInt64Type>(values, row), out),
            Kind::Float32 => number(value::<Float32Type>(values, row), out),
            Kind::Float64 => number(value::<Float64Type>(values, row), out),
            Kind::Date => {
                let days = value::<Date32Type>(values, row);
                let date = Date::new(1970, 1, 1)
                    .ok()
                    .and_then(|epoch| epoch.checked_add(jiff::Span::new().days(days)).ok())
                    .ok_or_else(|| out_of_range("date", i64::from(days)))?;
                quoted(date, out);
            }
            Kind::Micros => {
                let micros = value::<TimestampMicrosecondType>(values, row);
                let time = Timestamp::from_microsecond(micros)
                    .map_err(|_| out_of_range("time", micros))?;
                // RFC 3339 in UTC, with a fraction only if there is one.
                quoted(time, out);
            }
        }
        Ok(())
    }
}

fn value<T: ArrowPrimitiveType>(values: &dyn Array, row: usize) -> T::Native {
    values.as_primitive::<T>().value(row)
}

fn show(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("a vector takes everything");
}

fn quoted(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "\"{value}\"").expect("a vector takes everything");
}

/// Writes a number as serde_json does: JSON has no NaN and no infinity.
fn number(value: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a number has a form in JSON");
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text has a form in JSON");
}

fn out_of_range(what: &str, value: i64) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("the {what} {value} is outside the years -9999 to 9999"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use mixflow_core::batch::json_field;
    use proptest::prelude::*;

    use super::*;

    fn lines(fields: Vec<Field>, columns: Vec<ArrayRef>, format: RecordFormat) -> String {
        let schema = Arc::new(Schema::new(fields));
        let encoder = Encoder::new(&schema, format).expect("the schema has a form");
        let records = RecordBatch::try_new(schema, columns).expect("columns fit");
        let mut out = Vec::new();
        encoder
            .encode(&records, &mut out)
            .expect("values have a form");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_type_has_its_form() {
        let fields = vec![
            Field::new("na\"me", DataType::Utf8, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            json_field("properties", true),
            Field::new("n", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("ok", DataType::Boolean, true),
            Field::new("day", DataType::Date32, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("é\n\u{1}"), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(1_704_110_400_500_000),
                None,
            ])),
            Arc::new(StringArray::from(vec![Some("{\"a\":\n1.0}"), None])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None])),
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(Date32Array::from(vec![Some(-1), None])),
        ];
        assert_eq!(
            lines(fields, columns, RecordFormat::Normalized),
            concat!(
                r#"{"na\"me":"é\n\u0001","at":"2024-01-01T12:00:00.5Z","properties":{"a": 1.0},"#,
                r#""n":-9223372036854775808,"x":null,"ok":true,"day":"1969-12-31"}"#,
                "\n",
                r#"{"na\"me":null,"at":null,"properties":null,"n":null,"x":null,"ok":null,"day":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_time_has_a_fraction_only_if_there_is_one() {
        let at = |us| {
            let fields = vec![Field::new(
                "t",
                DataType::Timestamp(TimeUnit::Microsecond, None),
                false,
            )];
            let column = Arc::new(TimestampMicrosecondArray::from(vec![us]));
            lines(fields, vec![column], RecordFormat::Normalized)
        };
        assert_eq!(at(0), "{\"t\":\"1970-01-01T00:00:00Z\"}\n");
        assert_eq!(at(1), "{\"t\":\"1970-01-01T00:00:00.000001Z\"}\n");
        assert_eq!(at(-1_000), "{\"t\":\"1969-12-31T23:59:59.999Z\"}\n");
    }

    #[test]
    fn raw_records_are_copied_to_the_byte() {
        let fields = vec![Field::new("record", DataType::Binary, false)];
        let records: Vec<&[u8]> = vec![b"{\"a\": \"\\u00e9\"}", b"{\"b\":\xff}"];
        let columns: Vec<ArrayRef> = vec![Arc::new(BinaryArray::from(records.clone()))];
        let schema = Arc::new(Schema::new(fields));
        let encoder = Encoder::new(&schema, RecordFormat::Raw).expect("fine");
        let batch = RecordBatch::try_new(schema, columns).expect("columns fit");
        let mut out = Vec::new();
        encoder.encode(&batch, &mut out).expect("fine");
        assert_eq!(out, [records[0], b"\n", records[1], b"\n"].concat());
    }

    #[test]
    fn raw_without_raw_records_is_refused() {
        let schema = Schema::new(vec![Field::new("a", DataType::Utf8, false)]);
        assert!(Encoder::new(&schema, RecordFormat::Raw).is_err());
    }

    proptest! {
        #[test]
        fn texts_come_back(texts in prop::collection::vec(any::<String>(), 1..5)) {
            let fields = vec![Field::new("t", DataType::Utf8, false)];
            let column: ArrayRef = Arc::new(StringArray::from(texts.clone()));
            let out = lines(fields, vec![column], RecordFormat::Normalized);
            let back: Vec<String> = out
                .lines()
                .map(|line| {
                    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    value["t"].as_str().expect("a text").to_owned()
                })
                .collect();
            prop_assert_eq!(back, texts);
        }
    }
}
