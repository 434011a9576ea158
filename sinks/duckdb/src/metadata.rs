//! The table `_metadata`: a row for each table that mixflow wrote.

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, OptionalExt, params};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::Result;
pub use mixflow_core::ledger::Missing;
use mixflow_core::sink::TxnContext;
pub(crate) use mixflow_core::table::Fetch;
pub use mixflow_core::table::TableMetadata;

use crate::columns::{Relation, find};
use crate::ledger::TableLedger;
use crate::open::failed;
use crate::sql::quoted;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS _metadata (\
    table_name VARCHAR, type VARCHAR, fetched_at TIMESTAMP, from_date DATE, to_date DATE, \
    row_count BIGINT, filters JSON, run_id VARCHAR, mixflow_version VARCHAR, status VARCHAR, \
    missing JSON)";

/// The columns that were added to the first six.
const ADDED: [&str; 5] = [
    "filters JSON",
    "run_id VARCHAR",
    "mixflow_version VARCHAR",
    "status VARCHAR",
    "missing JSON",
];

/// Writes the table's row, inside the caller's transaction.
pub(crate) fn record(connection: &Connection, table: &str, fetch: &Fetch<'_>) -> Result<()> {
    let what = format!("record the table `{table}` in `_metadata`");
    create(connection).map_err(failed(&what))?;
    let before = read(connection, table)?;
    let count = format!("SELECT count(*) FROM {}", quoted(table));
    let rows = connection
        .query_row(&count, [], |row| row.get(0))
        .map_err(failed(&what))?;
    let held = TableLedger::new(connection, table).days_held()?;
    let known = TableMetadata::after(before, table, rows, &held, fetch);
    forget(connection, table)?;
    let date = |date: Option<Date>| date.map(|date| date.to_string());
    connection
        .execute(
            "INSERT INTO _metadata (table_name, type, fetched_at, from_date, to_date, row_count, \
             filters, run_id, mixflow_version, status, missing) \
             VALUES (?, ?, ?, ?::DATE, ?::DATE, ?, ?, ?, ?, ?, ?)",
            params![
                table,
                known.data_type,
                Value::Timestamp(TimeUnit::Microsecond, known.fetched_at.as_microsecond()),
                date(known.from_date),
                date(known.to_date),
                known.row_count,
                known.filters.to_string(),
                known.run_id,
                known.mixflow_version,
                known.status,
                serde_json::json!(known.missing).to_string(),
            ],
        )
        .map_err(failed(&what))?;
    Ok(())
}

/// Checks that a run's rows are made as those of the table.
pub(crate) fn check_provenance(
    connection: &Connection,
    table: &str,
    cx: &TxnContext,
) -> Result<()> {
    let before = read(connection, table)?;
    before.map_or(Ok(()), |before| before.check_provenance(cx))
}

/// Returns the row of a table, if mixflow wrote it, or the Python tool
/// `mixpanel_data`, whose `_metadata` has the first six columns only.
pub(crate) fn read(connection: &Connection, table: &str) -> Result<Option<TableMetadata>> {
    let what = "read `_metadata`";
    if find(connection, "_metadata")? == Relation::None {
        return Ok(None);
    }
    // By name, so that a column that is not there is one without a value.
    let date = |value: Option<String>| value.and_then(|text| text.parse().ok());
    let json = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    let text = |value: Option<String>| value.unwrap_or_default();
    connection
        .query_row(
            "SELECT r.table_name, r.type, epoch_us(r.fetched_at::TIMESTAMP), r.from_date::VARCHAR, \
             r.to_date::VARCHAR, r.row_count::BIGINT, r.filters::VARCHAR, r.run_id, \
             r.mixflow_version, r.status, r.missing::VARCHAR FROM (\
                FROM _metadata UNION ALL BY NAME SELECT NULL::JSON AS filters, \
                NULL::VARCHAR AS run_id, NULL::VARCHAR AS mixflow_version, \
                NULL::VARCHAR AS status, NULL::JSON AS missing WHERE false) AS r \
             WHERE lower(r.table_name) = lower(?)",
            params![table],
            |row| {
                Ok(TableMetadata {
                    table_name: row.get(0)?,
                    data_type: row.get(1)?,
                    fetched_at: Timestamp::from_microsecond(row.get(2)?).unwrap_or_default(),
                    from_date: date(row.get(3)?),
                    to_date: date(row.get(4)?),
                    row_count: row.get(5)?,
                    filters: serde_json::from_str(&json(row.get(6)?)).unwrap_or_default(),
                    run_id: text(row.get(7)?),
                    mixflow_version: text(row.get(8)?),
                    status: row
                        .get::<_, Option<String>>(9)?
                        .unwrap_or_else(|| "committed".to_owned()),
                    missing: serde_json::from_str(&json(row.get(10)?)).unwrap_or_default(),
                })
            },
        )
        .optional()
        .map_err(failed(what))
}

/// Removes the row of a table, if there is one.
pub(crate) fn forget(connection: &Connection, table: &str) -> Result<()> {
    if find(connection, "_metadata")? == Relation::None {
        return Ok(());
    }
    connection
        .execute(
            "DELETE FROM _metadata WHERE lower(table_name) = lower(?)",
            params![table],
        )
        .map(|_| ())
        .map_err(failed(&format!("remove `{table}` from `_metadata`")))
}

/// Makes the table, or gives it the columns that it lacks: the Python tool
/// `mixpanel_data` makes the first six.
fn create(connection: &Connection) -> duckdb::Result<()> {
    connection.execute_batch(CREATE)?;
    for column in ADDED {
        connection.execute_batch(&format!(
            "ALTER TABLE _metadata ADD COLUMN IF NOT EXISTS {column}"
        ))?;
    }
    Ok(())
}
