//! What makes two events the same.

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::error::Result;
use xxhash_rust::xxh3::Xxh3;

use super::super::columns::{is_json_text, is_text, type_name};
use super::super::json::{JsonPath, JsonValue, Paths};
use super::missing;
use super::winners::Record;

/// The columns of Mixpanel's key, in the order of [`Keys::texts`] and `time`.
const TEXTS: [&str; 3] = ["event_name", "distinct_id", "insert_id"];
const TIME: &str = "event_time";

/// Where the parts of a key stand.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    texts: [usize; 3],
    time: usize,
    properties: usize,
    processed: Paths,
}

impl Keys {
    pub(super) fn new(input: &Schema) -> Result<Keys, Vec<Invalid>> {
        let column = |name, kind: &str, fits: &dyn Fn(usize) -> bool| {
            let Ok(at) = input.index_of(name) else {
                return Err(vec![missing(name, input)]);
            };
            match fits(at) {
                true => Ok(at),
                false => {
                    let is = type_name(input.field(at));
                    let message = format!("the column `{name}` is {is}, and `dedupe` needs {kind}");
                    Err(vec![Invalid::new("", message)])
                }
            }
        };
        let text = |name| column(name, "text", &|at| is_text(input.field(at)));
        let is_time = |at| matches!(input.field(at).data_type(), DataType::Timestamp(..));
        let mut processed = Paths::default();
        processed.add(&JsonPath::of_key("mp_processing_time_ms"));
        Ok(Keys {
            texts: [text(TEXTS[0])?, text(TEXTS[1])?, text(TEXTS[2])?],
            time: column(TIME, "timestamp", &is_time)?,
            properties: column("properties", "json", &|at| is_json_text(input.field(at)))?,
            processed,
        })
    }

    /// Adds a record for each row.
    pub(super) fn read(&self, records: &RecordBatch, to: &mut Vec<Record>) -> Result<()> {
        let texts = self.texts.map(|at| records.column(at).as_string::<i32>());
        let times = cast(records.column(self.time), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let properties = records.column(self.properties).as_string::<i32>();
        for row in 0..records.num_rows() {
            let mut hash = Xxh3::new();
            for column in texts {
                push(&mut hash, column, row);
            }
            let time = times.is_valid(row).then(|| times.value(row));
            hash.update(&[u8::from(time.is_some())]);
            hash.update(&time.unwrap_or_default().to_le_bytes());
            to.push(Record {
                hash: hash.digest128(),
                processed: match properties.is_valid(row) {
                    true => self.processed(properties.value(row))?,
                    false => i64::MIN,
                },
            });
        }
        Ok(())
    }

    /// Returns when Mixpanel has processed the event; the least number if it
    /// does not say.
    fn processed(&self, json: &str) -> Result<i64> {
        let mut found = [None];
        self.processed.find(json, &mut found)?;
        let digits = found[0].and_then(|json| JsonValue::of(json).number());
        Ok(digits.and_then(milliseconds).unwrap_or(i64::MIN))
    }
}

fn milliseconds(digits: &str) -> Option<i64> {
    let whole = digits.parse::<i64>().ok();
    whole.or_else(|| digits.parse::<f64>().ok().map(|float| float as i64))
}

/// Adds a text with its length, so that no two lists of texts are the same.
fn push(hash: &mut Xxh3, column: &StringArray, row: usize) {
    let text = column.is_valid(row).then(|| column.value(row));
    // A length that no text has stands for null.
    let length = text.map_or(u64::MAX, |text| text.len() as u64);
    hash.update(&length.to_le_bytes());
    hash.update(text.unwrap_or_default().as_bytes());
}
