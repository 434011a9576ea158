//! Read-only SQL over a database file.

use std::path::Path;

use arrow::record_batch::RecordBatch;
use mixflow_core::{Error, ErrorKind, Result};

use crate::store::{Access, open, text};

/// Answers a query with batches in memory.
///
/// Opens the file read-only, so several may ask at once. Fails with
/// [`ErrorKind::Destination`] if there is no database at `path`, and with
/// DuckDB's own words if it does not understand the query.
pub fn query(path: &Path, sql: &str) -> Result<Vec<RecordBatch>> {
    if !path.exists() {
        return Err(Error::new(
            ErrorKind::Destination,
            format!("cannot open `{}`", path.display()),
        )
        .because("there is no such file")
        .hint("name the database with `--db`"));
    }
    let connection = open(path, Access::ReadOnly)?;
    let failed = |error: duckdb::Error| {
        Error::new(ErrorKind::Request, "cannot answer the query").because(text(&error))
    };
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let answer = statement.query_arrow([]).map_err(failed)?;
    let schema = answer.get_schema();
    let mut batches: Vec<RecordBatch> = answer.collect();
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
