//! Whether a commit is what it says: DuckDB hides what fails while it closes.
//!
//! The last connection that goes writes what is in the log into the file. A
//! disk that fills meanwhile is told nobody: the rows stay in the log, which
//! lies beside the file.

use std::path::Path;

use duckdb::Connection;
use mixflow_core::sink::TxnContext;
use mixflow_core::{Error, ErrorKind, Result};

use crate::database::Database;
use crate::metadata;
use crate::open::{Access, failed, log_of};
use crate::sql::quoted;

/// Checks that a file which was closed has all of a table in it.
pub(crate) fn check_whole(file: &Path, table: &str, rows: u64) -> Result<()> {
    check_no_log(file)?;
    let database = Database::open(file, Access::Read)?;
    let count = format!("SELECT count(*) FROM {}", quoted(table));
    let has: u64 = database
        .query_row(&count, [], |row| row.get(0))
        .map_err(failed(&format!("find the table `{table}` again")))?;
    if has == rows {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("the table `{table}` has {has} rows after {rows} were written"),
    ))
}

/// Checks that a file which was closed stands for itself.
fn check_no_log(file: &Path) -> Result<()> {
    let log = log_of(file);
    let left = std::fs::metadata(&log).map_or(0, |log| log.len());
    if left == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("{left} bytes are in its log and did not get into the file"),
    ))
}

/// What became of a transaction whose end went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    RolledBack,
}

/// Looks into the database for what a run has left there.
pub(crate) fn fate(connection: &Connection, table: &str, cx: &TxnContext) -> Result<Fate> {
    let known = metadata::read(connection, table)?;
    let ours = known.is_some_and(|known| {
        known.run_id == cx.run_id
            && known.fetched_at.as_microsecond() == cx.started_at.as_microsecond()
    });
    Ok(if ours {
        Fate::Committed
    } else {
        Fate::RolledBack
    })
}

/// A file that was there before, after a commit to it and after it was closed.
pub(crate) struct Closed<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: &'a str,
    pub(crate) cx: &'a TxnContext,
}

impl Closed<'_> {
    /// Finds out whether the commit happened, `trouble` being what DuckDB said
    /// of it or of what came after; returns what a person should know.
    ///
    /// Fails if it did not, or (in doubt) if nobody can tell.
    pub(crate) fn settle(&self, trouble: Option<Error>) -> Result<Vec<String>> {
        let trouble = match (trouble, check_no_log(self.path)) {
            (None, Ok(())) => return Ok(Vec::new()),
            (Some(trouble), _) | (None, Err(trouble)) => trouble,
        };
        let fate = Database::open(self.path, Access::Read)
            .and_then(|database| fate(&database, self.table, self.cx));
        judged(self.path, trouble, fate)
    }
}

/// Turns what DuckDB said of a commit, and what is there, into what a run says.
pub(crate) fn judged(path: &Path, trouble: Error, fate: Result<Fate>) -> Result<Vec<String>> {
    match fate {
        Ok(Fate::Committed) => Ok(vec![format!(
            "the rows are committed, but they are in `{}`, which belongs to the database: {}",
            log_of(path).display(),
            trouble.in_a_line()
        )]),
        Ok(Fate::RolledBack) => Err(trouble),
        Err(error) => {
            log::warn!("cannot look for the rows: {}", error.in_a_line());
            Err(trouble.in_doubt())
        }
    }
}
