//! Tables that several datasets share: whose a row is.
//!
//! With `scope = "filter"` the last column of a table says it.

use duckdb::Connection;
use mixflow_core::Result;
use mixflow_core::ledger::{self, DATASET_COLUMN, Scope, check_scope};
use mixflow_core::unit::{Dataset, DatasetKey};

use crate::columns::columns_of;
use crate::ledger::TableLedger;
use crate::metadata;
use crate::open::failed;
use crate::sql::quoted;

/// Checks that a run of `dataset` may replace days of a table.
pub(crate) fn check(
    connection: &Connection,
    table: &str,
    place: &str,
    scope: Scope,
    dataset: &Dataset,
) -> Result<()> {
    if scope == Scope::Window && is_shared(connection, table)? {
        return Err(ledger::is_shared(place));
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
    Ok(columns.iter().any(|(name, _)| name == DATASET_COLUMN))
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
    let (table, column) = (quoted(table), quoted(DATASET_COLUMN));
    connection
        .execute_batch(&format!(
            "ALTER TABLE {table} ADD COLUMN {column} VARCHAR DEFAULT {default}; \
             ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"
        ))
        .map_err(failed("note whose the rows of the table are"))
}

/// Returns the condition that is true of the rows of a dataset.
pub(crate) fn is_of(key: &DatasetKey) -> String {
    format!("{} = '{key}'", quoted(DATASET_COLUMN))
}
