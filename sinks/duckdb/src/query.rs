//! Queries, and their answers in Arrow batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use duckdb::Statement;
use mixflow_core::batch::json_field;
use mixflow_core::{Error, ErrorKind, Result};

use crate::open::full_text;
use crate::reading::Answer;

/// A query that is understood, and not asked yet.
#[derive(Debug)]
pub struct Query<'s> {
    pub(crate) statement: Statement<'s>,
    pub(crate) answer: Answer,
}

impl Query<'_> {
    /// Returns whether the answer is a plan, as of `EXPLAIN`, whose last column
    /// has texts of several lines. Known of a store that is open for queries.
    pub fn is_plan(&self) -> bool {
        self.answer == Answer::Plan
    }

    /// Asks it. The answer streams: memory holds one batch of some 2,000 rows
    /// of it.
    pub fn batches(&mut self) -> Result<Batches<'_>> {
        // Arrow has JSON as plain text; DuckDB's own type is what tells.
        let columns = 0..self.statement.column_count();
        let json: Vec<bool> = columns
            .map(|n| self.statement.column_logical_type(n).get_alias())
            .map(|alias| alias.as_deref() == Some("JSON"))
            .collect();
        let stream = self.statement.stream_arrow([]).map_err(unanswered)?;
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

/// Wraps DuckDB's text, all of its lines: they show where in the query.
pub(crate) fn unanswered(error: duckdb::Error) -> Error {
    let text = full_text(&error);
    if text.starts_with("INTERRUPT") {
        return Error::new(ErrorKind::Interrupted, "the query was interrupted");
    }
    let wrapped = Error::new(ErrorKind::Request, "cannot answer the query");
    let hint = if text.contains("Out of Memory") {
        "give it more with `--memory 4GB`, or ask for less at once"
    } else if text.contains("disabled by configuration") {
        "query what is in the database; DuckDB's own client reads other files"
    } else if text.contains("'timezone(") {
        "shift the time by hand, such as `event_time - INTERVAL 8 HOUR`: this DuckDB is built without time zones"
    } else if text.contains("WITH TIME ZONE") && text.contains("No function matches") {
        "cast the time first, such as `now()::TIMESTAMP`, which is in UTC"
    } else {
        return wrapped.because(text);
    };
    wrapped.because(text).hint(hint)
}
