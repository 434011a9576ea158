//! Rows to lines.

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use mixflow_core::json::copy_on_one_line;
use mixflow_core::json_rows::JsonRows;
use mixflow_core::sink::RecordFormat;
use mixflow_core::{Error, ErrorKind, Result};

/// Writes rows of one schema as lines: what this sink puts out, for others that
/// send lines too.
#[derive(Debug)]
pub struct Encoder {
    /// `None` if records are copied as they came.
    rows: Option<JsonRows>,
}

impl Encoder {
    /// Prepares for rows of `schema`. Fails if a column has no form in JSON.
    pub fn new(schema: &Schema, records: RecordFormat) -> Result<Encoder> {
        if records == RecordFormat::Raw {
            return match schema.fields().first().map(|field| field.data_type()) {
                Some(DataType::Binary) => Ok(Encoder { rows: None }),
                _ => Err(Error::new(
                    ErrorKind::Config,
                    "`format = \"raw\"` needs a source that hands out raw records",
                )),
            };
        }
        Ok(Encoder {
            rows: Some(JsonRows::new(schema)?),
        })
    }

    /// Appends the lines of `records` to `out`.
    ///
    /// On an error `out` may end in part of a line.
    pub fn encode(&self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if let Some(rows) = &self.rows {
            return rows.push_lines(records, out);
        }
        let column = records.column(0).as_binary::<i32>();
        for record in column.iter().flatten() {
            copy_on_one_line(record, out);
            out.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, TimeUnit};
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
