//! What makes two events the same.

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::error::Result;
use mixflow_core::roles::ColumnRoles;
use xxhash_rust::xxh3::Xxh3;

use super::super::columns::{is_json_text, is_text, type_name};
use super::super::json::{JsonPath, JsonValue, Paths};
use super::winners::Record;

/// Where the parts of a key stand.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    texts: Vec<usize>,
    time: usize,
    /// The JSON column with the version, and where in it that stands.
    json: usize,
    version: Paths,
}

impl Keys {
    pub(super) fn new(input: &Schema, roles: &ColumnRoles) -> Result<Keys, Vec<Invalid>> {
        let column = |name, kind: &str, fits: &dyn Fn(usize) -> bool| {
            let Ok(at) = input.index_of(name) else {
                return Err(vec![missing(name)]);
            };
            if fits(at) {
                Ok(at)
            } else {
                let is = type_name(input.field(at));
                let message = format!("the column `{name}` is {is}, and `dedupe` needs {kind}");
                Err(vec![Invalid::new("", message)])
            }
        };
        let text = |name| column(name, "text", &|at| is_text(input.field(at)));
        let is_time = |at| matches!(input.field(at).data_type(), DataType::Timestamp(..));
        let (json, key) = roles.version;
        let mut version = Paths::default();
        version.add(&JsonPath::of_key(key));
        Ok(Keys {
            texts: roles
                .identity
                .iter()
                .copied()
                .map(text)
                .collect::<Result<_, _>>()?,
            time: column(roles.time, "timestamp", &is_time)?,
            json: column(json, "json", &|at| is_json_text(input.field(at)))?,
            version,
        })
    }

    /// Returns which column says when a row happened.
    pub(super) fn time(&self) -> usize {
        self.time
    }

    /// Adds a record for each row.
    pub(super) fn read(&self, records: &RecordBatch, to: &mut Vec<Record>) -> Result<()> {
        let texts = self.texts.iter();
        let texts: Vec<_> = texts
            .map(|at| records.column(*at).as_string::<i32>())
            .collect();
        let times = cast(records.column(self.time), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let jsons = records.column(self.json).as_string::<i32>();
        for row in 0..records.num_rows() {
            let mut hash = Xxh3::new();
            for column in &texts {
                push(&mut hash, column, row);
            }
            let time = times.is_valid(row).then(|| times.value(row));
            hash.update(&[u8::from(time.is_some())]);
            hash.update(&time.unwrap_or_default().to_le_bytes());
            to.push(Record {
                hash: hash.digest128(),
                version: if jsons.is_valid(row) {
                    self.version(jsons.value(row))?
                } else {
                    i64::MIN
                },
            });
        }
        Ok(())
    }

    /// Returns the version of a row; the least number if it does not say.
    fn version(&self, json: &str) -> Result<i64> {
        let mut found = [None];
        self.version.find(json, &mut found)?;
        let digits = found[0].and_then(|json| JsonValue::of(json).number());
        Ok(digits.and_then(whole).unwrap_or(i64::MIN))
    }
}

fn whole(digits: &str) -> Option<i64> {
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

/// Says what the input lacks.
fn missing(name: &str) -> Invalid {
    Invalid::new(
        "",
        format!(
            "`dedupe` needs the column `{name}`; transforms that rename or drop it stand behind this one"
        ),
    )
}
