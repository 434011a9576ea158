//! Rows whose time is in none of the days that they were fetched for.
//!
//! A project whose zone is another than the pipeline says, or a day that a
//! zone skips, gives such rows. When their day is fetched again they are to be
//! replaced with it, and when the day that they happen to lie in is fetched
//! again they are to stay. So each is noted in `_mixflow_outside` with its day,
//! and is known by what makes two rows the same event. Of rows that are the
//! same it does not matter which one goes, only how many.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::Result;
use mixflow_core::batch::PartitionId;
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::{PartitionInfo, TxnContext};
use mixflow_core::source::{DayRange, Extent};
use mixflow_core::unit::DatasetKey;

use crate::age::Age;
use crate::columns::{Relation, find};
use crate::dialect::Dialect;
use crate::ledger::{Kind, create, dates, day_literal, is_about, texts, times};
use crate::session::Session;
use crate::shared::and_is_of;

const TABLE: &str = "_mixflow_outside";

/// What stands between the parts of an identity; no name or id has it.
const SEPARATOR: &str = "\u{1f}";

/// Noted rows that memory may hold: some 4 MB.
const MOST_NOTED: usize = 10_000;

/// A row that lies outside.
struct Noted {
    day: Date,
    time: Timestamp,
    identity: String,
}

/// The rows of one transaction that lie outside, and those of before.
pub(crate) struct Outside {
    table: String,
    dataset: String,
    /// The dataset, where rows say whose they are.
    of: Option<DatasetKey>,
    run_id: String,
    zone: TimeZone,
    /// The column of times, and the texts that make an event what it is.
    time: usize,
    texts: Vec<(usize, String)>,
    days: BTreeMap<PartitionId, DayCounter>,
    /// Rows that are still to be written.
    noted: Vec<Noted>,
    /// Whether there are any from before.
    has_old: bool,
}

impl Outside {
    /// Returns what looks after the rows of a table; `None` if these have no
    /// time that could be outside, or nothing tells them apart.
    pub(crate) fn begin(
        session: &Session,
        table: &str,
        is_new: bool,
        of: Option<&DatasetKey>,
        cx: &TxnContext,
    ) -> Result<Option<Outside>> {
        let Some((time, texts)) = columns(cx) else {
            return Ok(None);
        };
        if session.dialect.row_id().is_none() {
            return Ok(None);
        }
        let has_old = !is_new && find(session, TABLE)? == Relation::Table && {
            let (all, whose) = (session.table(TABLE), is_about(session, table));
            let sql = format!("SELECT count(*) FROM {all} WHERE {whose}");
            session.count("look for rows outside their days", &sql)? > 0
        };
        let dataset = &cx.source.dataset;
        Ok(Some(Outside {
            table: table.to_owned(),
            dataset: dataset.key().as_str().to_owned(),
            of: of.cloned(),
            run_id: cx.run_id.clone(),
            zone: TimeZone::get(&dataset.zone).unwrap_or(TimeZone::UTC),
            time,
            texts,
            days: BTreeMap::new(),
            noted: Vec::new(),
            has_old,
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
    /// elsewhere; returns how many.
    pub(crate) fn delete(&self, session: &Session, range: &DayRange, age: &Age) -> Result<u64> {
        if !self.has_old {
            return Ok(0);
        }
        let what = format!("replace rows outside their days in `{}`", self.table);
        let own = format!(
            "{}{} AND day BETWEEN {} AND {}",
            self.whose(session),
            self.and_own(session),
            day_literal(session.dialect, range.first),
            day_literal(session.dialect, range.last),
        );
        let rows = self.rows_of(session, &own, age);
        let table = session.table(&self.table);
        let n = session.count(&what, &format!("SELECT count(*) FROM ({rows}) AS found"))?;
        let sql = format!(
            "DELETE FROM {table} AS t WHERE {} IN ({rows})",
            row_id(session, "t")
        );
        session.execute(&what, &sql)?;
        let sql = format!("DELETE FROM {} WHERE {own}", session.table(TABLE));
        session.execute(&what, &sql)?;
        Ok(n)
    }

    /// Returns a condition that is true of rows of before which were not
    /// fetched for another day than the one they lie in.
    pub(crate) fn at_home(
        &self,
        session: &Session,
        range: &DayRange,
        age: &Age,
    ) -> Result<Option<String>> {
        if !self.has_old {
            return Ok(None);
        }
        // Of rows that say whose they are those of others stay anyway.
        let own = match self.of {
            Some(_) => self.and_own(session),
            None => String::new(),
        };
        let others = format!(
            "{}{own} AND event_time >= {} AND event_time < {}",
            self.whose(session),
            session.dialect.instant(range.start_us)?,
            session.dialect.instant(range.end_us)?,
        );
        let rows = self.rows_of(session, &others, age);
        Ok(Some(format!("{} NOT IN ({rows})", row_id(session, "t"))))
    }

    /// Returns a condition that is true of what earlier runs have noted.
    fn whose(&self, session: &Session) -> String {
        let about = is_about(session, &self.table);
        format!("{about} AND run_id <> {}", session.literal(&self.run_id))
    }

    fn and_own(&self, session: &Session) -> String {
        format!(" AND dataset = {}", session.literal(&self.dataset))
    }

    /// Returns a query for the rows of before that stand in `_mixflow_outside`
    /// where `whose` is true: as many of each as are noted.
    fn rows_of(&self, session: &Session, whose: &str, age: &Age) -> String {
        let texts = self.texts.iter();
        let texts =
            texts.map(|(_, name)| format!("coalesce(r.{}, '')", session.dialect.quoted(name)));
        let identity = texts
            .collect::<Vec<_>>()
            .join(&format!(" || '{SEPARATOR}' || "));
        let (ids, found) = match session.dialect {
            Dialect::Postgres => ("r.tableoid AS part, r.ctid AS id", "part, id"),
            _ => ("r.rowid AS id", "id"),
        };
        format!(
            "SELECT {found} FROM (SELECT {ids}, o.copies, row_number() OVER (\
                PARTITION BY o.event_time, o.identity ORDER BY {}) AS n \
             FROM {} AS r JOIN (SELECT event_time, identity, count(*) AS copies \
                FROM {} WHERE {whose} GROUP BY event_time, identity) AS o \
             ON r.event_time = o.event_time AND {identity} = o.identity \
             WHERE {}{}) AS outside WHERE n <= copies",
            ids.replace(" AS part", "").replace(" AS id", ""),
            session.table(&self.table),
            session.table(TABLE),
            age.is_old("r"),
            and_is_of(session, self.of.as_ref(), "r"),
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
            let Ok(time) = Timestamp::from_microsecond(*us) else {
                continue;
            };
            self.noted.push(Noted {
                day: days.day(*us),
                time,
                identity: identity(&texts, row),
            });
        }
    }

    /// Returns whether so many rows are noted that memory would grow.
    pub(crate) fn is_full(&self) -> bool {
        self.noted.len() >= MOST_NOTED
    }

    /// Writes what is noted.
    pub(crate) fn write(&mut self, session: &Session) -> Result<()> {
        if self.noted.is_empty() {
            return Ok(());
        }
        create(
            session,
            TABLE,
            &[
                ("table_name", Kind::Text),
                ("dataset", Kind::Text),
                ("day", Kind::Day),
                ("event_time", Kind::Time),
                ("identity", Kind::Text),
                ("run_id", Kind::Text),
            ],
        )?;
        let noted = std::mem::take(&mut self.noted);
        let all = || noted.iter();
        let rows = RecordBatch::try_from_iter([
            (
                "table_name",
                texts(all().map(|_| Some(self.table.as_str()))),
            ),
            ("dataset", texts(all().map(|_| Some(self.dataset.as_str())))),
            ("day", dates(all().map(|row| Some(row.day)))),
            ("event_time", times(all().map(|row| row.time))),
            (
                "identity",
                texts(all().map(|row| Some(row.identity.as_str()))),
            ),
            ("run_id", texts(all().map(|_| Some(self.run_id.as_str())))),
        ])?;
        let what = format!("note rows outside their days in `{}`", self.table);
        session.insert(&what, TABLE, rows)
    }
}

/// Forgets the rows outside of a table that is made anew.
pub(crate) fn forget(session: &Session, table: &str, run_id: &str) -> Result<()> {
    if find(session, TABLE)? == Relation::None {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM {} WHERE {} AND run_id <> {}",
        session.table(TABLE),
        is_about(session, table),
        session.literal(run_id)
    );
    session
        .execute("forget rows outside their days", &sql)
        .map(drop)
}

/// Returns what tells a row of the table `t` from all others: in Postgres also
/// which part of a table it is in.
fn row_id(session: &Session, t: &str) -> String {
    match session.dialect {
        Dialect::Postgres => format!("({t}.tableoid, {t}.ctid)"),
        _ => format!("{t}.rowid"),
    }
}

/// Returns what makes an event what it is, as SQL computes it, too.
fn identity(texts: &[&StringArray], row: usize) -> String {
    let parts = texts.iter().map(|column| match column.is_valid(row) {
        true => column.value(row),
        false => "",
    });
    parts.collect::<Vec<_>>().join(SEPARATOR)
}

/// Returns the column of times, and the texts that make an event what it is.
fn columns(cx: &TxnContext) -> Option<(usize, Vec<(usize, String)>)> {
    let roles = cx.source.roles?;
    let schema = &cx.schema;
    let (time, field) = schema.column_with_name(roles.time)?;
    let is_time = matches!(
        field.data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, None)
    );
    let texts = roles.identity.iter().filter_map(|name| {
        let (at, field) = schema.column_with_name(name)?;
        let is_text = *field.data_type() == DataType::Utf8;
        is_text.then(|| (at, (*name).to_owned()))
    });
    let texts: Vec<_> = texts.collect();
    (is_time && !texts.is_empty() && cx.source.partitions_are_days).then_some((time, texts))
}
