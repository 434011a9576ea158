//! Ledgers of destinations whose sinks keep none.
//!
//! A destination is known by its real path or its URI, and its table, as in the
//! history. Units that stand for no days are not entered: nobody asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use jiff::civil::Date;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{
    DayRecord, DayState, Earlier, FetchedUnit, Ledger, LedgerStore, Recorded, UnitRecord,
};
use mixflow_core::unit::{Dataset, DayRange, UnitKey};
use mixflow_core::{Error, ErrorKind};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::damage;
use crate::failure::{Failure, Unavailable};
use crate::identity::{key, key_of_before};
use crate::store::State;

impl State {
    /// Returns what `destination` holds of `dataset`, and makes and changes
    /// nothing.
    ///
    /// A file or folder that is not there holds nothing, whatever was entered.
    /// What stood in a state that was damaged is [lost](Ledger::lost). Fails when
    /// the state cannot be used.
    pub fn ledger(
        &self,
        destination: &Destination,
        dataset: &Dataset,
    ) -> Result<Ledger, Unavailable> {
        if is_gone(destination) || self.is_absent() {
            return Ok(Ledger::default());
        }
        self.with(|db| match find(&db.conn, destination, dataset)? {
            Some(ledger) => read(&db.conn, ledger),
            None => Ok(match damage::names_in(self.folder()).pop() {
                Some(name) => lost(&name),
                None => Ledger::default(),
            }),
        })
    }

    /// Returns the units that have days in the ledger, in the order of their
    /// days.
    ///
    /// Fails when the state cannot be used.
    pub fn units(
        &self,
        destination: &Destination,
        dataset: &Dataset,
    ) -> Result<Vec<UnitRecord>, Unavailable> {
        if is_gone(destination) || !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|db| match find(&db.conn, destination, dataset)? {
            Some(ledger) => read_units(&db.conn, ledger),
            None => Ok(Vec::new()),
        })
    }

    /// Takes everything out that was entered of a destination.
    fn forget(&self, destination: &Destination) -> Result<(), Unavailable> {
        self.with(|db| {
            db.durably(|conn| {
                let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                remove_all(&txn, destination)?;
                Ok(txn.commit()?)
            })
        })
    }

    fn enter(
        &self,
        destination: &Destination,
        dataset: &Dataset,
        done: &Recorded<'_>,
    ) -> Result<(), Unavailable> {
        self.with(|db| {
            db.durably(|conn| {
                let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                take_over(&txn, destination)?;
                if done.earlier == Earlier::Go {
                    remove_all(&txn, destination)?;
                }
                let ledger = find_or_make(&txn, destination, dataset)?;
                enter_days(&txn, ledger, days_of(done.units), done.earlier)?;
                enter_units(&txn, ledger, done.units)?;
                remove_units_without_days(&txn, ledger)?;
                Ok(txn.commit()?)
            })
        })
    }
}

impl LedgerStore for State {
    /// Returns what the destination of a run that begins holds.
    ///
    /// What was entered of a file that is not there any more is forgotten now:
    /// should this run die between its commit and its record, the next one
    /// must not take the new file for the old one.
    fn read(&self, destination: &Destination, dataset: &Dataset) -> mixflow_core::Result<Ledger> {
        let read = || {
            if is_gone(destination) && self.exists() {
                self.forget(destination)?;
            }
            self.ledger(destination, dataset)
        };
        read().map_err(|error| unread(destination, error))
    }

    fn record(
        &self,
        destination: &Destination,
        dataset: &Dataset,
        done: &Recorded<'_>,
    ) -> mixflow_core::Result<()> {
        let has_days = done.units.iter().any(|unit| !unit.days.is_empty());
        if !has_days && done.earlier != Earlier::Go {
            return Ok(());
        }
        self.enter(destination, dataset, done).map_err(|error| {
            let message = format!("cannot write the ledger of {destination}");
            Error::new(ErrorKind::Io, message).with_source(error)
        })
    }
}

/// Returns what is known where a damaged database was set aside as `name`.
fn lost(name: &str) -> Ledger {
    Ledger::lost(format!(
        "what was known of it may be in `{name}`, a state that was damaged"
    ))
}

/// Returns the error of a ledger that could not be read.
fn unread(destination: &Destination, error: Unavailable) -> Error {
    let message = format!("cannot read the ledger of {destination}");
    Error::new(ErrorKind::Io, message).with_source(error)
}

/// Whether a destination is a file or folder that is not there.
fn is_gone(destination: &Destination) -> bool {
    let path = destination.path.as_ref();
    path.is_some_and(|path| path.try_exists().is_ok_and(|is_there| !is_there))
}

/// Returns the days of a run's units. One that several units are about, each of
/// a part of it, has what they have together.
fn days_of(units: &[FetchedUnit]) -> BTreeMap<Date, DayRecord> {
    let mut days: BTreeMap<Date, DayRecord> = BTreeMap::new();
    for day in units.iter().flat_map(|unit| &unit.days) {
        let all = match days.get(&day.day) {
            Some(before) => before.with_more(day),
            None => day.clone(),
        };
        days.insert(day.day, all);
    }
    days
}

fn find(
    conn: &Connection,
    destination: &Destination,
    dataset: &Dataset,
) -> Result<Option<i64>, Failure> {
    // A folder that cannot be written may have a database of an earlier version.
    if !conn.table_exists(None, "ledgers")? {
        return Ok(None);
    }
    // What stands there from before services were told apart may be of another one
    // with the same URI; it counts until something is entered of one of them.
    let keys = [Some(key(destination)), key_of_before(destination)];
    for key in keys.into_iter().flatten() {
        let found = conn.query_row(
            "SELECT ledger FROM ledgers WHERE destination = ?1 AND dataset = ?2",
            params![key, dataset.key().as_str()],
            |row| row.get(0),
        );
        if let Some(ledger) = found.optional()? {
            return Ok(Some(ledger));
        }
    }
    Ok(None)
}

/// Takes what stands there from before services were told apart for the one of which
/// something is entered.
fn take_over(conn: &Connection, destination: &Destination) -> Result<(), Failure> {
    if let Some(before) = key_of_before(destination) {
        conn.execute(
            "UPDATE OR IGNORE ledgers SET destination = ?1 WHERE destination = ?2",
            [&key(destination), &before],
        )?;
    }
    Ok(())
}

fn find_or_make(
    conn: &Connection,
    destination: &Destination,
    dataset: &Dataset,
) -> Result<i64, Failure> {
    if let Some(ledger) = find(conn, destination, dataset)? {
        return Ok(ledger);
    }
    conn.execute(
        "INSERT INTO ledgers (destination, dataset) VALUES (?1, ?2)",
        params![key(destination), dataset.key().as_str()],
    )?;
    Ok(conn.last_insert_rowid())
}

fn remove_all(conn: &Connection, destination: &Destination) -> Result<(), Failure> {
    let before = key_of_before(destination);
    for key in [Some(key(destination)), before].into_iter().flatten() {
        for table in ["ledger_days", "ledger_units", "ledgers"] {
            conn.execute(
                &format!(
                    "DELETE FROM {table} WHERE ledger IN
                     (SELECT ledger FROM ledgers WHERE destination = ?1)"
                ),
                [&key],
            )?;
        }
    }
    Ok(())
}

const DAY: &str = "day, state, rows, duplicates, bytes, fetched_at, run_id, unit_key";

fn enter_days(
    conn: &Connection,
    ledger: i64,
    days: BTreeMap<Date, DayRecord>,
    earlier: Earlier,
) -> Result<(), Failure> {
    let mut find = conn.prepare(&format!(
        "SELECT {DAY} FROM ledger_days WHERE ledger = ?1 AND day = ?2"
    ))?;
    let mut insert = conn.prepare(&format!(
        "INSERT OR REPLACE INTO ledger_days (ledger, {DAY})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?;
    for mut day in days.into_values() {
        if earlier == Earlier::Stay {
            let before = find.query_row(params![ledger, day.day.to_string()], to_day);
            if let Some(before) = before.optional()? {
                day = before.with_more(&day);
            }
        }
        insert.execute(params![
            ledger,
            day.day.to_string(),
            day.state.as_str(),
            day.rows.map(stored),
            stored(day.duplicates),
            day.bytes.map(stored),
            day.fetched_at.to_string(),
            day.run_id,
            day.unit_key.as_str(),
        ])?;
    }
    Ok(())
}

const UNIT: &str = "unit_key, run_id, label, first_day, last_day, start_us, end_us, fetched_at,
    rows, duplicates, rejected, bytes, sha256, latest_version, outside";

fn enter_units(conn: &Connection, ledger: i64, units: &[FetchedUnit]) -> Result<(), Failure> {
    let mut insert = conn.prepare(&format!(
        "INSERT OR REPLACE INTO ledger_units (ledger, {UNIT})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
    ))?;
    for unit in units.iter().map(|unit| &unit.record) {
        let Some(days) = unit.days else { continue };
        insert.execute(params![
            ledger,
            unit.unit_key.as_str(),
            unit.run_id,
            unit.label,
            days.first.to_string(),
            days.last.to_string(),
            days.start_us,
            days.end_us,
            unit.fetched_at.to_string(),
            stored(unit.rows),
            stored(unit.duplicates),
            stored(unit.rejected),
            unit.bytes.map(stored),
            unit.sha256,
            unit.latest_version,
            stored(unit.outside),
        ])?;
    }
    Ok(())
}

/// Takes out the units of which every day was fetched again since.
fn remove_units_without_days(conn: &Connection, ledger: i64) -> Result<(), Failure> {
    conn.execute(
        "DELETE FROM ledger_units WHERE ledger = ?1 AND (unit_key, run_id) NOT IN
         (SELECT unit_key, run_id FROM ledger_days WHERE ledger = ?1)",
        [ledger],
    )?;
    Ok(())
}

fn read(conn: &Connection, ledger: i64) -> Result<Ledger, Failure> {
    let mut query = conn.prepare(&format!("SELECT {DAY} FROM ledger_days WHERE ledger = ?1"))?;
    let days: Vec<DayRecord> = query
        .query_map([ledger], to_day)?
        .collect::<Result<_, _>>()?;
    let uncounted: BTreeSet<(String, UnitKey)> = days
        .iter()
        .filter(|day| day.rows.is_none())
        .map(|day| (day.run_id.clone(), day.unit_key.clone()))
        .collect();
    let mut found = Ledger::new(days);
    for unit in read_units(conn, ledger)? {
        let Some(days) = unit.days.filter(|days| days.first < days.last) else {
            continue;
        };
        found.spans.insert((days.first, days.last));
        let is_unknown = uncounted.contains(&(unit.run_id, unit.unit_key));
        found.outside += u64::from(unit.outside > 0 || is_unknown);
    }
    Ok(found)
}

fn read_units(conn: &Connection, ledger: i64) -> Result<Vec<UnitRecord>, Failure> {
    let mut query = conn.prepare(&format!(
        "SELECT {UNIT} FROM ledger_units WHERE ledger = ?1 ORDER BY first_day, last_day, unit_key"
    ))?;
    let units = query.query_map([ledger], to_unit)?;
    Ok(units.collect::<Result<_, _>>()?)
}

fn to_day(row: &Row<'_>) -> rusqlite::Result<DayRecord> {
    let state: String = row.get(1)?;
    Ok(DayRecord {
        day: parsed(row, 0)?,
        state: DayState::of_name(&state).ok_or_else(|| {
            let why = format!("`{state}` is no state of a day");
            rusqlite::Error::FromSqlConversionFailure(1, Type::Text, why.into())
        })?,
        rows: row.get::<_, Option<i64>>(2)?.map(loaded),
        duplicates: loaded(row.get(3)?),
        bytes: row.get::<_, Option<i64>>(4)?.map(loaded),
        fetched_at: parsed(row, 5)?,
        run_id: row.get(6)?,
        unit_key: unit_key(row, 7)?,
    })
}

fn to_unit(row: &Row<'_>) -> rusqlite::Result<UnitRecord> {
    Ok(UnitRecord {
        unit_key: unit_key(row, 0)?,
        run_id: row.get(1)?,
        label: row.get(2)?,
        days: Some(DayRange {
            first: parsed(row, 3)?,
            last: parsed(row, 4)?,
            start_us: row.get(5)?,
            end_us: row.get(6)?,
        }),
        fetched_at: parsed(row, 7)?,
        rows: loaded(row.get(8)?),
        duplicates: loaded(row.get(9)?),
        rejected: loaded(row.get(10)?),
        bytes: row.get::<_, Option<i64>>(11)?.map(loaded),
        sha256: row.get(12)?,
        latest_version: row.get(13)?,
        outside: loaded(row.get(14)?),
    })
}

/// Returns a count as SQLite has it.
fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn loaded(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

fn parsed<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| {
        let why = error.to_string();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
    })
}

fn unit_key(row: &Row<'_>, column: usize) -> rusqlite::Result<UnitKey> {
    let text: String = row.get(column)?;
    serde_json::from_value(text.into()).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
