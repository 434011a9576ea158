//! Tables that several datasets share: whose a row is.
//!
//! With `scope = "filter"` the last column of a table says it, because nothing
//! else of a row does: two `where` expressions may give the same event.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use duckdb::Connection;
use mixflow_core::ledger::{Scope, check_scope};
use mixflow_core::unit::{Dataset, DatasetKey};
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{DATASET, columns_of, quoted};
use crate::ledger::TableLedger;
use crate::metadata;
use crate::open::failed;

/// Checks that a run of `dataset` may replace days of a table.
pub(crate) fn check(
    connection: &Connection,
    table: &str,
    place: &str,
    scope: Scope,
    dataset: &Dataset,
) -> Result<()> {
    if scope == Scope::Window && is_shared(connection, table)? {
        return Err(
            Error::new(ErrorKind::Destination, format!("cannot write {place}"))
                .because("it has rows of several datasets, which are kept apart")
                .hint("set `scope = \"filter\"`, or choose another table"),
        );
    }
    check_scope(place, scope, dataset, &owners(connection, table, dataset)?)
}

/// Returns the datasets of a table, as far as they are known.
fn owners(connection: &Connection, table: &str, dataset: &Dataset) -> Result<Vec<Dataset>> {
    let known = TableLedger::new(connection, table).datasets()?;
    if !known.is_empty() {
        return Ok(known);
    }
    // An older mixflow has kept the filters only.
    let before = metadata::read(connection, table)?;
    let filters = before.and_then(|before| before.filters_of_dataset());
    Ok(filters
        .map(|filters| Dataset {
            filters,
            ..dataset.clone()
        })
        .into_iter()
        .collect())
}

/// Whether a table says whose its rows are.
pub(crate) fn is_shared(connection: &Connection, table: &str) -> Result<bool> {
    let columns = columns_of(connection, table)?;
    Ok(columns.iter().any(|(name, _)| name == DATASET))
}

/// Gives a table that was not shared until now the column, as the run of
/// `dataset` needs it. Rows of which nobody knows whose they are stay as they
/// are, whatever is replaced.
pub(crate) fn share(connection: &Connection, table: &str, dataset: &Dataset) -> Result<()> {
    if is_shared(connection, table)? {
        return Ok(());
    }
    let owners = owners(connection, table, dataset)?;
    let default = match owners.as_slice() {
        [owner] => format!("'{}'", owner.key()),
        _ => "NULL".to_owned(),
    };
    let (table, column) = (quoted(table), quoted(DATASET));
    connection
        .execute_batch(&format!(
            "ALTER TABLE {table} ADD COLUMN {column} VARCHAR DEFAULT {default}; \
             ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"
        ))
        .map_err(failed("note whose the rows of the table are"))
}

/// Returns the condition that is true of the rows of a dataset.
pub(crate) fn is_of(key: &DatasetKey) -> String {
    format!("{} = '{key}'", quoted(DATASET))
}

/// Returns the schema of rows that say whose they are.
pub(crate) fn with_column(schema: &Schema) -> Schema {
    let column = Field::new(DATASET, DataType::Utf8, true);
    let fields = schema.fields().iter().cloned().chain([Arc::new(column)]);
    Schema::new(fields.collect::<Vec<_>>())
}

/// Returns rows that say whose they are.
pub(crate) fn marked(records: &RecordBatch, key: &DatasetKey) -> Result<RecordBatch> {
    let keys = StringArray::from_iter_values(std::iter::repeat_n(key.as_str(), records.num_rows()));
    let mut columns = records.columns().to_vec();
    columns.push(Arc::new(keys) as ArrayRef);
    let schema = Arc::new(with_column(records.schema_ref()));
    Ok(RecordBatch::try_new(schema, columns)?)
}
