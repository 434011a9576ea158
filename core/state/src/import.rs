//! The history as it was kept before: a report a line, in `runs.jsonl`.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use mixflow_core::report::RunReport;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::failure::Failure;
use crate::gaps::{NEXT, add_gap};

pub(crate) const FILE: &str = "runs.jsonl";

/// Takes the old history in, once, and returns a warning about lines that
/// cannot be read.
///
/// The file stays as it is: whoever goes back to an older version finds it,
/// and so does a database that has to be made anew.
pub(crate) fn take_in(conn: &mut Connection, db: &Path) -> Result<Option<String>, Failure> {
    let path = db.with_file_name(FILE);
    if is_taken_in(conn)? {
        return Ok(None);
    }
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = path.display();
            return Ok(Some(format!("cannot take in `{path}`: {error}")));
        }
    };
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let unread = take_in_lines(&txn, &text)?;
    let warning = (unread > 0).then(|| {
        format!(
            "{unread} lines of `{}` cannot be read and are not in the history",
            path.display()
        )
    });
    if let Some(warning) = &warning {
        add_gap(&txn, warning)?;
    }
    txn.execute(
        "INSERT INTO taken_in (file, at) VALUES (?1, ?2)",
        params![FILE, Timestamp::now().to_string()],
    )?;
    txn.commit()?;
    Ok(warning)
}

fn is_taken_in(conn: &Connection) -> Result<bool, Failure> {
    let found = conn
        .query_row("SELECT 1 FROM taken_in WHERE file = ?1", [FILE], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// Enters each line, and returns how many cannot be read.
fn take_in_lines(txn: &Transaction<'_>, text: &[u8]) -> Result<u64, Failure> {
    let mut statement = txn.prepare(&format!(
        "INSERT OR IGNORE INTO runs (run_id, position, destination, begun_at, ended_at, report)
         VALUES (?1, {NEXT}, ?2, ?3, ?4, ?5)"
    ))?;
    let mut unread = 0;
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let (Some(report), Ok(json)) = (report(line), std::str::from_utf8(line)) else {
            unread += 1;
            continue;
        };
        statement.execute(params![
            report.run_id,
            report.destination.to_string(),
            report.started_at.to_string(),
            report.completed_at.to_string(),
            json
        ])?;
    }
    Ok(unread)
}

/// Reads a line; a report without an id is of no run.
fn report(line: &[u8]) -> Option<RunReport> {
    let report = serde_json::from_slice::<RunReport>(line).ok()?;
    (!report.run_id.is_empty()).then_some(report)
}
