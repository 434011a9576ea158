//! One run at a time into each table, on whatever machines they are.
//!
//! Postgres has advisory locks, which go with the transaction, however it ends.
//! SQLite and DuckDB have one writer at a time by themselves. For the others a
//! row in `_mixflow_locks` names who writes; one that died there is found out.
//!
//! A run takes its turn before its first request, and the lock when it has rows: by
//! then an idle connection may have been cut, and the lock is in the transaction.

use arrow::array::RecordBatch;
use jiff::Timestamp;
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::TxnContext;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{Relation, find};
use crate::dialect::Dialect;
use crate::ledger::{Cells, Kind, create, is_about, texts};
use crate::session::{Access, Address, Session};

const TABLE: &str = "_mixflow_locks";

/// How long a row of another machine counts, of which nobody here can tell
/// whether its run is alive.
const BELIEVED: i64 = 24 * 3600;

/// Takes the lock of a table for a transaction that has begun.
///
/// Fails with [`ErrorKind::Locked`], busy, and names who has it.
pub(crate) fn take(session: &Session, table: &str, run_id: &str) -> Result<()> {
    match session.dialect {
        Dialect::Postgres => take_advisory(session, table, key(session, table)),
        // A write that is not committed takes the database's own lock now, and
        // not when rows are there.
        Dialect::Sqlite => {
            let sql = format!(
                "CREATE TABLE {} (run_id TEXT)",
                session.table("_mixflow_turn")
            );
            session.execute("lock the database", &sql)?;
            let sql = format!("DROP TABLE {}", session.table("_mixflow_turn"));
            session.execute("lock the database", &sql).map(drop)
        }
        Dialect::Duckdb => Ok(()),
        Dialect::Other => take_row(session, table, run_id),
    }
}

/// A run's turn with a table. It ends when this is dropped.
pub(crate) struct Turn {
    session: Session,
    table: String,
    run_id: String,
}

impl Turn {
    /// Takes a turn; `None` for a database that has its own lock.
    ///
    /// Fails with [`ErrorKind::Locked`], busy, and names who has it.
    pub(crate) fn take(address: &Address, table: &str, cx: &TxnContext) -> Result<Option<Turn>> {
        if address.dialect.is_file() {
            return Ok(None);
        }
        let access = Access::Run(&cx.run_id);
        let mut session = Session::open(address, None, access, &cx.cancel)?;
        if session.dialect == Dialect::Other {
            take_row(&session, table, &cx.run_id)?;
        } else {
            // A transaction that has written nothing, and holds no snapshot, is in
            // nobody's way. A lock of the session would stay with a pooler's connection.
            session.begin()?;
            let what = "take a turn with the table";
            let level = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
            session.execute(what, level)?;
            session.execute(what, "SET LOCAL idle_in_transaction_session_timeout = 0")?;
            take_advisory(&session, table, turn_key(&session, table))?;
        }
        Ok(Some(Turn {
            session,
            table: table.to_owned(),
            run_id: cx.run_id.clone(),
        }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The end of a connection is noticed a moment later, which another attempt
        // would take for another run.
        let _ = self.session.roll_back();
        release(&self.session, &self.table, &self.run_id);
    }
}

/// Takes an advisory lock to the end of the transaction.
fn take_advisory(session: &Session, table: &str, key: i64) -> Result<()> {
    let sql = format!("SELECT pg_try_advisory_xact_lock({key})::text");
    match session.one("lock the table", &sql)?.as_deref() {
        Some("true") => Ok(()),
        _ => Err(taken(session, table, &holder(session, &[key])?)),
    }
}

/// Checks that nobody has the lock of a table, or a turn. Changes nothing.
pub(crate) fn check_free(session: &Session, table: &str) -> Result<()> {
    match session.dialect {
        Dialect::Postgres => {
            let keys = [key(session, table), turn_key(session, table)];
            let who = holder(session, &keys)?;
            match who.is_empty() {
                true => Ok(()),
                false => Err(taken(session, table, &who)),
            }
        }
        Dialect::Other => match living(session, table)? {
            Some((_, who)) => Err(taken(session, table, &who)),
            None => Ok(()),
        },
        Dialect::Sqlite | Dialect::Duckdb => Ok(()),
    }
}

/// Waits until whoever had the lock has ended, and takes it. The transaction of
/// a connection that was lost may still be going on.
pub(crate) fn wait(session: &Session, table: &str) -> Result<()> {
    if session.dialect != Dialect::Postgres {
        return Ok(());
    }
    let key = key(session, table);
    let sql = format!("SELECT pg_advisory_xact_lock({key})::text");
    session
        .rows("wait for the transaction to end", &sql)
        .map(drop)
}

/// Holds back other runs that make the tables of the ledger at this moment,
/// which Postgres would otherwise refuse to one of them.
pub(crate) fn hold_ledger(session: &Session) -> Result<()> {
    if session.dialect != Dialect::Postgres {
        return Ok(());
    }
    let key = key(session, "_mixflow");
    let sql = format!("SELECT pg_advisory_xact_lock({key})::text");
    session.rows("wait for the ledger", &sql).map(drop)
}

/// Gives the lock up, where the end of the transaction does not.
pub(crate) fn release(session: &Session, table: &str, run_id: &str) {
    if session.dialect != Dialect::Other {
        return;
    }
    let sql = format!(
        "DELETE FROM {} WHERE {} AND run_id = {}",
        session.table(TABLE),
        is_about(session, table),
        session.literal(run_id)
    );
    if let Err(error) = session.execute("give up the lock of the table", &sql) {
        log::warn!("{}", error.in_a_line());
    }
}

/// Returns the key of a table's advisory lock.
fn key(session: &Session, table: &str) -> i64 {
    let name = format!("mixflow {}", session.table(table));
    xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as i64
}

/// Returns the key of the lock that is a run's turn with a table.
fn turn_key(session: &Session, table: &str) -> i64 {
    let name = format!("mixflow turn {}", session.table(table));
    xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as i64
}

/// Says who has one of these advisory locks; nothing if nobody has.
fn holder(session: &Session, keys: &[i64]) -> Result<String> {
    let halves = keys
        .iter()
        .map(|key| format!("({}, {})", (key >> 32) as u32, *key as u32));
    let halves = halves.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT format('%s (PID %s of the database%s)', \
            coalesce(nullif(a.application_name, ''), 'another run'), l.pid, \
            coalesce(', from ' || host(a.client_addr), '')) \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND (l.classid, l.objid) IN ({halves}) \
         AND l.objsubid = 1 AND l.pid <> pg_backend_pid() \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    Ok(session
        .one("see who writes to the table", &sql)?
        .unwrap_or_default())
}

fn taken(session: &Session, table: &str, who: &str) -> Error {
    let who = match who {
        "" => "another run",
        who => who,
    };
    Error::new(
        ErrorKind::Locked,
        format!("cannot write to the table `{table}` in `{}`", session.shown),
    )
    .because(format!("{who} is writing to it"))
    .busy()
    .with_remedy(Remedy::Wait)
}

/// Takes the lock that is a row. Each statement is a transaction of its own.
fn take_row(session: &Session, table: &str, run_id: &str) -> Result<()> {
    create(
        session,
        TABLE,
        &["table_name", "run_id", "host", "pid", "since"].map(|name| (name, Kind::Text)),
    )?;
    if let Some((holder, who)) = living(session, table)? {
        if holder == run_id {
            return Ok(());
        }
        return Err(taken(session, table, &who));
    }
    // Those that are left are of runs that died.
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        session.table(TABLE),
        is_about(session, table)
    );
    session.execute("take over the lock of a run that died", &sql)?;
    let pid = std::process::id().to_string();
    let since = mixflow_core::clock::now().to_string();
    let values = [
        ("table_name", table),
        ("run_id", run_id),
        ("host", &host()),
        ("pid", &pid),
        ("since", &since),
    ];
    let row = RecordBatch::try_from_iter(values.map(|(name, value)| (name, texts([Some(value)]))))?;
    session.insert("lock the table", TABLE, row)?;
    // Two may have come at the same moment: the one of the smaller id stays.
    let sql = format!(
        "SELECT min(run_id) FROM {} WHERE {}",
        session.table(TABLE),
        is_about(session, table)
    );
    let first = session.one("lock the table", &sql)?.unwrap_or_default();
    if first == run_id {
        return Ok(());
    }
    release(session, table, run_id);
    Err(taken(session, table, &format!("the run {first}")))
}

/// Returns which run has the row of a table, if it is not known to be dead, and says
/// who that is.
fn living(session: &Session, table: &str) -> Result<Option<(String, String)>> {
    if find(session, TABLE)? == Relation::None {
        return Ok(None);
    }
    let sql = format!(
        "SELECT run_id, host, pid, since FROM {} WHERE {}",
        session.table(TABLE),
        is_about(session, table)
    );
    for row in session.rows("see who writes to the table", &sql)? {
        let mut cells = Cells(row.into_iter());
        let (run_id, host_of, pid) = (cells.text(), cells.text(), cells.text());
        let since = cells.time().unwrap_or_default();
        if is_alive(&host_of, &pid, since) {
            let who = format!("the run {run_id} (PID {pid} on {host_of}, since {since})");
            return Ok(Some((run_id, who)));
        }
    }
    Ok(None)
}

fn is_alive(host_of: &str, pid: &str, since: Timestamp) -> bool {
    if host_of != host() {
        let age = mixflow_core::clock::now().as_second() - since.as_second();
        return age < BELIEVED;
    }
    lives(pid)
}

#[cfg(unix)]
fn lives(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        let tried = rustix::process::test_kill_process(pid);
        // One that is somebody else's is there as well.
        tried.is_ok() || tried == Err(rustix::io::Errno::PERM)
    })
}

#[cfg(not(unix))]
fn lives(_pid: &str) -> bool {
    true
}

#[cfg(unix)]
fn host() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
