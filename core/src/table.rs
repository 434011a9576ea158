//! What is known of tables of a database that runs write to.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize as _, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::fit::Provenance;
use crate::ledger::{Missing, add_missing, missing_days, still_missing};
use crate::sink::{Outcome, PartitionInfo, TxnContext};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnInfo {
    /// Its name.
    pub column_name: String,
    /// Its type, as the database writes it.
    pub column_type: String,
    /// Whether values may be NULL.
    pub nullable: bool,
}

/// What is known of how a table was fetched.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub filters: Value,
    /// That run; empty for a table that no run made.
    pub run_id: String,
    /// The mixflow that wrote it.
    pub mixflow_version: String,
    /// `committed`, or `partial` if something is missing.
    pub status: String,
    /// What is missing.
    pub missing: Vec<Missing>,
}

/// What a run did to a table.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// The run.
    pub cx: &'a TxnContext,
    /// How it went.
    pub outcome: &'a Outcome<'a>,
    /// The partitions that were written.
    pub done: &'a [PartitionInfo],
    /// Whether the table holds nothing but this run's rows.
    pub fresh: bool,
}

/// Where the most rows of a run stand among the filters.
const LIMIT: &str = "limit";

/// Where the provenance of a table's rows stands among the filters.
const PROVENANCE: &str = "provenance";

impl TableMetadata {
    /// Says how the table is after a run: its rows, the days it spans, and what is
    /// missing from it, also from earlier runs that added to it.
    ///
    /// `before` is what was known; `held` are the days of the ledger, that of the run
    /// included.
    pub fn after(
        before: Option<TableMetadata>,
        table: &str,
        row_count: u64,
        held: &[(Date, Date)],
        fetch: &Fetch<'_>,
    ) -> TableMetadata {
        let before = before.filter(|_| !fetch.fresh);
        let source = &fetch.cx.source;
        let filters = filters_with_provenance(fetch.cx, before.as_ref());
        let (mut from, mut to) = (source.from_date, source.to_date);
        let mut missing = Vec::new();
        if let Some(before) = before {
            from = before.from_date.into_iter().chain(from).min();
            to = before.to_date.into_iter().chain(to).max();
            missing = before.missing;
        }
        add_missing(&mut missing, fetch.outcome);
        let missing = match (from, to) {
            (Some(from), Some(to)) if source.partitions_are_days => {
                missing_days(missing, held, from, to)
            }
            _ => still_missing(missing, fetch.done),
        };
        let status = match missing.is_empty() {
            true => "committed",
            false => "partial",
        };
        TableMetadata {
            table_name: table.to_owned(),
            data_type: source.dataset.kind.as_str().to_owned(),
            fetched_at: fetch.cx.started_at,
            from_date: from,
            to_date: to,
            row_count,
            filters: Value::Object(filters),
            run_id: fetch.cx.run_id.clone(),
            mixflow_version: env!("CARGO_PKG_VERSION").to_owned(),
            status: status.to_owned(),
            missing,
        }
    }

    /// Returns the filters that tell its dataset from others; `None` if nobody knows
    /// them, as of a table that the Python tool has made.
    pub fn filters_of_dataset(&self) -> Option<Map<String, Value>> {
        let mut filters = self.filters.as_object()?.clone();
        filters.remove(PROVENANCE);
        filters.remove(LIMIT);
        Some(filters)
    }

    /// Checks that a run's rows are made as those of the table.
    pub fn check_provenance(&self, cx: &TxnContext) -> Result<()> {
        match (&cx.source.provenance, self.provenance()) {
            (Some(rows), Some(before)) => {
                before.check(rows, &format!("the table `{}`", self.table_name))
            }
            _ => Ok(()),
        }
    }

    fn provenance(&self) -> Option<Provenance> {
        let known = self.filters.get(PROVENANCE)?;
        Provenance::deserialize(known).ok()
    }
}

/// Returns a run's filters, with how the rows of the table are made.
fn filters_with_provenance(cx: &TxnContext, before: Option<&TableMetadata>) -> Map<String, Value> {
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
