//! The table `_mixflow_runs`: each run that was committed, and how the table
//! stood after it.
//!
//! A run that does not know whether it was committed finds itself there, or not.

use arrow::array::RecordBatch;
use mixflow_core::Result;
use mixflow_core::table::{Fetch, TableMetadata};

use crate::columns::{Relation, find};
use crate::ledger::{
    Cells, Kind, TableLedger, as_text, counts, create, dates, is_about, texts, times,
};
use crate::session::Session;

const RUNS: &str = "_mixflow_runs";

/// What the last run left of a table.
pub(crate) struct LastRun {
    pub(crate) known: TableMetadata,
    /// Which run of the table it is, from 1.
    number: u64,
}

/// What a run did to a table.
pub(crate) struct Written<'a> {
    pub(crate) fetch: Fetch<'a>,
    /// Rows that came.
    pub(crate) rows: u64,
    /// Rows of before that went.
    pub(crate) gone: u64,
}

/// Makes the table, unless it is there.
pub(crate) fn make(session: &Session) -> Result<()> {
    use Kind::{Count, Day, Text, Time};

    create(
        session,
        RUNS,
        &[
            ("number", Count),
            ("table_name", Text),
            ("type", Text),
            ("fetched_at", Time),
            ("from_date", Day),
            ("to_date", Day),
            ("row_count", Count),
            ("filters", Text),
            ("run_id", Text),
            ("mixflow_version", Text),
            ("status", Text),
            ("missing", Text),
        ],
    )
}

/// Writes a run, inside the caller's transaction.
pub(crate) fn record(session: &Session, table: &str, written: &Written<'_>) -> Result<()> {
    let what = format!("record the run into the table `{table}`");
    let last = last(session, table)?;
    let number = last.as_ref().map_or(0, |last| last.number) + 1;
    let before = last.map(|last| last.known);
    // To count all of a table again takes long where it is large.
    let rows = match &before {
        _ if written.fetch.fresh => written.rows,
        Some(before) => (before.row_count + written.rows).saturating_sub(written.gone),
        None => session.count(
            &what,
            &format!("SELECT count(*) FROM {}", session.table(table)),
        )?,
    };
    let held = TableLedger::new(session, table).days_held()?;
    let known = TableMetadata::after(before, table, rows, &held, &written.fetch);
    let filters = known.filters.to_string();
    let missing = serde_json::json!(known.missing).to_string();
    let text = |text: &str| texts([Some(text)]);
    let row = RecordBatch::try_from_iter([
        ("number", counts([Some(number)])),
        ("table_name", text(table)),
        ("type", text(&known.data_type)),
        ("fetched_at", times([known.fetched_at])),
        ("from_date", dates([known.from_date])),
        ("to_date", dates([known.to_date])),
        ("row_count", counts([Some(known.row_count)])),
        ("filters", text(&filters)),
        ("run_id", text(&known.run_id)),
        ("mixflow_version", text(&known.mixflow_version)),
        ("status", text(&known.status)),
        ("missing", text(&missing)),
    ])?;
    session.insert(&what, RUNS, row)
}

/// Returns what is known of a table, if a run has written it.
pub(crate) fn read(session: &Session, table: &str) -> Result<Option<TableMetadata>> {
    Ok(last(session, table)?.map(|last| last.known))
}

/// Returns what the last run left of a table, if there was one.
fn last(session: &Session, table: &str) -> Result<Option<LastRun>> {
    let what = "read what is known of the table";
    if find(session, RUNS)? == Relation::None {
        return Ok(None);
    }
    let text = |column: &str| as_text(session.dialect, column);
    let runs = session.table(RUNS);
    let whose = is_about(session, table);
    let sql = format!(
        "SELECT number, table_name, type, {}, {}, {}, row_count, filters, run_id, \
         mixflow_version, status, missing FROM {runs} WHERE {whose} AND number = (\
            SELECT max(number) FROM {runs} WHERE {whose})",
        text("fetched_at"),
        text("from_date"),
        text("to_date"),
    );
    let row = session.rows(what, &sql)?.into_iter().next();
    Ok(row.map(|row| {
        let mut cells = Cells(row.into_iter());
        let number = cells.count().unwrap_or_default();
        let known = TableMetadata {
            table_name: cells.text(),
            data_type: cells.text(),
            fetched_at: cells.time().unwrap_or_default(),
            from_date: cells.day(),
            to_date: cells.day(),
            row_count: cells.count().unwrap_or_default(),
            filters: serde_json::from_str(&cells.text()).unwrap_or_default(),
            run_id: cells.text(),
            mixflow_version: cells.text(),
            status: cells.text(),
            missing: serde_json::from_str(&cells.text()).unwrap_or_default(),
        };
        LastRun { known, number }
    }))
}

/// Returns whether a run has been committed.
pub(crate) fn knows(session: &Session, run_id: &str) -> Result<bool> {
    if find(session, RUNS)? == Relation::None {
        return Ok(false);
    }
    let sql = format!(
        "SELECT count(*) FROM {} WHERE run_id = {}",
        session.table(RUNS),
        session.literal(run_id)
    );
    Ok(session.count("look for the run", &sql)? > 0)
}
