//! The tables `_mixflow_*`: what a database holds of each dataset, by day.
//!
//! They are in the schema of the tables that they are about, and written in the
//! transaction of the run, so they are as true as the rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use mixflow_core::Result;
use mixflow_core::ledger::{DayRecord, DayState, FetchedUnit, Ledger, UnitRecord};
use mixflow_core::unit::{DataKind, Dataset, UnitKey};

use crate::columns::{Relation, find};
use crate::dialect::Dialect;
use crate::session::{Row, Session};

const DATASETS: &str = "_mixflow_datasets";
const UNITS: &str = "_mixflow_units";
const UNIT_DAYS: &str = "_mixflow_unit_days";

/// The type of a column of ours.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Count,
    Day,
    Time,
}

/// The part of the ledger that is about one table.
#[derive(Clone, Copy)]
pub(crate) struct TableLedger<'s> {
    session: &'s Session,
    table: &'s str,
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

/// Makes a table of ours, unless it is there.
pub(crate) fn create(session: &Session, table: &str, columns: &[(&str, Kind)]) -> Result<()> {
    if find(session, table)? != Relation::None {
        return Ok(());
    }
    let columns = columns.iter().map(|(name, kind)| {
        let kind = match kind {
            Kind::Text => session.dialect.text(),
            Kind::Count => "BIGINT",
            Kind::Day => "DATE",
            Kind::Time => session.dialect.time(),
        };
        format!("{} {kind}", session.dialect.quoted(name))
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!("CREATE TABLE {} ({columns})", session.table(table));
    session.execute(&format!("make the table `{table}`"), &sql)?;
    Ok(())
}

/// Returns a condition that is true of what is about a table.
pub(crate) fn is_about(session: &Session, table: &str) -> String {
    let name = session.literal(table);
    match session.dialect {
        Dialect::Postgres => format!("table_name = {name}"),
        _ => format!("lower(table_name) = lower({name})"),
    }
}

impl<'s> TableLedger<'s> {
    pub(crate) fn new(session: &'s Session, table: &'s str) -> TableLedger<'s> {
        TableLedger { session, table }
    }

    /// Makes the tables, unless they are there.
    pub(crate) fn create(&self) -> Result<()> {
        use Kind::{Count, Day, Text, Time};

        let datasets = [
            "table_name",
            "dataset",
            "project",
            "kind",
            "zone",
            "filters",
        ];
        create(self.session, DATASETS, &datasets.map(|name| (name, Text)))?;
        let units = [
            ("table_name", Text),
            ("dataset", Text),
            ("unit_key", Text),
            ("label", Text),
            ("first_day", Day),
            ("last_day", Day),
            ("fetched_at", Time),
            ("run_id", Text),
            ("rows", Count),
            ("duplicates", Count),
            ("rejected", Count),
            ("bytes", Count),
            ("sha256", Text),
            ("latest_processing_ms", Count),
            ("outside", Count),
        ];
        create(self.session, UNITS, &units)?;
        let days = [
            ("table_name", Text),
            ("dataset", Text),
            ("day", Day),
            ("state", Text),
            ("rows", Count),
            ("duplicates", Count),
            ("bytes", Count),
            ("fetched_at", Time),
            ("run_id", Text),
            ("unit_key", Text),
        ];
        create(self.session, UNIT_DAYS, &days)?;
        self.create_view()
    }

    fn create_view(&self) -> Result<()> {
        const VIEW: &str = "_mixflow_days";
        let session = self.session;
        if session.dialect == Dialect::Other || find(session, VIEW)? != Relation::None {
            return Ok(());
        }
        let sql = format!(
            "CREATE VIEW {} AS SELECT table_name, day, state, \"rows\", duplicates, bytes, \
             fetched_at, run_id, unit_key FROM {}",
            session.table(VIEW),
            session.table(UNIT_DAYS)
        );
        session
            .execute("make the view `_mixflow_days`", &sql)
            .map(drop)
    }

    fn is_there(&self, ledger: &str) -> Result<bool> {
        Ok(find(self.session, ledger)? == Relation::Table)
    }

    /// Removes all that is known of the table.
    pub(crate) fn forget(&self) -> Result<()> {
        for ledger in [DATASETS, UNITS, UNIT_DAYS] {
            self.delete(ledger, "")?;
        }
        Ok(())
    }

    fn delete(&self, ledger: &str, besides: &str) -> Result<()> {
        let whose = is_about(self.session, self.table);
        let ledger = self.session.table(ledger);
        let sql = format!("DELETE FROM {ledger} WHERE {whose}{besides}");
        self.session.execute(&self.what(), &sql).map(drop)
    }

    /// Returns the datasets that rows of the table are of, as far as is known.
    pub(crate) fn datasets(&self) -> Result<Vec<Dataset>> {
        if !self.is_there(DATASETS)? {
            return Ok(Vec::new());
        }
        let rows = self.select("project, kind, zone, filters", DATASETS, "")?;
        let datasets = rows.into_iter().map(|row| {
            let mut cells = Cells(row.into_iter());
            Dataset {
                project: cells.text(),
                kind: DataKind::from(cells.text()),
                zone: cells.text(),
                filters: serde_json::from_str(&cells.text()).unwrap_or_default(),
            }
        });
        Ok(datasets.collect())
    }

    /// Returns what the table holds of `dataset`.
    pub(crate) fn read(&self, dataset: &Dataset) -> Result<Ledger> {
        // Somebody may have dropped the table, who knows of no ledger.
        if !self.is_there(UNIT_DAYS)? || find(self.session, self.table)? != Relation::Table {
            return Ok(Ledger::default());
        }
        let text = |column: &str| as_text(self.session.dialect, column);
        let of = self.of(dataset);
        let columns = format!(
            "{}, state, \"rows\", duplicates, bytes, {}, run_id, unit_key",
            text("day"),
            text("fetched_at")
        );
        let days = self.select(&columns, UNIT_DAYS, &of)?;
        let mut ledger = Ledger::new(days.into_iter().filter_map(day_record));
        let columns = format!("{}, {}, outside", text("first_day"), text("last_day"));
        let units = self.select(&columns, UNITS, &of)?;
        for unit in units {
            let mut cells = Cells(unit.into_iter());
            let (first, last) = (cells.day(), cells.day());
            ledger.outside += cells.count().unwrap_or_default();
            if let (Some(first), Some(last)) = (first, last)
                && first < last
            {
                ledger.spans.insert((first, last));
            }
        }
        Ok(ledger)
    }

    /// Returns the days of which the table holds something, of any dataset.
    pub(crate) fn days_held(&self) -> Result<Vec<(Date, Date)>> {
        let day = as_text(self.session.dialect, "day");
        let days = self.select(&day, UNIT_DAYS, "")?.into_iter();
        let days = days.filter_map(|row| Cells(row.into_iter()).day());
        Ok(days.map(|day| (day, day)).collect())
    }

    /// Records the units that a run commits.
    pub(crate) fn record(
        &self,
        dataset: &Dataset,
        units: &[FetchedUnit],
        written: Written,
    ) -> Result<()> {
        self.record_dataset(dataset)?;
        let before = match written {
            Written::Beside => self.read(dataset)?,
            Written::New | Written::InPlaceOfDays => Ledger::default(),
        };
        for range in units.iter().filter_map(|unit| unit.record.days) {
            let (first, last) = (self.day(range.first), self.day(range.last));
            let days = format!("{} AND day BETWEEN {first} AND {last}", self.of(dataset));
            self.delete(UNIT_DAYS, &days)?;
        }
        let days = units.iter().flat_map(|unit| &unit.days).map(|day| {
            let before = before.get(day.day);
            before.map_or_else(|| day.clone(), |before| before.with_more(day))
        });
        let days: Vec<DayRecord> = days.collect();
        let (session, what) = (self.session, self.what());
        session.insert(&what, UNIT_DAYS, self.day_rows(dataset, &days)?)?;
        let records: Vec<&UnitRecord> = units.iter().map(|unit| &unit.record).collect();
        session.insert(&what, UNITS, self.unit_rows(dataset, &records)?)?;
        match written {
            Written::InPlaceOfDays => self.forget_replaced_units(dataset),
            Written::New | Written::Beside => Ok(()),
        }
    }

    fn record_dataset(&self, dataset: &Dataset) -> Result<()> {
        let known = self.datasets()?;
        if known.iter().any(|known| known.key() == dataset.key()) {
            return Ok(());
        }
        let filters = serde_json::Value::Object(dataset.filters.clone()).to_string();
        let key = dataset.key();
        let values = [
            ("table_name", self.table),
            ("dataset", key.as_str()),
            ("project", &dataset.project),
            ("kind", dataset.kind.as_str()),
            ("zone", &dataset.zone),
            ("filters", &filters),
        ];
        let columns = values.map(|(name, value)| (name, texts([Some(value)])));
        let row = RecordBatch::try_from_iter(columns)?;
        self.session.insert(&self.what(), DATASETS, row)
    }

    /// Removes units of which no day is left.
    fn forget_replaced_units(&self, dataset: &Dataset) -> Result<()> {
        let (units, days) = (self.session.table(UNITS), self.session.table(UNIT_DAYS));
        let whose = is_about(self.session, self.table);
        let of = self.of(dataset);
        let sql = format!(
            "DELETE FROM {units} WHERE {whose}{of} AND first_day IS NOT NULL AND NOT EXISTS (\
                SELECT 1 FROM {days} AS d WHERE d.table_name = {units}.table_name \
                AND d.dataset = {units}.dataset AND d.unit_key = {units}.unit_key \
                AND d.run_id = {units}.run_id)"
        );
        self.session.execute(&self.what(), &sql).map(drop)
    }

    fn day_rows(&self, dataset: &Dataset, days: &[DayRecord]) -> Result<RecordBatch> {
        let key = dataset.key();
        let all = || days.iter();
        Ok(RecordBatch::try_from_iter([
            ("table_name", texts(all().map(|_| Some(self.table)))),
            ("dataset", texts(all().map(|_| Some(key.as_str())))),
            ("day", dates(all().map(|day| Some(day.day)))),
            ("state", texts(all().map(|day| Some(day.state.as_str())))),
            ("rows", counts(all().map(|day| day.rows))),
            ("duplicates", counts(all().map(|day| Some(day.duplicates)))),
            ("bytes", counts(all().map(|day| day.bytes))),
            ("fetched_at", times(all().map(|day| day.fetched_at))),
            ("run_id", texts(all().map(|day| Some(day.run_id.as_str())))),
            (
                "unit_key",
                texts(all().map(|day| Some(day.unit_key.as_str()))),
            ),
        ])?)
    }

    fn unit_rows(&self, dataset: &Dataset, units: &[&UnitRecord]) -> Result<RecordBatch> {
        let key = dataset.key();
        let all = || units.iter();
        Ok(RecordBatch::try_from_iter([
            ("table_name", texts(all().map(|_| Some(self.table)))),
            ("dataset", texts(all().map(|_| Some(key.as_str())))),
            (
                "unit_key",
                texts(all().map(|unit| Some(unit.unit_key.as_str()))),
            ),
            ("label", texts(all().map(|unit| Some(unit.label.as_str())))),
            (
                "first_day",
                dates(all().map(|unit| unit.days.map(|days| days.first))),
            ),
            (
                "last_day",
                dates(all().map(|unit| unit.days.map(|days| days.last))),
            ),
            ("fetched_at", times(all().map(|unit| unit.fetched_at))),
            (
                "run_id",
                texts(all().map(|unit| Some(unit.run_id.as_str()))),
            ),
            ("rows", counts(all().map(|unit| Some(unit.rows)))),
            (
                "duplicates",
                counts(all().map(|unit| Some(unit.duplicates))),
            ),
            ("rejected", counts(all().map(|unit| Some(unit.rejected)))),
            ("bytes", counts(all().map(|unit| unit.bytes))),
            ("sha256", texts(all().map(|unit| unit.sha256.as_deref()))),
            (
                "latest_processing_ms",
                Arc::new(
                    all()
                        .map(|unit| unit.latest_version)
                        .collect::<Int64Array>(),
                ) as ArrayRef,
            ),
            ("outside", counts(all().map(|unit| Some(unit.outside)))),
        ])?)
    }

    /// Returns the condition, behind another one, that is true of a dataset.
    fn of(&self, dataset: &Dataset) -> String {
        let key = self.session.literal(dataset.key().as_str());
        format!(" AND dataset = {key}")
    }

    fn day(&self, day: Date) -> String {
        day_literal(self.session.dialect, day)
    }

    fn select(&self, columns: &str, ledger: &str, besides: &str) -> Result<Vec<Row>> {
        let whose = is_about(self.session, self.table);
        let ledger = self.session.table(ledger);
        let sql = format!("SELECT {columns} FROM {ledger} WHERE {whose}{besides}");
        self.session.rows(&self.what(), &sql)
    }

    fn what(&self) -> String {
        format!("keep the ledger of the table `{}`", self.table)
    }
}

/// The values of a row, one after the other.
pub(crate) struct Cells(pub(crate) std::vec::IntoIter<Option<String>>);

impl Cells {
    pub(crate) fn some(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    pub(crate) fn text(&mut self) -> String {
        self.some().unwrap_or_default()
    }

    pub(crate) fn count(&mut self) -> Option<u64> {
        self.some()?.parse().ok()
    }

    pub(crate) fn day(&mut self) -> Option<Date> {
        self.some()?.get(..10)?.parse().ok()
    }

    /// Reads a time with an offset, or without one in UTC.
    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        let text = self.some()?;
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time);
        }
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

/// Returns a day of the ledger; `None` for one that is no day of ours.
fn day_record(row: Row) -> Option<DayRecord> {
    let mut cells = Cells(row.into_iter());
    Some(DayRecord {
        day: cells.day()?,
        state: DayState::of_name(&cells.text())?,
        rows: cells.count(),
        duplicates: cells.count().unwrap_or_default(),
        bytes: cells.count(),
        fetched_at: cells.time().unwrap_or_default(),
        run_id: cells.text(),
        unit_key: UnitKey::of_digits(cells.text()),
    })
}

/// Returns a column as text, whatever it is.
pub(crate) fn as_text(dialect: Dialect, column: &str) -> String {
    format!("CAST({column} AS {})", dialect.text())
}

/// Returns a day as SQL has it.
pub(crate) fn day_literal(dialect: Dialect, day: Date) -> String {
    match dialect {
        Dialect::Sqlite => format!("'{day}'"),
        _ => format!("DATE '{day}'"),
    }
}

pub(crate) fn texts<'t>(values: impl IntoIterator<Item = Option<&'t str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

pub(crate) fn counts(values: impl IntoIterator<Item = Option<u64>>) -> ArrayRef {
    let values = values.into_iter().map(|n| i64::try_from(n?).ok());
    Arc::new(values.collect::<Int64Array>())
}

pub(crate) fn dates(values: impl IntoIterator<Item = Option<Date>>) -> ArrayRef {
    let days = |day: Date| (day - Date::constant(1970, 1, 1)).get_days();
    let values = values.into_iter().map(|day| day.map(days));
    Arc::new(values.collect::<Date32Array>())
}

pub(crate) fn times(values: impl IntoIterator<Item = Timestamp>) -> ArrayRef {
    let values = values.into_iter().map(|time| time.as_microsecond());
    Arc::new(TimestampMicrosecondArray::from_iter_values(values))
}
