//! Rows, collected into batches.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::MAX_BATCH_ROWS;
use mixflow_core::stand_in::StandIns;

/// A type of record, and the rows that have been read of it.
pub(super) trait Records: Send {
    /// Adds a record. An error is the reason to reject it.
    fn push(&mut self, record: &[u8], stand_ins: &StandIns) -> Result<(), String>;

    /// Returns whether there are enough rows for a batch.
    fn is_full(&self) -> bool;

    /// Returns the rows so far; `None` if there are none.
    fn take(&mut self) -> Option<RecordBatch>;

    /// Returns the largest version among the records since the last call.
    fn take_version(&mut self) -> Option<i64> {
        None
    }
}

/// The most bytes of text in a batch; a batch ends with the row that reaches it.
///
/// With 2,000 rows a batch of ordinary events is 2 MB; this bounds the
/// extraordinary ones. Offsets are 32 bits, so one row may still be 1 GB.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The columns of one type of record, being filled.
pub(super) trait Columns: Default {
    /// Returns their schema.
    fn schema() -> SchemaRef;

    /// Returns the columns so far, in the schema's order, and empties them.
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Collects rows into batches.
#[derive(Default)]
pub(super) struct Rows<C> {
    columns: C,
    rows: usize,
    bytes: usize,
}

impl<C: Columns> Rows<C> {
    /// Adds the row that `append` appends to each of the columns; it returns
    /// how many bytes of text that is.
    #[inline]
    pub(super) fn push(&mut self, append: impl FnOnce(&mut C) -> usize) {
        self.bytes += append(&mut self.columns);
        self.rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= MAX_BATCH_ROWS || self.bytes >= MAX_BATCH_BYTES
    }

    /// Returns the rows so far and starts anew; `None` if there are none.
    pub(super) fn take(&mut self) -> Option<RecordBatch> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        self.bytes = 0;
        let batch = RecordBatch::try_new(C::schema(), self.columns.finish())
            .expect("the columns are those of the schema");
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringBuilder;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[derive(Default)]
    struct Texts(StringBuilder);

    impl Columns for Texts {
        fn schema() -> SchemaRef {
            Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, false)]))
        }

        fn finish(&mut self) -> Vec<ArrayRef> {
            vec![Arc::new(self.0.finish())]
        }
    }

    /// How many rows of this size are a batch.
    fn batch_of(size: usize) -> usize {
        let text = "t".repeat(size);
        let mut rows = Rows::<Texts>::default();
        while !rows.is_full() {
            rows.push(|texts| {
                texts.0.append_value(&text);
                text.len()
            });
        }
        let rows_of_first = rows.take().map(|batch| batch.num_rows());
        assert!(!rows.is_full() && rows.take().is_none());
        rows_of_first.expect("there are rows")
    }

    #[test]
    fn the_wider_rows_are_the_fewer_are_in_a_batch() {
        assert_eq!(batch_of(1_036), MAX_BATCH_ROWS);
        assert_eq!(batch_of(255_036), 17);
        assert_eq!(batch_of(5 << 20), 1);
    }
}
