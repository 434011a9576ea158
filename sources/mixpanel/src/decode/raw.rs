//! Any record, as it came.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::MAX_BATCH_ROWS;
use mixflow_core::stand_in::StandIns;

use super::rows::{Columns, Records, Rows};
use crate::schema;

/// Collects records, of which nothing is read.
pub(super) struct RawRecords(Rows<RawColumns>);

struct RawColumns {
    record: BinaryBuilder,
}

impl RawRecords {
    pub(super) fn new() -> RawRecords {
        RawRecords(Rows::default())
    }
}

impl Records for RawRecords {
    fn push(&mut self, record: &[u8], _stand_ins: &StandIns) -> Result<(), String> {
        self.0.push(|columns| {
            columns.record.append_value(record);
            record.len()
        });
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn take(&mut self) -> Option<RecordBatch> {
        self.0.take()
    }
}

impl Default for RawColumns {
    fn default() -> RawColumns {
        RawColumns {
            record: BinaryBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 900),
        }
    }
}

impl Columns for RawColumns {
    fn schema() -> SchemaRef {
        schema::raw()
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![Arc::new(self.record.finish())]
    }
}
