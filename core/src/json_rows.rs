//! Rows as JSON objects, for sinks that send or write such.

use std::io::Write as _;

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::batch::is_json;
use crate::error::{Error, ErrorKind, Result};
use crate::json::copy_on_one_line;

/// Writes the rows of one schema as JSON objects, in the order of its columns: as
/// our own JSON Lines have them.
///
/// A time is `"2024-01-31T12:00:00Z"`, with a fraction only if there is one, a date
/// `"2024-01-31"`; a JSON column stays as it was written, on one line; null is
/// `null`, and so are NaN and infinity.
///
/// ```
/// use std::sync::Arc;
///
/// use mixflow_core::arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use mixflow_core::json_rows::JsonRows;
///
/// let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
/// let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
/// let rows = JsonRows::new(&batch.schema())?;
/// let mut lines = Vec::new();
/// rows.push_lines(&batch, &mut lines)?;
/// assert_eq!(lines, b"{\"n\":1}\n{\"n\":null}\n");
/// let mut body = Vec::new();
/// rows.push_list(&batch, &mut body)?;
/// assert_eq!(body, b"[{\"n\":1},{\"n\":null}]");
/// # Ok::<_, mixflow_core::Error>(())
/// ```
#[derive(Debug)]
pub struct JsonRows {
    columns: Vec<Column>,
}

impl JsonRows {
    /// Prepares for rows of `schema`. Fails if a column has no form in JSON, which a
    /// sink says in `check_schema`.
    pub fn new(schema: &Schema) -> Result<JsonRows> {
        let columns = schema.fields().iter().enumerate();
        let columns = columns.map(|(n, field)| Column::new(n, field));
        Ok(JsonRows {
            columns: columns.collect::<Result<_>>()?,
        })
    }

    /// Appends row `row` of `records` to `out`, as one object on one line, without
    /// a line end.
    ///
    /// `records` are of the schema. On an error `out` may end in part of an object.
    pub fn push_row(&self, records: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.columns.is_empty() {
            out.push(b'{');
        }
        for (column, values) in self.columns.iter().zip(records.columns()) {
            out.extend_from_slice(&column.lead);
            column.kind.push(values, row, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends all of `records` to `out`, an object a line.
    pub fn push_lines(&self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        for row in 0..records.num_rows() {
            self.push_row(records, row, out)?;
            out.push(b'\n');
        }
        Ok(())
    }

    /// Appends all of `records` to `out` as one list of objects, such as the body of
    /// a request.
    pub fn push_list(&self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'[');
        for row in 0..records.num_rows() {
            if row > 0 {
                out.push(b',');
            }
            self.push_row(records, row, out)?;
        }
        out.push(b']');
        Ok(())
    }
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
                        "the column `{}` has the type {other}, which has no form in JSON here",
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
    fn push(self, values: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
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
