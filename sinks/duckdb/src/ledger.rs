//! The tables `_mixflow_*`: what a database holds of each dataset, by day.
//!
//! They are written in the transaction of the run, so they are as true as the
//! rows. A database without them was written by an older mixflow or by another
//! program, and then nothing is known of its days.

use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, Row};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::ledger::{DayRecord, DayState, FetchedUnit, Ledger, UnitRecord};
use mixflow_core::unit::{DataKind, Dataset, UnitKey};

use crate::columns::{Relation, find};
use crate::open::failed;

/// What makes them. A column that is added later needs an `ALTER TABLE` of its
/// own: there are files that have these.
const CREATE: &str = "\
    CREATE TABLE IF NOT EXISTS _mixflow_datasets (\
        table_name VARCHAR, dataset VARCHAR, project VARCHAR, kind VARCHAR, zone VARCHAR, \
        filters JSON); \
    CREATE TABLE IF NOT EXISTS _mixflow_units (\
        table_name VARCHAR, dataset VARCHAR, unit_key VARCHAR, label VARCHAR, first_day DATE, \
        last_day DATE, fetched_at TIMESTAMP, run_id VARCHAR, rows BIGINT, duplicates BIGINT, \
        rejected BIGINT, bytes BIGINT, sha256 VARCHAR, latest_processing_ms BIGINT, \
        outside BIGINT); \
    CREATE TABLE IF NOT EXISTS _mixflow_unit_days (\
        table_name VARCHAR, dataset VARCHAR, day DATE, state VARCHAR, rows BIGINT, \
        duplicates BIGINT, bytes BIGINT, fetched_at TIMESTAMP, run_id VARCHAR, \
        unit_key VARCHAR); \
    CREATE TABLE IF NOT EXISTS _mixflow_outside (\
        table_name VARCHAR, dataset VARCHAR, day DATE, event_time TIMESTAMP, identity VARCHAR, \
        run_id VARCHAR); \
    CREATE VIEW IF NOT EXISTS _mixflow_days AS SELECT table_name, day, state, rows, duplicates, \
        bytes, fetched_at, run_id, unit_key FROM _mixflow_unit_days";

/// Those that have rows for a table.
const TABLES: [&str; 4] = [
    "_mixflow_datasets",
    "_mixflow_units",
    "_mixflow_unit_days",
    "_mixflow_outside",
];

/// The part of the ledger that is about one table.
#[derive(Clone, Copy)]
pub(crate) struct TableLedger<'c> {
    connection: &'c Connection,
    table: &'c str,
}

/// What a run has done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It made it.
    New,
    /// It added rows.
    Beside,
    /// It replaced the days that it fetched.
    InPlaceOfDays,
}

impl<'c> TableLedger<'c> {
    pub(crate) fn new(connection: &'c Connection, table: &'c str) -> TableLedger<'c> {
        TableLedger { connection, table }
    }

    /// Makes the tables, unless they are there.
    pub(crate) fn create(&self) -> Result<()> {
        self.connection
            .execute_batch(CREATE)
            .map_err(failed("make the tables of the ledger"))
    }

    fn is_there(&self) -> Result<bool> {
        Ok(find(self.connection, "_mixflow_unit_days")? == Relation::Table)
    }

    /// Removes all that is known of the table.
    pub(crate) fn forget(&self) -> Result<()> {
        if !self.is_there()? {
            return Ok(());
        }
        for ledger in TABLES {
            self.execute(
                &format!("DELETE FROM {ledger} WHERE lower(table_name) = lower(?)"),
                &[self.name()],
            )?;
        }
        Ok(())
    }

    /// Returns the datasets that rows of the table are of, as far as is known.
    pub(crate) fn datasets(&self) -> Result<Vec<Dataset>> {
        if !self.is_there()? {
            return Ok(Vec::new());
        }
        self.rows(
            "SELECT project, kind, zone, filters::VARCHAR FROM _mixflow_datasets \
             WHERE lower(table_name) = lower(?)",
            &[self.name()],
            |row| {
                Ok(Dataset {
                    project: row.get(0)?,
                    kind: DataKind::from(row.get::<_, String>(1)?),
                    zone: row.get(2)?,
                    filters: serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default(),
                })
            },
        )
    }

    /// Returns whether any unit is recorded.
    pub(crate) fn knows_anything(&self) -> Result<bool> {
        let units = self.rows(
            "SELECT 1 FROM _mixflow_units WHERE lower(table_name) = lower(?) LIMIT 1",
            &[self.name()],
            |_| Ok(()),
        )?;
        Ok(!units.is_empty())
    }

    /// Returns what the table holds of `dataset`.
    pub(crate) fn read(&self, dataset: &Dataset) -> Result<Ledger> {
        // Somebody may have dropped the table, who knows of no ledger.
        if !self.is_there()? || find(self.connection, self.table)? != Relation::Table {
            return Ok(Ledger::default());
        }
        let of = [self.name(), text(dataset.key().as_str())];
        let days = self.rows(
            "SELECT day::VARCHAR, state, rows, duplicates, bytes, epoch_us(fetched_at), run_id, \
             unit_key FROM _mixflow_unit_days WHERE lower(table_name) = lower(?) AND dataset = ? \
             ORDER BY day",
            &of,
            day_record,
        )?;
        let mut ledger = Ledger::new(days.into_iter().flatten());
        let units = self.rows(
            "SELECT first_day::VARCHAR, last_day::VARCHAR, outside FROM _mixflow_units \
             WHERE lower(table_name) = lower(?) AND dataset = ? AND first_day IS NOT NULL",
            &of,
            |row| Ok((date(row.get(0)?), date(row.get(1)?), row.get::<_, i64>(2)?)),
        )?;
        for (first, last, outside) in units {
            ledger.outside += u64::try_from(outside).unwrap_or_default();
            if let (Some(first), Some(last)) = (first, last)
                && first < last
            {
                ledger.spans.insert((first, last));
            }
        }
        Ok(ledger)
    }

    /// Returns the days of which the table holds something, of any dataset, or
    /// of which it is not known.
    pub(crate) fn days_held(&self) -> Result<Vec<(Date, Date)>> {
        if !self.is_there()? {
            return Ok(Vec::new());
        }
        let ranges = self.rows(
            "SELECT first::VARCHAR, last::VARCHAR FROM (\
                SELECT day AS first, day AS last FROM _mixflow_unit_days \
                WHERE lower(table_name) = lower($1) \
                UNION ALL SELECT first_day, last_day FROM _mixflow_units \
                WHERE lower(table_name) = lower($1) AND unit_key = '') \
             WHERE first IS NOT NULL ORDER BY first",
            &[self.name()],
            |row| Ok((date(row.get(0)?), date(row.get(1)?))),
        )?;
        let known = ranges.into_iter();
        Ok(known
            .filter_map(|(first, last)| Some((first?, last?)))
            .collect())
    }

    /// Notes that the table has days from `first` to `last` that no ledger was
    /// kept of.
    pub(crate) fn record_unknown(&self, first: Date, last: Date) -> Result<()> {
        self.execute(
            "INSERT INTO _mixflow_units (table_name, dataset, unit_key, label, first_day, \
             last_day, outside) VALUES (?, '', '', 'before the ledger', ?::DATE, ?::DATE, 0)",
            &[
                self.name(),
                text(&first.to_string()),
                text(&last.to_string()),
            ],
        )
    }

    /// Records the units that a run commits.
    pub(crate) fn record(
        &self,
        dataset: &Dataset,
        units: &[FetchedUnit],
        written: Written,
    ) -> Result<()> {
        self.record_dataset(dataset)?;
        let key = dataset.key();
        let before = match written {
            Written::Beside => self.read(dataset)?,
            Written::New | Written::InPlaceOfDays => Ledger::default(),
        };
        for range in units.iter().filter_map(|unit| unit.record.days) {
            self.execute(
                "DELETE FROM _mixflow_unit_days WHERE lower(table_name) = lower(?) \
                 AND dataset = ? AND day BETWEEN ?::DATE AND ?::DATE",
                &[
                    self.name(),
                    text(key.as_str()),
                    text(&range.first.to_string()),
                    text(&range.last.to_string()),
                ],
            )?;
        }
        self.append(
            "_mixflow_unit_days",
            units.iter().flat_map(|unit| &unit.days).map(|day| {
                let before = before.get(day.day);
                let day = before.map_or_else(|| day.clone(), |before| before.with_more(day));
                self.day_row(key.as_str(), &day)
            }),
        )?;
        self.append(
            "_mixflow_units",
            units
                .iter()
                .map(|unit| self.unit_row(key.as_str(), &unit.record)),
        )?;
        match written {
            Written::InPlaceOfDays => self.forget_replaced_units(key.as_str()),
            Written::New | Written::Beside => Ok(()),
        }
    }

    fn record_dataset(&self, dataset: &Dataset) -> Result<()> {
        let known = self
            .datasets()?
            .iter()
            .any(|known| known.key() == dataset.key());
        if known {
            return Ok(());
        }
        self.execute(
            "INSERT INTO _mixflow_datasets VALUES (?, ?, ?, ?, ?, ?)",
            &[
                self.name(),
                text(dataset.key().as_str()),
                text(&dataset.project),
                text(dataset.kind.as_str()),
                text(&dataset.zone),
                text(&serde_json::Value::Object(dataset.filters.clone()).to_string()),
            ],
        )
    }

    /// Removes units of which no day is left.
    fn forget_replaced_units(&self, dataset: &str) -> Result<()> {
        self.execute(
            "DELETE FROM _mixflow_units AS u WHERE lower(u.table_name) = lower($1) \
             AND u.dataset = $2 AND u.first_day IS NOT NULL AND NOT EXISTS (\
                SELECT 1 FROM _mixflow_unit_days AS d WHERE lower(d.table_name) = lower($1) \
                AND d.dataset = $2 AND d.unit_key = u.unit_key AND d.run_id = u.run_id)",
            &[self.name(), text(dataset)],
        )
    }

    fn day_row(&self, dataset: &str, day: &DayRecord) -> Vec<Value> {
        vec![
            self.name(),
            text(dataset),
            day_value(day.day),
            text(day.state.as_str()),
            number(day.rows),
            number(Some(day.duplicates)),
            number(day.bytes),
            instant(day.fetched_at),
            text(&day.run_id),
            text(day.unit_key.as_str()),
        ]
    }

    fn unit_row(&self, dataset: &str, unit: &UnitRecord) -> Vec<Value> {
        let day = |day: Option<Date>| day.map_or(Value::Null, day_value);
        vec![
            self.name(),
            text(dataset),
            text(unit.unit_key.as_str()),
            text(&unit.label),
            day(unit.days.map(|days| days.first)),
            day(unit.days.map(|days| days.last)),
            instant(unit.fetched_at),
            text(&unit.run_id),
            number(Some(unit.rows)),
            number(Some(unit.duplicates)),
            number(Some(unit.rejected)),
            number(unit.bytes),
            unit.sha256.as_deref().map_or(Value::Null, text),
            unit.latest_version.map_or(Value::Null, Value::BigInt),
            number(Some(unit.outside)),
        ]
    }

    fn name(&self) -> Value {
        text(self.table)
    }

    fn append(&self, ledger: &str, rows: impl Iterator<Item = Vec<Value>>) -> Result<()> {
        let what = self.what();
        let mut appender = self.connection.appender(ledger).map_err(failed(&what))?;
        for row in rows {
            appender
                .append_row(duckdb::appender_params_from_iter(row))
                .map_err(failed(&what))?;
        }
        // Dropping an appender flushes too, but hides the error.
        appender.flush().map_err(failed(&what))
    }

    fn execute(&self, sql: &str, values: &[Value]) -> Result<()> {
        self.connection
            .execute(sql, duckdb::params_from_iter(values))
            .map(drop)
            .map_err(failed(&self.what()))
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let what = self.what();
        let mut statement = self.connection.prepare(sql).map_err(failed(&what))?;
        statement
            .query_map(duckdb::params_from_iter(values), read)
            .and_then(Iterator::collect)
            .map_err(failed(&what))
    }

    fn what(&self) -> String {
        format!("keep the ledger of the table `{}`", self.table)
    }
}

/// Returns a day of the ledger; `None` for one that is no day of ours.
fn day_record(row: &Row<'_>) -> duckdb::Result<Option<DayRecord>> {
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let (Some(day), Some(state)) = (
        date(row.get(0)?),
        DayState::of_name(&row.get::<_, String>(1)?),
    ) else {
        return Ok(None);
    };
    let key: String = row.get(7)?;
    Ok(Some(DayRecord {
        day,
        state,
        rows: count(row.get(2)?),
        duplicates: count(row.get(3)?).unwrap_or_default(),
        bytes: count(row.get(4)?),
        fetched_at: Timestamp::from_microsecond(row.get(5)?).unwrap_or_default(),
        run_id: row.get(6)?,
        unit_key: UnitKey::of_digits(&key),
    }))
}

fn date(text: Option<String>) -> Option<Date> {
    text?.parse().ok()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn day_value(day: Date) -> Value {
    Value::Date32((day - Date::constant(1970, 1, 1)).get_days())
}

fn number(n: Option<u64>) -> Value {
    n.and_then(|n| i64::try_from(n).ok())
        .map_or(Value::Null, Value::BigInt)
}

fn instant(at: Timestamp) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, at.as_microsecond())
}
