//! Rows whose time is in none of the days that they were fetched for.
//!
//! A project whose zone is another than the pipeline says, or a day that a
//! zone skips, gives such rows. When their day is fetched again they are to be
//! replaced with it, and when the day that they happen to lie in is fetched
//! again they are to stay. So each is noted in `_mixflow_outside` with its day,
//! and is known by what makes two rows the same event. Of rows that are the
//! same it does not matter which one goes, only how many.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params_from_iter};
use jiff::tz::TimeZone;
use mixflow_core::Result;
use mixflow_core::batch::PartitionId;
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::{PartitionInfo, TxnContext};
use mixflow_core::source::{DayRange, Extent};
use mixflow_core::text::hex;
use sha2::{Digest as _, Sha256};

use crate::columns::quoted;
use crate::ledger::day_value;
use crate::open::failed;

/// What stands between the parts of an identity; no name or id has it.
const SEPARATOR: &str = "\u{1f}";

/// Noted rows that memory may hold: some 4 MB.
const MOST_NOTED: usize = 10_000;

/// The rows of one transaction that lie outside, and those of before.
pub(crate) struct Outside {
    table: String,
    dataset: String,
    run_id: String,
    zone: TimeZone,
    /// The column of times, and the texts that make an event what it is.
    time: usize,
    texts: Vec<(usize, String)>,
    days: BTreeMap<PartitionId, DayCounter>,
    /// Rows of `_mixflow_outside` that are still to be written.
    noted: Vec<[Value; 6]>,
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
        let Some((time, texts)) = columns(cx) else {
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
            zone: TimeZone::get(&dataset.zone).unwrap_or(TimeZone::UTC),
            time,
            texts,
            days: BTreeMap::new(),
            noted: Vec::new(),
            has_old: old > 0,
            ours,
        }))
    }

    /// Notes the days of a partition whose rows will come.
    pub(crate) fn announce(&mut self, info: &PartitionInfo) {
        if let Extent::Days(range) = &info.extent {
            let days = DayCounter::new(range, &self.zone);
            self.days.insert(info.id, days);
        }
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
        let texts = self.texts.iter();
        let texts = texts.map(|(_, name)| format!("coalesce(t.{}, '')", quoted(name)));
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
        let Some(days) = self.days.get(&partition) else {
            return;
        };
        let times = records.column(self.time);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let outside = |us: &i64| days.is_outside(*us);
        if !times.values().iter().any(outside) {
            return;
        }
        let texts: Vec<&StringArray> = self
            .texts
            .iter()
            .map(|(at, _)| records.column(*at).as_string())
            .collect();
        for (row, us) in times.values().iter().enumerate() {
            if times.is_null(row) || !outside(us) {
                continue;
            }
            self.noted.push([
                Value::Text(self.table.clone()),
                Value::Text(self.dataset.clone()),
                day_value(days.day(*us)),
                Value::Timestamp(TimeUnit::Microsecond, *us),
                Value::Text(identity(&texts, row)),
                Value::Text(self.run_id.clone()),
            ]);
        }
    }

    /// Returns whether so many rows are noted that memory would grow.
    pub(crate) fn is_full(&self) -> bool {
        self.noted.len() >= MOST_NOTED
    }

    /// Writes what is noted.
    pub(crate) fn write(&mut self, connection: &Connection) -> Result<()> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let what = format!("note rows outside their days in `{}`", self.table);
        let mut appender = connection
            .appender("_mixflow_outside")
            .map_err(failed(&what))?;
        for row in self.noted.drain(..) {
            appender
                .append_row(duckdb::appender_params_from_iter(row))
                .map_err(failed(&what))?;
        }
        appender.flush().map_err(failed(&what))
    }
}

/// Returns what makes an event what it is, as SQL computes it, too.
fn identity(texts: &[&StringArray], row: usize) -> String {
    let mut hash = Sha256::new();
    for (n, column) in texts.iter().enumerate() {
        if n > 0 {
            hash.update(SEPARATOR);
        }
        if column.is_valid(row) {
            hash.update(column.value(row));
        }
    }
    hex(&hash.finalize())
}

/// Returns the column of times, and the texts that make an event what it is.
fn columns(cx: &TxnContext) -> Option<(usize, Vec<(usize, String)>)> {
    let roles = cx.source.roles?;
    let schema: &Schema = &cx.schema;
    let (time, field) = schema.column_with_name(roles.time)?;
    let microseconds = arrow::datatypes::TimeUnit::Microsecond;
    let is_time = matches!(
        field.data_type(),
        arrow::datatypes::DataType::Timestamp(unit, None) if *unit == microseconds
    );
    let texts = roles.identity.iter().filter_map(|name| {
        let (at, field) = schema.column_with_name(name)?;
        let is_text = *field.data_type() == arrow::datatypes::DataType::Utf8;
        is_text.then(|| (at, (*name).to_owned()))
    });
    let texts: Vec<_> = texts.collect();
    (is_time && !texts.is_empty() && cx.source.partitions_are_days).then_some((time, texts))
}
