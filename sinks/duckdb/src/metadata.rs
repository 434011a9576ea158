//! The table `_metadata`: a row for each table that mixflow wrote.

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, OptionalExt, params};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::fit::Provenance;
pub use mixflow_core::ledger::Missing;
use mixflow_core::ledger::{add_missing, missing_days, still_missing};
use mixflow_core::sink::{Outcome, PartitionInfo, TxnContext};
use serde::{Deserialize as _, Serialize};

use crate::columns::{Relation, find, quoted};
use crate::ledger::TableLedger;
use crate::open::failed;

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

/// What a run did to a table.
pub(crate) struct Fetch<'a> {
    pub(crate) cx: &'a TxnContext,
    pub(crate) outcome: &'a Outcome<'a>,
    /// The partitions that were written.
    pub(crate) done: &'a [PartitionInfo],
    /// Whether the table holds nothing but this run's rows.
    pub(crate) fresh: bool,
}

/// Writes the table's row, inside the caller's transaction.
///
/// The row describes the table as it is after the run: its rows, the days it
/// spans, and what is missing from it, also from earlier runs that added to it.
pub(crate) fn record(connection: &Connection, table: &str, fetch: &Fetch<'_>) -> Result<()> {
    let what = format!("record the table `{table}` in `_metadata`");
    create(connection).map_err(failed(&what))?;
    let before = if fetch.fresh {
        None
    } else {
        read(connection, table)?
    };
    let source = &fetch.cx.source;
    let filters = filters_with_provenance(fetch.cx, before.as_ref());
    let (mut from, mut to) = (source.from_date, source.to_date);
    let ledger = TableLedger::new(connection, table);
    let mut missing = Vec::new();
    if let Some(before) = before {
        from = before.from_date.into_iter().chain(from).min();
        to = before.to_date.into_iter().chain(to).max();
        missing = before.missing;
    }
    add_missing(&mut missing, fetch.outcome);
    let missing = match (from, to) {
        (Some(from), Some(to)) if source.partitions_are_days => {
            missing_days(missing, &ledger.days_held()?, from, to)
        }
        _ => still_missing(missing, fetch.done),
    };
    let count = format!("SELECT count(*) FROM {}", quoted(table));
    let rows: i64 = connection
        .query_row(&count, [], |row| row.get(0))
        .map_err(failed(&what))?;
    let status = if missing.is_empty() {
        "committed"
    } else {
        "partial"
    };
    forget(connection, table)?;
    let date = |date: Option<Date>| date.map(|date| date.to_string());
    connection
        .execute(
            "INSERT INTO _metadata (table_name, type, fetched_at, from_date, to_date, row_count, \
             filters, run_id, mixflow_version, status, missing) \
             VALUES (?, ?, ?, ?::DATE, ?::DATE, ?, ?, ?, ?, ?, ?)",
            params![
                table,
                source.dataset.kind.as_str(),
                Value::Timestamp(TimeUnit::Microsecond, fetch.cx.started_at.as_microsecond()),
                date(from),
                date(to),
                rows,
                serde_json::Value::Object(filters).to_string(),
                fetch.cx.run_id,
                env!("CARGO_PKG_VERSION"),
                status,
                serde_json::json!(missing).to_string(),
            ],
        )
        .map_err(failed(&what))?;
    Ok(())
}

/// Returns a run's filters, with how the rows of the table are made.
fn filters_with_provenance(
    cx: &TxnContext,
    before: Option<&TableMetadata>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut filters = cx.source.dataset.filters.clone();
    if let Some(limit) = cx.source.limit {
        filters.insert(LIMIT.to_owned(), limit.into());
    }
    let known = cx.source.provenance.clone();
    let known = known.or_else(|| before.and_then(provenance));
    if let Some(known) = known.filter(|known| !known.is_empty()) {
        filters.insert(PROVENANCE.to_owned(), serde_json::json!(known));
    }
    filters
}

/// What is known of how a table was fetched.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TableMetadata {
    /// The table.
    pub table_name: String,
    /// What is in it: `events` or `profiles`.
    #[serde(rename = "type")]
    pub data_type: String,
    /// When the last run that wrote it started.
    pub fetched_at: Timestamp,
    /// The first day that was asked for, inclusive.
    pub from_date: Option<Date>,
    /// The last day that was asked for, inclusive.
    pub to_date: Option<Date>,
    /// Its rows after that run.
    pub row_count: u64,
    /// The filters of that run; under `provenance` what stands for its keys.
    pub filters: serde_json::Value,
    /// That run; empty for a table that no run made.
    pub run_id: String,
    /// The mixflow that wrote it.
    pub mixflow_version: String,
    /// `committed`, or `partial` if something is missing.
    pub status: String,
    /// What is missing.
    pub missing: Vec<Missing>,
}

impl TableMetadata {
    /// Returns the filters that tell its dataset from others; `None` if nobody
    /// knows them, as of a table that the Python tool has made.
    pub(crate) fn filters_of_dataset(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let mut filters = self.filters.as_object()?.clone();
        filters.remove(PROVENANCE);
        filters.remove(LIMIT);
        Some(filters)
    }
}

/// Where the most rows of a run stand among the filters.
const LIMIT: &str = "limit";

/// Where the provenance of a table's rows stands among the filters.
const PROVENANCE: &str = "provenance";

/// Checks that a run's rows are made as those of the table.
pub(crate) fn check_provenance(
    connection: &Connection,
    table: &str,
    cx: &TxnContext,
) -> Result<()> {
    let Some(rows) = &cx.source.provenance else {
        return Ok(());
    };
    let before = read(connection, table)?.and_then(|before| provenance(&before));
    before.map_or(Ok(()), |before| {
        before.check(rows, &format!("the table `{table}`"))
    })
}

fn provenance(table: &TableMetadata) -> Option<Provenance> {
    let known = table.filters.get(PROVENANCE)?;
    Provenance::deserialize(known).ok()
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
