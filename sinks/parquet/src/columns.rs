//! The columns of a row group, which are encoded one by one.

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Fields};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::Result;
use parquet::schema::types::SchemaDescriptor;

/// Columns of a row group, all or some.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    /// Which of the file's it is, counted from 0.
    place: usize,
    field: FieldRef,
    /// As many as the column has leaves: several if it is nested.
    leaves: Vec<ArrowColumnWriter>,
}

impl Columns {
    pub(crate) fn new(
        leaves: Vec<ArrowColumnWriter>,
        schema: &SchemaDescriptor,
        fields: &Fields,
    ) -> Columns {
        let columns = fields.iter().enumerate().map(|(place, field)| Column {
            place,
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

    /// Takes some of the columns out.
    pub(crate) fn split_off(&mut self, places: &[usize]) -> Columns {
        let all = std::mem::take(&mut self.0).into_iter();
        let (out, rest) = all.partition(|column| places.contains(&column.place));
        self.0 = rest;
        Columns(out)
    }

    /// Returns which of the file's columns these are.
    pub(crate) fn places(&self) -> Vec<usize> {
        self.0.iter().map(|column| column.place).collect()
    }

    /// Encodes rows that have just these columns.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for (column, array) in self.0.iter_mut().zip(rows.columns()) {
            let leaves = compute_leaves(&column.field, array)?;
            for (leaf, writer) in leaves.iter().zip(&mut column.leaves) {
                writer.write(leaf)?;
            }
        }
        Ok(())
    }

    /// Returns the bytes that are held.
    pub(crate) fn memory(&self) -> usize {
        let leaves = self.0.iter().flat_map(|column| &column.leaves);
        leaves.map(ArrowColumnWriter::memory_size).sum()
    }

    pub(crate) fn close(self) -> Result<Vec<(usize, Vec<ArrowColumnChunk>)>> {
        let close = |column: Column| {
            let leaves = column.leaves.into_iter().map(ArrowColumnWriter::close);
            Ok((column.place, leaves.collect::<Result<_>>()?))
        };
        self.0.into_iter().map(close).collect()
    }
}
