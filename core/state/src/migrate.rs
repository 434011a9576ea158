//! The versions of the database, each made out of the one before.

use rusqlite::{Connection, TransactionBehavior};

use crate::failure::Failure;

/// Says that a database is ours: `mixf`.
const APPLICATION: i64 = 0x6d69_7866;

/// What makes each version, from 1 on, out of the one before.
///
/// A step that was ever released is not changed: there are databases that
/// have taken it.
const STEPS: &[&str] = &[
    // `position` is the order in which runs ended; a run that has not ended
    // has the place of its begin. A gap is a place where runs are missing.
    "CREATE TABLE runs (
        run_id TEXT NOT NULL PRIMARY KEY,
        position INTEGER NOT NULL,
        pipeline_path BLOB,
        destination TEXT NOT NULL,
        begun_at TEXT NOT NULL,
        ended_at TEXT,
        report TEXT
    ) STRICT;
    CREATE INDEX runs_by_position ON runs (position);
    CREATE INDEX runs_by_pipeline ON runs (pipeline_path, destination, position);
    CREATE TABLE gaps (
        position INTEGER NOT NULL,
        noticed_at TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE TABLE taken_in (
        file TEXT NOT NULL PRIMARY KEY,
        at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE quota (
        endpoint TEXT NOT NULL PRIMARY KEY,
        book TEXT NOT NULL
    ) STRICT;
    CREATE TABLE checkpoints (
        file TEXT NOT NULL PRIMARY KEY,
        request TEXT NOT NULL,
        encoding TEXT NOT NULL,
        length INTEGER NOT NULL,
        hash BLOB NOT NULL,
        written_at_ms INTEGER NOT NULL,
        pid INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX checkpoints_by_request ON checkpoints (request);",
    // What destinations hold whose sinks keep no ledger. Times and days are
    // texts as RFC 3339 has them.
    "CREATE TABLE ledgers (
        ledger INTEGER PRIMARY KEY,
        destination TEXT NOT NULL,
        dataset TEXT NOT NULL,
        UNIQUE (destination, dataset)
    ) STRICT;
    CREATE TABLE ledger_days (
        ledger INTEGER NOT NULL,
        day TEXT NOT NULL,
        state TEXT NOT NULL,
        rows INTEGER,
        duplicates INTEGER NOT NULL,
        bytes INTEGER,
        fetched_at TEXT NOT NULL,
        run_id TEXT NOT NULL,
        unit_key TEXT NOT NULL,
        PRIMARY KEY (ledger, day)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_units (
        ledger INTEGER NOT NULL,
        unit_key TEXT NOT NULL,
        run_id TEXT NOT NULL,
        label TEXT NOT NULL,
        first_day TEXT NOT NULL,
        last_day TEXT NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER NOT NULL,
        fetched_at TEXT NOT NULL,
        rows INTEGER NOT NULL,
        duplicates INTEGER NOT NULL,
        rejected INTEGER NOT NULL,
        bytes INTEGER,
        sha256 TEXT,
        latest_version INTEGER,
        outside INTEGER NOT NULL,
        PRIMARY KEY (ledger, unit_key, run_id)
    ) STRICT, WITHOUT ROWID;",
    // Commits of which nobody knows whether they were made. `sink` is the place of
    // the sink among those of the run.
    "CREATE TABLE doubts (
        destination TEXT NOT NULL,
        run_id TEXT NOT NULL,
        sink INTEGER NOT NULL,
        PRIMARY KEY (destination, run_id, sink)
    ) STRICT, WITHOUT ROWID;",
];

/// What a file is to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Nothing is in it yet.
    New,
    /// It can be brought up to date, or is.
    Known(usize),
    /// A later program has made it.
    Newer,
    /// Another program has made it.
    Foreign,
}

/// Looks what a database is, and changes nothing.
pub(crate) fn version(conn: &Connection) -> Result<Version, Failure> {
    let number = |pragma: &str| -> Result<i64, Failure> {
        Ok(conn.pragma_query_value(None, pragma, |row| row.get(0))?)
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match usize::try_from(version) {
        _ if application == 0 && version == 0 && tables == 0 => Version::New,
        _ if application != APPLICATION => Version::Foreign,
        Ok(version) if version <= STEPS.len() => Version::Known(version),
        _ => Version::Newer,
    })
}

/// Takes the steps that are missing, all of them or none.
///
/// The caller has the [turn](crate::turn::Turn), so nobody else takes them.
pub(crate) fn migrate(conn: &mut Connection, from: Version) -> Result<(), Failure> {
    let done = match from {
        Version::Known(version) => version,
        _ => 0,
    };
    if done == STEPS.len() {
        return Ok(());
    }
    let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &STEPS[done..] {
        txn.execute_batch(step)?;
    }
    txn.pragma_update(None, "application_id", APPLICATION)?;
    txn.pragma_update(None, "user_version", STEPS.len() as i64)?;
    txn.commit()?;
    Ok(())
}
