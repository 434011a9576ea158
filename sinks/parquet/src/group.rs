//! The row group that is being written, with its columns.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, Fields};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::Result;
use parquet::schema::types::SchemaDescriptor;

use crate::aside::Aside;
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
    fn new(leaves: Vec<ArrowColumnWriter>, schema: &SchemaDescriptor, fields: &Fields) -> Columns {
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
    fn split_off(&mut self, places: &[usize]) -> Columns {
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

    fn close(self) -> Result<Vec<(usize, Vec<ArrowColumnChunk>)>> {
        let close = |column: Column| {
            let leaves = column.leaves.into_iter().map(ArrowColumnWriter::close);
            Ok((column.place, leaves.collect::<Result<_>>()?))
        };
        self.0.into_iter().map(close).collect()
    }
}
