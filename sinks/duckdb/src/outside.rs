//! The rows of `_mixflow_outside`: those that lie outside the days that they were
//! fetched for, and which of them go with these days.

use arrow::record_batch::RecordBatch;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params_from_iter};
use mixflow_core::Result;
use mixflow_core::batch::PartitionId;
use mixflow_core::ledger::OutsideRows;
use mixflow_core::sink::{PartitionInfo, TxnContext};
use mixflow_core::source::DayRange;
use mixflow_core::text::hex;
use sha2::{Digest as _, Sha256};

use crate::ledger::day_value;
use crate::open::failed;
use crate::sql::quoted;

/// The rows of one transaction that lie outside, and those of before.
pub(crate) struct Outside {
    table: String,
    dataset: String,
    run_id: String,
    rows: OutsideRows,
    /// Whether there are any from before.
    has_old: bool,
    /// What is true of the run's own rows, where several share the table.
    ours: Option<String>,
}

impl Outside {
    /// Returns what looks after the rows of a table; `None` if these have no
    /// time that could be outside.
    pub(crate) fn begin(
        connection: &Connection,
        table: &str,
        ours: Option<String>,
        cx: &TxnContext,
    ) -> Result<Option<Outside>> {
        let Some(rows) = OutsideRows::of(cx) else {
            return Ok(None);
        };
        let dataset = &cx.source.dataset;
        let old: i64 = connection
            .query_row(
                "SELECT count(*) FROM _mixflow_outside WHERE lower(table_name) = lower(?)",
                [table],
                |row| row.get(0),
            )
            .map_err(failed("look for rows outside their days"))?;
        Ok(Some(Outside {
            table: table.to_owned(),
            dataset: dataset.key().as_str().to_owned(),
            run_id: cx.run_id.clone(),
            rows,
            has_old: old > 0,
            ours,
        }))
    }

    /// Notes the days of a partition whose rows will come.
    pub(crate) fn announce(&mut self, info: &PartitionInfo) {
        self.rows.announce(info);
    }

    /// Removes the rows of before that were fetched for days of `range` and lie
    /// elsewhere; `last` is the last row of before.
    pub(crate) fn delete(
        &self,
        connection: &Connection,
        range: &DayRange,
        last: i64,
    ) -> Result<()> {
        if !self.has_old {
            return Ok(());
        }
        let what = format!("replace rows outside their days in `{}`", self.table);
        let own = "lower(table_name) = lower(?) AND run_id <> ? AND dataset = ? \
                   AND day BETWEEN ? AND ?";
        let whose = [
            Value::Text(self.table.clone()),
            Value::Text(self.run_id.clone()),
            Value::Text(self.dataset.clone()),
            day_value(range.first),
            day_value(range.last),
        ];
        let rows = self.rows_of(own, last, self.ours.as_deref());
        connection
            .execute(
                &format!(
                    "DELETE FROM {} WHERE rowid IN ({rows})",
                    quoted(&self.table)
                ),
                params_from_iter(&whose),
            )
            .map_err(failed(&what))?;
        connection
            .execute(
                &format!("DELETE FROM _mixflow_outside WHERE {own}"),
                params_from_iter(&whose),
            )
            .map(drop)
            .map_err(failed(&what))
    }

    /// Returns a condition, with its parameters, that is true of rows of before
    /// which were not fetched for another day than the one they lie in.
    pub(crate) fn at_home(&self, range: &DayRange, last: i64) -> Option<(String, Vec<Value>)> {
        if !self.has_old {
            return None;
        }
        let others = "lower(table_name) = lower(?) AND run_id <> ? AND event_time >= ? \
                      AND event_time < ?";
        let at = |us| Value::Timestamp(TimeUnit::Microsecond, us);
        let condition = format!("rowid NOT IN ({})", self.rows_of(others, last, None));
        let parameters = vec![
            Value::Text(self.table.clone()),
            Value::Text(self.run_id.clone()),
            at(range.start_us),
            at(range.end_us),
        ];
        Some((condition, parameters))
    }

    /// Returns a query for the rows of before that stand in `_mixflow_outside`
    /// where `whose` is true, and of which `besides` is: as many of each as are
    /// noted.
    fn rows_of(&self, whose: &str, last: i64, besides: Option<&str>) -> String {
        let besides = besides.unwrap_or("true");
        let texts = self.rows.identity();
        let texts = texts.map(|name| format!("coalesce(t.{}, '')", quoted(name)));
        let identity = format!(
            "sha256(concat_ws(chr(31), {}))",
            texts.collect::<Vec<_>>().join(", ")
        );
        format!(
            "SELECT row FROM (SELECT t.rowid AS row, o.copies, row_number() OVER (\
                PARTITION BY o.event_time, o.identity ORDER BY t.rowid) AS n \
             FROM {} AS t JOIN (SELECT event_time, identity, count(*) AS copies \
                FROM _mixflow_outside WHERE {whose} GROUP BY event_time, identity) AS o \
             ON t.event_time = o.event_time AND {identity} = o.identity \
             WHERE t.rowid <= {last} AND {besides}) WHERE n <= copies",
            quoted(&self.table)
        )
    }

    /// Notes the rows of a batch that lie outside the days of their partition;
    /// [`write`](Outside::write) writes what is noted.
    pub(crate) fn note(&mut self, partition: PartitionId, records: &RecordBatch) {
        self.rows.note(partition, records);
    }

    /// Returns whether so many rows are noted that memory would grow.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    /// Writes what is noted.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<()> {
        let noted = self.rows.take();
        if noted.is_empty() {
            return Ok(());
        }
        let what = format!("note rows outside their days in `{}`", self.table);
        let mut appender = connection
            .appender("_mixflow_outside")
            .map_err(failed(&what))?;
        for row in noted {
            // As `rows_of` computes it.
            let identity = hex(&Sha256::digest(row.identity));
            let row = [
                Value::Text(self.table.clone()),
                Value::Text(self.dataset.clone()),
                day_value(row.day),
                Value::Timestamp(TimeUnit::Microsecond, row.us),
                Value::Text(identity),
                Value::Text(self.run_id.clone()),
            ];
            appender
                .append_row(duckdb::appender_params_from_iter(row))
                .map_err(failed(&what))?;
        }
        appender.flush().map_err(failed(&what))
    }
}
