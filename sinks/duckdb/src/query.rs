//! Queries, and their answers in Arrow batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use duckdb::{Statement, params_from_iter};
use mixflow_core::Result;
use mixflow_core::batch::json_field;

use crate::open::unanswered;
use crate::reading::Answer;

/// A query that is understood, and not asked yet.
#[derive(Debug)]
pub struct Query<'s> {
    pub(crate) statement: Statement<'s>,
    pub(crate) answer: Answer,
    /// The texts of its parameters, in their order.
    pub(crate) values: Vec<String>,
}

impl Query<'_> {
    /// Returns whether the answer is a plan, as of `EXPLAIN`, whose last column
    /// has texts of several lines. Known of a store that is open for queries.
    pub fn is_plan(&self) -> bool {
        self.answer == Answer::Plan
    }

    /// Asks it. The answer streams: memory holds one batch of some 2,000 rows
    /// of it.
    ///
    /// Fails with [`ErrorKind::Query`](mixflow_core::ErrorKind::Query) if DuckDB
    /// cannot answer.
    pub fn batches(&mut self) -> Result<Batches<'_>> {
        // Arrow has JSON as plain text; DuckDB's own type is what tells.
        let columns = 0..self.statement.column_count();
        let json: Vec<bool> = columns
            .map(|n| self.statement.column_logical_type(n).get_alias())
            .map(|alias| alias.as_deref() == Some("JSON"))
            .collect();
        let stream = self
            .statement
            .stream_arrow(params_from_iter(self.values.iter()))
            .map_err(unanswered)?;
        let schema = stream.get_schema();
        let fields = schema.fields().iter().enumerate();
        let fields = fields.map(|(n, field)| match json.get(n) {
            Some(true) if *field.data_type() == DataType::Utf8 => {
                Arc::new(json_field(field.name(), field.is_nullable()))
            }
            _ => Arc::clone(field),
        });
        Ok(Batches {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            stream,
        })
    }
}

/// The batches of an answer. JSON columns have Arrow's extension `arrow.json`.
pub struct Batches<'q> {
    schema: SchemaRef,
    stream: duckdb::ArrowStream<'q>,
}

impl Batches<'_> {
    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let batch = self.stream.next()?.map_err(unanswered);
        Some(batch.and_then(|batch| {
            let columns = batch.columns().to_vec();
            Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
        }))
    }
}

impl std::fmt::Debug for Batches<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches")
            .field("schema", &self.schema)
            .finish()
    }
}
