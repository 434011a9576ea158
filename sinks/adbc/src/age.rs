//! Which rows of a table are new.

use mixflow_core::Result;

use crate::dialect::Dialect;
use crate::session::Session;

/// What tells rows of before from those of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// All are of before: the run's are elsewhere.
    AllOld,
    /// All are the run's own: the table is new.
    AllNew,
    /// Postgres' number of the transaction that made a row.
    Transaction(String),
    /// The last row of before.
    RowId(i64),
}

impl Age {
    /// Looks at a table that is there, before any row is written to it.
    /// The caller's transaction has begun.
    pub(crate) fn look(session: &Session, table: &str) -> Result<Age> {
        let what = format!("look at the rows of `{table}`");
        Ok(match session.dialect {
            Dialect::Postgres => {
                let sql = "SELECT (txid_current() % 4294967296)::text";
                Age::Transaction(session.one(&what, sql)?.unwrap_or_default())
            }
            Dialect::Sqlite | Dialect::Duckdb => {
                let sql = format!("SELECT max(rowid) FROM {}", session.table(table));
                let last = session.one(&what, &sql)?;
                // SQLite counts from 1, DuckDB from 0.
                let none = if session.dialect == Dialect::Sqlite {
                    0
                } else {
                    -1
                };
                Age::RowId(last.and_then(|last| last.parse().ok()).unwrap_or(none))
            }
            Dialect::Other => Age::AllOld,
        })
    }

    /// Returns a condition that is true of rows of before; `t` is the table's
    /// name in the query.
    pub(crate) fn is_old(&self, t: &str) -> String {
        match self {
            Age::AllOld => "1 = 1".to_owned(),
            Age::AllNew => "1 = 0".to_owned(),
            Age::Transaction(id) => format!("{t}.xmin <> '{id}'::xid"),
            Age::RowId(last) => format!("{t}.rowid <= {last}"),
        }
    }

    /// Returns a condition that is true of rows of the run.
    pub(crate) fn is_new(&self, t: &str) -> String {
        match self {
            Age::AllOld => "1 = 0".to_owned(),
            Age::AllNew => "1 = 1".to_owned(),
            Age::Transaction(id) => format!("{t}.xmin = '{id}'::xid"),
            Age::RowId(last) => format!("{t}.rowid > {last}"),
        }
    }
}
