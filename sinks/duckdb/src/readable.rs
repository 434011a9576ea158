//! JSON that DuckDB can query.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray};
use arrow::record_batch::RecordBatch;
use mixflow_core::Result;
use mixflow_core::batch::is_json;
use mixflow_core::json::{lone_halves, without_halves};

/// Returns the batch with JSON that DuckDB can query.
///
/// DuckDB takes any text of ours for JSON, but one escape of half a
/// surrogate pair (senders cut strings at 255 bytes) makes every query that
/// looks into the column fail: `Malformed JSON … no low surrogate in string`.
/// It stands for no character, so U+FFFD loses nothing.
pub(crate) fn readable(records: &RecordBatch) -> Result<RecordBatch> {
    let schema = records.schema();
    let mut columns: Cow<'_, [ArrayRef]> = Cow::Borrowed(records.columns());
    for (n, field) in schema.fields().iter().enumerate() {
        if !is_json(field) {
            continue;
        }
        let Some(texts) = records.column(n).as_string_opt::<i32>() else {
            continue;
        };
        if lone_halves(texts.value_data()).next().is_none() {
            continue;
        }
        let mended: StringArray = texts.iter().map(|text| text.map(without_halves)).collect();
        columns.to_mut()[n] = Arc::new(mended);
    }
    match columns {
        Cow::Borrowed(_) => Ok(records.clone()),
        Cow::Owned(columns) => Ok(RecordBatch::try_new(schema, columns)?),
    }
}
