//! What flows through a pipeline.

use std::fmt;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow_schema::extension::Json;

/// The position of a partition in its plan, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// Returns the position as an index into [`Plan::partitions`](crate::source::Plan).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Some rows of one partition.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows, in the schema that the pipeline's last stage declared.
    pub records: RecordBatch,
    /// The partition that they belong to.
    pub partition: PartitionId,
}

/// The most rows that a source puts into one batch.
///
/// An observer hears of every batch, and the requirement is that it hears at
/// least every 2,000 rows. It is also just under DuckDB's vector of 2,048, so
/// a batch is one DuckDB chunk.
pub const MAX_BATCH_ROWS: usize = 2_000;

/// Returns a text column whose values are JSON (Arrow's `arrow.json`).
pub fn json_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable).with_extension_type(Json::default())
}

/// Returns the columns of a schema with their types, for messages.
pub(crate) fn columns_of(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    let columns: Vec<String> = fields
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    columns.join(", ")
}

/// Returns whether a column's values are JSON.
pub fn is_json(field: &Field) -> bool {
    field.try_extension_type::<Json>().is_ok()
}
