//! The rows that were there before a run, of which it replaces some.

use std::collections::BTreeMap;

use mixflow_core::sink::{PartitionInfo, ReplacedDay, check_shrink};
use mixflow_core::source::{DayRange, Extent};
use mixflow_core::unit::DatasetKey;
use mixflow_core::{Error, ErrorKind, Result};

use crate::age::Age;
use crate::outside::Outside;
use crate::session::Session;
use crate::shared::and_is_of;

/// What becomes of the rows of before.
pub(crate) struct OldRows {
    table: String,
    /// Whose rows are replaced, where the table is shared.
    of: Option<DatasetKey>,
    /// How many were deleted, by day.
    deleted: BTreeMap<String, u64>,
    /// How many were deleted of those outside their days.
    outside: u64,
}

impl OldRows {
    pub(crate) fn new(table: &str, of: Option<DatasetKey>) -> OldRows {
        OldRows {
            table: table.to_owned(),
            of,
            deleted: BTreeMap::new(),
            outside: 0,
        }
    }

    /// Deletes the days of a partition, but not what this run has written.
    pub(crate) fn delete(
        &mut self,
        session: &Session,
        outside: Option<&Outside>,
        age: &Age,
        info: &PartitionInfo,
    ) -> Result<()> {
        let Extent::Days(days) = info.extent else {
            return Ok(());
        };
        let what = format!("replace {} in `{}`", info.label, self.table);
        let table = session.table(&self.table);
        let mut whose = format!("{} AND {}", between(session, &days)?, age.is_old("t"));
        whose += &and_is_of(session, self.of.as_ref(), "t");
        if let Some(outside) = outside {
            self.outside += outside.delete(session, &days, age)?;
            if let Some(condition) = outside.at_home(session, &days, age)? {
                whose = format!("{whose} AND {condition}");
            }
        }
        let found = count_days(session, &self.table, &whose, &what)?;
        let expected: u64 = found.values().sum();
        for (day, count) in found {
            *self.deleted.entry(day).or_default() += count;
        }
        if expected == 0 {
            return Ok(());
        }
        let sql = format!("DELETE FROM {table} AS t WHERE {whose}");
        let gone = session.execute(&what, &sql)?;
        // Some drivers do not count.
        match gone.filter(|gone| *gone != expected && *gone > 0) {
            None => Ok(()),
            Some(gone) => Err(Error::new(ErrorKind::Other, format!("cannot {what}"))
                .because(format!("{expected} rows were to go, and {gone} went"))),
        }
    }

    /// Returns how many rows of before are gone.
    pub(crate) fn gone(&self) -> u64 {
        self.deleted.values().sum::<u64>() + self.outside
    }

    /// Refuses to commit when a day would lose most of its rows; `written` are
    /// the run's rows by day.
    pub(crate) fn check_shrink(&self, written: &BTreeMap<String, u64>) -> Result<()> {
        let days = self.deleted.iter().map(|(day, before)| ReplacedDay {
            day: day.clone(),
            before: *before,
            after: written.get(day).copied().unwrap_or(0),
        });
        check_shrink(&days.collect::<Vec<_>>())
    }
}

/// Returns a condition that is true of rows whose time is in these days.
fn between(session: &Session, days: &DayRange) -> Result<String> {
    let dialect = session.dialect;
    Ok(format!(
        "t.event_time >= {} AND t.event_time < {}",
        dialect.instant(days.start_us)?,
        dialect.instant(days.end_us)?
    ))
}

/// Counts rows by their UTC day, where `whose` is true of the table `t`.
pub(crate) fn count_days(
    session: &Session,
    table: &str,
    whose: &str,
    what: &str,
) -> Result<BTreeMap<String, u64>> {
    let day = session.dialect.day_of("t.event_time");
    let sql = format!(
        "SELECT {day}, count(*) FROM {} AS t WHERE {whose} GROUP BY 1",
        session.table(table)
    );
    let rows = session.rows(what, &sql)?.into_iter();
    let days = rows.map(|row| {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let day = cells.next().unwrap_or_default();
        (day, cells.next().and_then(|n| n.parse().ok()).unwrap_or(0))
    });
    Ok(days.collect())
}
