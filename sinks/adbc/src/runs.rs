//! The table `_mixflow_runs`: each run that was committed, and how the table
//! stood after it.
//!
//! A run that does not know whether it was committed finds itself there, or not.

use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::fit::Provenance;
use mixflow_core::ledger::{Missing, add_missing, missing_days, still_missing};
use mixflow_core::sink::{Outcome, PartitionInfo, TxnContext};
use serde::{Deserialize as _, Serialize};

use arrow::array::RecordBatch;

use crate::columns::{Relation, find};
use crate::ledger::{
    Cells, Kind, TableLedger, as_text, counts, create, dates, is_about, texts, times,
};
use crate::session::Session;

const RUNS: &str = "_mixflow_runs";

/// Where the most rows of a run stand among the filters.
const LIMIT: &str = "limit";

/// Where the provenance of a table's rows stands among the filters.
const PROVENANCE: &str = "provenance";

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
    /// That run.
    pub run_id: String,
    /// The mixflow that wrote it.
    pub mixflow_version: String,
    /// `committed`, or `partial` if something is missing.
    pub status: String,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// Which run of the table it is, from 1.
    pub(crate) number: u64,
}

impl TableMetadata {
    fn provenance(&self) -> Option<Provenance> {
        let known = self.filters.get(PROVENANCE)?;
        Provenance::deserialize(known).ok()
    }
}

/// What a run did to a table.
pub(crate) struct Fetch<'a> {
    pub(crate) cx: &'a TxnContext,
    pub(crate) outcome: &'a Outcome<'a>,
    /// The partitions that were written.
    pub(crate) done: &'a [PartitionInfo],
    /// Whether the table holds nothing but this run's rows.
    pub(crate) fresh: bool,
    /// Rows that came.
    pub(crate) written: u64,
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
pub(crate) fn record(session: &Session, table: &str, fetch: &Fetch<'_>) -> Result<()> {
    let what = format!("record the run into the table `{table}`");
    let known = read(session, table)?;
    let number = known.as_ref().map_or(0, |known| known.number) + 1;
    let before = known.filter(|_| !fetch.fresh);
    let source = &fetch.cx.source;
    let filters = filters_with_provenance(fetch.cx, before.as_ref());
    let (mut from, mut to) = (source.from_date, source.to_date);
    let mut missing = Vec::new();
    // To count all of a table again takes long where it is large.
    let rows = match &before {
        Some(before) => (before.row_count + fetch.written).saturating_sub(fetch.gone),
        None if fetch.fresh => fetch.written,
        None => session.count(
            &what,
            &format!("SELECT count(*) FROM {}", session.table(table)),
        )?,
    };
    if let Some(before) = before {
        from = before.from_date.into_iter().chain(from).min();
        to = before.to_date.into_iter().chain(to).max();
        missing = before.missing;
    }
    add_missing(&mut missing, fetch.outcome);
    let missing = match (from, to) {
        (Some(from), Some(to)) if source.partitions_are_days => {
            let held = TableLedger::new(session, table).days_held()?;
            missing_days(missing, &held, from, to)
        }
        _ => still_missing(missing, fetch.done),
    };
    let status = match missing.is_empty() {
        true => "committed",
        false => "partial",
    };
    let filters = serde_json::Value::Object(filters).to_string();
    let missing = serde_json::json!(missing).to_string();
    let text = |text: &str| texts([Some(text)]);
    let row = RecordBatch::try_from_iter([
        ("number", counts([Some(number)])),
        ("table_name", text(table)),
        ("type", text(source.dataset.kind.as_str())),
        ("fetched_at", times([fetch.cx.started_at])),
        ("from_date", dates([from])),
        ("to_date", dates([to])),
        ("row_count", counts([Some(rows)])),
        ("filters", text(&filters)),
        ("run_id", text(&fetch.cx.run_id)),
        ("mixflow_version", text(env!("CARGO_PKG_VERSION"))),
        ("status", text(status)),
        ("missing", text(&missing)),
    ])?;
    session.insert(&what, RUNS, row)
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
    let known = known.or_else(|| before.and_then(TableMetadata::provenance));
    if let Some(known) = known.filter(|known| !known.is_empty()) {
        filters.insert(PROVENANCE.to_owned(), serde_json::json!(known));
    }
    filters
}

/// Checks that a run's rows are made as those of the table.
pub(crate) fn check_provenance(session: &Session, table: &str, cx: &TxnContext) -> Result<()> {
    let Some(rows) = &cx.source.provenance else {
        return Ok(());
    };
    let before = read(session, table)?;
    let before = before.and_then(|before| before.provenance());
    before.map_or(Ok(()), |before| {
        before.check(rows, &format!("the table `{table}`"))
    })
}

/// Returns what the last run left of a table, if there was one.
pub(crate) fn read(session: &Session, table: &str) -> Result<Option<TableMetadata>> {
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
        TableMetadata {
            number: cells.count().unwrap_or_default(),
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
        }
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
