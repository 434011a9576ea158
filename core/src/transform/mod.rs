//! What happens to rows on their way.

mod select;

pub use select::{Select, SelectOptions};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::Result;

/// Changes batches, one at a time.
///
/// Built against the schema of its input, so that everything that can be wrong
/// with columns is wrong before the first request. Runs in the worker threads.
pub trait Transform: Send + Sync {
    /// Returns the schema of what [`apply`](Transform::apply) returns.
    fn schema(&self) -> SchemaRef;

    /// Changes one batch. An error fails the batch's partition.
    fn apply(&self, records: RecordBatch) -> Result<RecordBatch>;
}
