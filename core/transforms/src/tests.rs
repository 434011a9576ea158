//! What the tests of several transforms need.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::json_field;
use mixflow_core::config::Invalid;

/// Returns normalised events, one for each text of properties.
pub(super) fn events(properties: &[&str]) -> RecordBatch {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Schema::new(vec![
        text("event_name"),
        Field::new("event_time", time, false),
        text("distinct_id"),
        text("insert_id"),
        json_field("properties", false),
    ]);
    let rows = 0..properties.len();
    let texts = |what: &str| -> ArrayRef {
        let texts = rows.clone().map(|n| format!("{what} {n}"));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let times = rows.clone().map(|n| n as i64 * 1_000_000);
    let columns = vec![
        texts("event"),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        texts("user"),
        texts("id 0"),
        Arc::new(StringArray::from_iter_values(properties)),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit")
}

/// Returns the texts of `properties`.
pub(super) fn jsons(records: &RecordBatch) -> Vec<String> {
    let column = records.column_by_name("properties").expect("it is there");
    let texts = column.as_string::<i32>().iter();
    texts
        .map(|text| text.expect("no null").to_owned())
        .collect()
}

/// Returns what was wrong with options, in a line.
pub(super) fn rejected<T>(built: Result<T, Vec<Invalid>>) -> String {
    let problems = built.err().expect("the options are wrong").into_iter();
    let lines = problems.map(|problem| format!("{}: {}", problem.key, problem.message));
    lines.collect::<Vec<_>>().join("; ")
}
