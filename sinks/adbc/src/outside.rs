//! The rows of `_mixflow_outside`: those that lie outside the days that they were
//! fetched for, and which of them go with these days.

use arrow::array::RecordBatch;
use jiff::Timestamp;
use mixflow_core::Result;
use mixflow_core::batch::PartitionId;
use mixflow_core::ledger::{IDENTITY_SEPARATOR, OutsideRows};
use mixflow_core::sink::{PartitionInfo, TxnContext};
use mixflow_core::source::DayRange;
use mixflow_core::unit::DatasetKey;

use crate::age::Age;
use crate::columns::{Relation, find};
use crate::dialect::Dialect;
use crate::ledger::{Kind, create, dates, day_literal, is_about, texts, times};
use crate::session::Session;
use crate::shared::and_is_of;

const TABLE: &str = "_mixflow_outside";

/// The rows of one transaction that lie outside, and those of before.
pub(crate) struct Outside {
    table: String,
    dataset: String,
    /// The dataset, where rows say whose they are.
    of: Option<DatasetKey>,
    run_id: String,
    rows: OutsideRows,
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
        let Some(rows) = OutsideRows::of(cx) else {
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
            rows,
            has_old,
        }))
    }

    /// Notes the days of a partition whose rows will come.
    pub(crate) fn announce(&mut self, info: &PartitionInfo) {
        self.rows.announce(info);
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
        let texts = self.rows.identity();
        let texts = texts.map(|name| format!("coalesce(r.{}, '')", session.dialect.quoted(name)));
        let identity = texts
            .collect::<Vec<_>>()
            .join(&format!(" || '{IDENTITY_SEPARATOR}' || "));
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
        self.rows.note(partition, records);
    }

    /// Returns whether so many rows are noted that memory would grow.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    /// Writes what is noted.
    pub(crate) fn write(&mut self, session: &Session) -> Result<()> {
        let noted = self.rows.take().into_iter();
        // A time that is in no year could not have been written.
        let noted = noted.filter_map(|row| Some((Timestamp::from_microsecond(row.us).ok()?, row)));
        let noted: Vec<_> = noted.collect();
        if noted.is_empty() {
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
        let all = || noted.iter();
        let rows = RecordBatch::try_from_iter([
            (
                "table_name",
                texts(all().map(|_| Some(self.table.as_str()))),
            ),
            ("dataset", texts(all().map(|_| Some(self.dataset.as_str())))),
            ("day", dates(all().map(|(_, row)| Some(row.day)))),
            ("event_time", times(all().map(|(time, _)| *time))),
            (
                "identity",
                texts(all().map(|(_, row)| Some(row.identity.as_str()))),
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
