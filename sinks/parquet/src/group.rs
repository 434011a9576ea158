//! The row group that is being written, with its columns.

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Fields};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::Result;
use parquet::schema::types::SchemaDescriptor;

/// Rows that are encoded, and not in the file yet.
#[derive(Debug)]
pub(crate) struct Group {
    rows: usize,
    columns: Columns,
}

impl Group {
    /// Begins with the column writers of `schema`, one a leaf, for rows of `fields`.
    pub(crate) fn new(
        leaves: Vec<ArrowColumnWriter>,
        schema: &SchemaDescriptor,
        fields: &Fields,
    ) -> Group {
        Group {
            rows: 0,
            columns: Columns::new(leaves, schema, fields),
        }
    }

    /// Encodes rows.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows();
        self.columns.write(rows)
    }

    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the bytes that are held.
    pub(crate) fn memory(&self) -> usize {
        self.columns.memory()
    }

    /// Returns the columns in the order of the file.
    pub(crate) fn close(self) -> Result<Vec<ArrowColumnChunk>> {
        self.columns.close()
    }
}

/// Columns of a row group.
#[derive(Debug)]
struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    field: FieldRef,
    /// As many as the column has leaves: several if it is nested.
    leaves: Vec<ArrowColumnWriter>,
}

impl Columns {
    fn new(leaves: Vec<ArrowColumnWriter>, schema: &SchemaDescriptor, fields: &Fields) -> Columns {
        let columns = fields.iter().map(|field| Column {
            field: field.clone(),
            leaves: Vec::new(),
        });
        let mut columns: Vec<Column> = columns.collect();
        for (leaf, writer) in leaves.into_iter().enumerate() {
            columns[schema.get_column_root_idx(leaf)]
                .leaves
                .push(writer);
        }
        Columns(columns)
    }

    /// Encodes rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for (column, array) in self.0.iter_mut().zip(rows.columns()) {
            let leaves = compute_leaves(&column.field, array)?;
            for (leaf, writer) in leaves.iter().zip(&mut column.leaves) {
                writer.write(leaf)?;
            }
        }
        Ok(())
    }

    /// Returns the bytes that are held.
    fn memory(&self) -> usize {
        let leaves = self.0.iter().flat_map(|column| &column.leaves);
        leaves.map(ArrowColumnWriter::memory_size).sum()
    }

    fn close(self) -> Result<Vec<ArrowColumnChunk>> {
        let leaves = self.0.into_iter().flat_map(|column| column.leaves);
        leaves.map(ArrowColumnWriter::close).collect()
    }
}
