//! The rows that were there before a run, of which it replaces some.

use std::collections::BTreeMap;

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params_from_iter};
use mixflow_core::Result;
use mixflow_core::sink::{PartitionInfo, ReplacedDay, WriteMode, check_replace, check_shrink};
use mixflow_core::source::Extent;

use crate::columns::{Relation, find, has_keys};
use crate::open::failed;
use crate::outside::Outside;
use crate::sql::quoted;

/// What becomes of the rows of before.
pub(crate) struct OldRows {
    table: String,
    /// What is true of the run's own rows, where several datasets share the
    /// table.
    ours: Option<String>,
    /// Whether it matters how many go.
    are_counted: bool,
    /// The last of them, for `replace_window`.
    last: Option<i64>,
    /// Whether the table has keys that no two rows share, as other programs
    /// make them: then days must go before their rows come.
    pub(crate) have_keys: bool,
    /// How many the table has that is replaced, if there is one.
    all: Option<u64>,
    /// How many were deleted, by day.
    deleted: BTreeMap<String, u64>,
}

impl OldRows {
    pub(crate) fn new(table: &str, ours: Option<String>, are_counted: bool) -> OldRows {
        OldRows {
            table: table.to_owned(),
            ours,
            are_counted,
            last: None,
            have_keys: false,
            all: None,
            deleted: BTreeMap::new(),
        }
    }

    /// Looks at a table before it is made, and so maybe replaced.
    pub(crate) fn look_before(&mut self, connection: &Connection, mode: WriteMode) -> Result<()> {
        if mode != WriteMode::Replace
            || !self.are_counted
            || find(connection, &self.table)? != Relation::Table
        {
            return Ok(());
        }
        let sql = format!("SELECT count(*) FROM {}", quoted(&self.table));
        let counted = connection.query_row(&sql, [], |row| row.get(0));
        self.all = Some(counted.map_err(failed(&format!("count the rows of `{}`", self.table)))?);
        Ok(())
    }

    /// Looks at the table that is to be written to.
    pub(crate) fn look(&mut self, connection: &Connection, mode: WriteMode) -> Result<()> {
        if mode != WriteMode::ReplaceWindow {
            return Ok(());
        }
        self.have_keys = has_keys(connection, &self.table)?;
        let sql = format!("SELECT max(rowid) FROM {}", quoted(&self.table));
        let last = connection.query_row(&sql, [], |row| row.get(0));
        self.last = last.map_err(failed(&format!("look at the rows of `{}`", self.table)))?;
        Ok(())
    }

    /// Deletes the days of a partition, but not what this run has written.
    ///
    /// Rows of this transaction have ids above every row that was there
    /// before; without that bound, a row that another window holds for one of
    /// these days would be lost again.
    pub(crate) fn delete(
        &mut self,
        connection: &Connection,
        outside: Option<&Outside>,
        info: &PartitionInfo,
    ) -> Result<()> {
        let (Extent::Days(days), Some(last)) = (info.extent, self.last) else {
            return Ok(());
        };
        let at = |us| Value::Timestamp(TimeUnit::Microsecond, us);
        let what = format!("replace {} in `{}`", info.label, self.table);
        let mut rows = format!(
            "FROM {} WHERE event_time >= ? AND event_time < ? AND rowid <= ?",
            quoted(&self.table)
        );
        let mut range = vec![at(days.start_us), at(days.end_us), Value::BigInt(last)];
        if let Some(ours) = &self.ours {
            rows = format!("{rows} AND {ours}");
        }
        if let Some(outside) = outside {
            outside.delete(connection, &days, last)?;
            if let Some((condition, parameters)) = outside.at_home(&days, last) {
                rows = format!("{rows} AND {condition}");
                range.extend(parameters);
            }
        }
        if self.are_counted {
            for (day, count) in count_days(connection, &rows, &range, &what)? {
                *self.deleted.entry(day).or_default() += count;
            }
        }
        connection
            .execute(&format!("DELETE {rows}"), params_from_iter(&range))
            .map(drop)
            .map_err(failed(&what))
    }

    /// Refuses to commit `rows` when the table or a day would lose most of its
    /// rows.
    pub(crate) fn check_shrink(
        &self,
        connection: &Connection,
        rows: u64,
        what: &str,
    ) -> Result<()> {
        if let Some(before) = self.all {
            return check_replace(&format!("the table `{}`", self.table), before, rows);
        }
        let Some(last) = self.last.filter(|_| !self.deleted.is_empty()) else {
            return Ok(());
        };
        let new = format!("FROM {} WHERE rowid > ?", quoted(&self.table));
        let written = count_days(connection, &new, &[Value::BigInt(last)], what)?;
        let days = self.deleted.iter().map(|(day, before)| ReplacedDay {
            day: day.clone(),
            before: *before,
            after: written.get(day).copied().unwrap_or(0),
        });
        check_shrink(&days.collect::<Vec<_>>())
    }
}

/// Counts rows by their UTC day; `rows` is a query from `FROM` on.
fn count_days(
    connection: &Connection,
    rows: &str,
    parameters: &[Value],
    what: &str,
) -> Result<BTreeMap<String, u64>> {
    let sql =
        format!("SELECT CAST(CAST(event_time AS DATE) AS VARCHAR), count(*) {rows} GROUP BY 1");
    let mut statement = connection.prepare(&sql).map_err(failed(what))?;
    let days = statement
        .query_map(params_from_iter(parameters), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(failed(what))?;
    days.collect::<Result<_, _>>().map_err(failed(what))
}
