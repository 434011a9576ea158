//! What the history may lack.
//!
//! A run that could not be written takes the file `history.whole` away; whoever
//! opens the database next notes a gap, which has a place among the runs.

use std::fs::OpenOptions;
use std::path::Path;

use mixflow_core::private;
use rusqlite::{Connection, params};

use crate::failure::Failure;

/// The file that is there as long as nothing is missing.
pub(crate) const WHOLE: &str = "history.whole";

/// The next place in the history.
pub(crate) const NEXT: &str = "(SELECT 1 + max(
    coalesce((SELECT max(position) FROM runs), 0),
    coalesce((SELECT max(position) FROM gaps), 0)))";

/// Says what may be missing after a place in the history.
pub(crate) fn missing_after(conn: &Connection, position: i64) -> Result<Option<String>, Failure> {
    let mut statement = conn.prepare(
        "SELECT noticed_at, reason FROM gaps WHERE position > ?1 ORDER BY position DESC LIMIT 1",
    )?;
    let mut rows = statement.query([position])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (noticed, reason): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(Some(format!("{reason} (noticed at {noticed})")))
}

/// Notes in a database that was just opened that runs before could not be
/// written to it.
pub(crate) fn note_what_is_missing(
    conn: &mut Connection,
    path: &Path,
    is_new: bool,
) -> Result<(), Failure> {
    let whole = path.with_file_name(WHOLE);
    if whole.exists() {
        return Ok(());
    }
    if !is_new {
        add_gap(conn, "a run could not be written to the history")?;
    }
    // Without it the history is taken to lack something once more, which harms
    // nobody.
    let mut options = OpenOptions::new();
    let made = private::file(options.write(true).create(true)).open(&whole);
    if let Err(error) = made {
        log::info!("cannot make `{}`: {error}", whole.display());
    }
    Ok(())
}

/// Notes that runs may be missing from here on.
pub(crate) fn add_gap(conn: &Connection, reason: &str) -> Result<(), Failure> {
    conn.execute(
        &format!("INSERT INTO gaps (position, noticed_at, reason) VALUES ({NEXT}, ?1, ?2)"),
        params![mixflow_core::clock::now().to_string(), reason],
    )?;
    Ok(())
}
