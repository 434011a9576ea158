//! One typed column, made of JSON values.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, TimeUnit};
use mixflow_core::batch::json_field;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::json::JsonValue;
use super::super::time;

/// The type of a column that is extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// Texts; numbers with the digits that they were written with, and `true`
    /// and `false`, too.
    Text,
    /// Whole numbers of 64 bits, written without fraction or exponent.
    Int,
    /// Numbers of 64 bits with a fraction.
    Float,
    /// `true` and `false`.
    Bool,
    /// Instants, from texts in ISO 8601; UTC unless they say otherwise.
    Timestamp,
    /// Days, from texts such as `2024-01-31`.
    Date,
    /// Any value, as JSON.
    Json,
}

impl ColumnType {
    /// Returns the column of this type; it may have nulls.
    pub(super) fn field(self, name: &str) -> Field {
        let kind = match self {
            ColumnType::Json => return json_field(name, true),
            ColumnType::Text => DataType::Utf8,
            ColumnType::Int => DataType::Int64,
            ColumnType::Float => DataType::Float64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::Date => DataType::Date32,
        };
        Field::new(name, kind, true)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColumnType::Text => "text",
            ColumnType::Int => "int",
            ColumnType::Float => "float",
            ColumnType::Bool => "bool",
            ColumnType::Timestamp => "timestamp",
            ColumnType::Date => "date",
            ColumnType::Json => "json",
        })
    }
}

/// The values of a column so far.
pub(super) enum Column {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Json(StringBuilder),
}

impl Column {
    pub(super) fn new(kind: ColumnType, rows: usize) -> Column {
        let texts = || StringBuilder::with_capacity(rows, rows * 16);
        match kind {
            ColumnType::Text => Column::Text(texts()),
            ColumnType::Int => Column::Int(Int64Builder::with_capacity(rows)),
            ColumnType::Float => Column::Float(Float64Builder::with_capacity(rows)),
            ColumnType::Bool => Column::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Timestamp => {
                Column::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows))
            }
            ColumnType::Date => Column::Date(Date32Builder::with_capacity(rows)),
            ColumnType::Json => Column::Json(texts()),
        }
    }

    /// Adds a row, and returns whether the value is of the column's type or
    /// null; if it is not, the row is null.
    pub(super) fn push(&mut self, json: Option<&str>) -> bool {
        match json.map_or(JsonValue::Null, JsonValue::of) {
            JsonValue::Null => {
                self.push_null();
                true
            }
            value => self.push_value(json, &value),
        }
    }

    /// Adds a row with a value, which `json` is the text of.
    fn push_value(&mut self, json: Option<&str>, value: &JsonValue<'_>) -> bool {
        // Adds a value or null, and says whether it was a value.
        macro_rules! add {
            ($column:ident, $value:expr) => {{
                let value = $value;
                $column.append_option(value);
                value.is_some()
            }};
        }
        match self {
            Column::Json(column) => add!(column, json),
            Column::Text(column) => add!(
                column,
                match value {
                    JsonValue::Text(text) => Some(&**text),
                    JsonValue::Number(_) | JsonValue::Bool(_) => json,
                    _ => None,
                }
            ),
            Column::Int(column) => add!(column, value.number().and_then(|n| n.parse().ok())),
            Column::Float(column) => {
                let number = value.number().and_then(|digits| digits.parse().ok());
                add!(column, number.filter(|number: &f64| number.is_finite()))
            }
            Column::Bool(column) => add!(
                column,
                match value {
                    JsonValue::Bool(bool) => Some(*bool),
                    _ => None,
                }
            ),
            Column::Timestamp(column) => add!(column, value.text().and_then(time::timestamp)),
            Column::Date(column) => add!(column, value.text().and_then(time::date)),
        }
    }

    fn push_null(&mut self) {
        match self {
            Column::Text(column) | Column::Json(column) => column.append_null(),
            Column::Int(column) => column.append_null(),
            Column::Float(column) => column.append_null(),
            Column::Bool(column) => column.append_null(),
            Column::Timestamp(column) => column.append_null(),
            Column::Date(column) => column.append_null(),
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Column::Text(mut column) | Column::Json(mut column) => Arc::new(column.finish()),
            Column::Int(mut column) => Arc::new(column.finish()),
            Column::Float(mut column) => Arc::new(column.finish()),
            Column::Bool(mut column) => Arc::new(column.finish()),
            Column::Timestamp(mut column) => Arc::new(column.finish()),
            Column::Date(mut column) => Arc::new(column.finish()),
        }
    }
}
