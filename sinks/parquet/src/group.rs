//! The row group that is being written, with its columns.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter};
use parquet::errors::Result;
use parquet::schema::types::SchemaDescriptor;

use crate::aside::Aside;
use crate::columns::Columns;
use crate::encoders::Encoders;

/// Rows that are encoded, and not in the file yet.
///
/// The largest columns are encoded by another thread if one is idle, the others by
/// the one that writes. Of events the largest is `properties`, with three quarters
/// of the bytes and the time.
#[derive(Debug)]
pub(crate) struct Group {
    rows: usize,
    columns: Columns,
    /// The largest ones, where there can be another thread.
    aside: Option<Aside>,
}

impl Group {
    /// Begins with the column writers of `schema`, one a leaf. `rows` are the first
    /// that come, by which columns are compared.
    pub(crate) fn new(
        leaves: Vec<ArrowColumnWriter>,
        schema: &SchemaDescriptor,
        rows: &RecordBatch,
        encoders: &Arc<Encoders>,
    ) -> Group {
        let mut columns = Columns::new(leaves, schema, rows.schema_ref().fields());
        let aside = encoders
            .are_any()
            .then(|| Aside::new(columns.split_off(&largest(rows)), encoders.clone()));
        Group {
            rows: 0,
            columns,
            aside,
        }
    }

    /// Encodes rows, or has them encoded, in which case an error comes with a later call.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows();
        if let Some(aside) = &mut self.aside {
            aside.write(rows)?;
        }
        self.columns.write(&rows.project(&self.columns.places())?)
    }

    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the bytes that are held: exact when all is encoded, else with those of
    /// the rows that wait, as they are and as if they were encoded.
    pub(crate) fn memory(&self) -> usize {
        let aside = self.aside.as_ref().map_or(0, Aside::memory);
        self.columns.memory() + aside
    }

    /// Waits until all rows are encoded.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.aside.as_mut().map_or(Ok(()), Aside::settle)
    }

    /// Waits until all rows are encoded, and returns the columns in the order of the file.
    pub(crate) fn close(self) -> Result<Vec<ArrowColumnChunk>> {
        let mut closed = self.columns.close()?;
        if let Some(aside) = self.aside {
            closed.extend(aside.into_columns()?.close()?);
        }
        closed.sort_by_key(|(place, _)| *place);
        Ok(closed.into_iter().flat_map(|(_, leaves)| leaves).collect())
    }
}

/// Returns the places of the largest columns, which make up half of the bytes.
fn largest(rows: &RecordBatch) -> Vec<usize> {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    let mut sizes: Vec<_> = rows.columns().iter().map(bytes).enumerate().collect();
    sizes.sort_by_key(|(place, size)| (Reverse(*size), *place));
    let all: usize = sizes.iter().map(|(_, size)| size).sum();
    let mut taken = 0;
    let half = sizes.into_iter().take_while(|(_, size)| {
        let more = taken * 2 < all;
        taken += size;
        more
    });
    half.map(|(place, _)| place).collect()
}
