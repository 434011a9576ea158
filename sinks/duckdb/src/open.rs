//! Opens database files, and says in plain words why that did not work.

use std::path::{Path, PathBuf};

use duckdb::{AccessMode, Config, Connection, params};
use mixflow_core::remedy::Remedy;
use mixflow_core::{Error, ErrorKind, Result};

use crate::memory::{READ_MB, ROW_GROUP, STORE_MB, THEIR_ROW_GROUP, run_mb};
use crate::sql::{literal, quoted};
use crate::storage::{self, StorageVersion};

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading; the file must be there.
    Read,
    /// For reading by queries that may come from anybody.
    Query,
    /// For reading and writing; the file is made if it is not there.
    Store,
    /// For a run, which only writes.
    Run,
}

impl Access {
    pub(crate) fn writes(self) -> bool {
        matches!(self, Access::Store | Access::Run)
    }

    /// Whether a database that is open so serves one who asks for `other`.
    pub(crate) fn allows(self, other: Access) -> bool {
        self == other || (self.writes() && other != Access::Query)
    }

    /// What DuckDB may use, in MB.
    pub(crate) fn memory_mb(self) -> u64 {
        match self {
            Access::Read | Access::Query => READ_MB,
            Access::Store => STORE_MB,
            Access::Run => run_mb(),
        }
    }
}

/// A database file that is open.
pub(crate) struct Opened {
    connection: Connection,
    /// What it is called, where DuckDB has a database beside it.
    name: Option<String>,
}

impl Opened {
    /// Returns a connection to it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let what = "open a connection";
        let connection = self.connection.try_clone().map_err(failed(what))?;
        if let Some(name) = &self.name {
            // With the schema: one word might be a schema of the other database.
            let used = connection.execute_batch(&format!("USE {}.main", quoted(name)));
            used.map_err(failed(what))?;
        }
        Ok(connection)
    }

    /// Returns the rows of a row group that is written to it.
    pub(crate) fn row_group(&self) -> u64 {
        match self.name {
            Some(_) => ROW_GROUP,
            None => THEIR_ROW_GROUP,
        }
    }
}

/// Opens the database at `path`, which nobody in this process may have open.
///
/// Extensions are neither loaded nor installed by themselves: a query must not
/// reach out to the network.
///
/// Fails with [`ErrorKind::Locked`] when another process holds the file
/// (naming it), when the file is no database, or when its folder is missing.
pub(crate) fn open(path: &Path, access: Access) -> Result<Opened> {
    open_file(path, config(access, &StorageVersion::default()))
}

fn open_file(path: &Path, config: duckdb::Result<Config>) -> Result<Opened> {
    let config = config.map_err(failed("configure DuckDB"))?;
    let connection =
        Connection::open_with_flags(path, config).map_err(|error| unopened(path, &error))?;
    set_zone(&connection)?;
    Ok(Opened {
        connection,
        name: None,
    })
}

/// Makes a database at `path` for a run, of the storage version, with row groups of
/// [`ROW_GROUP`] rows.
///
/// Their size can be said only of a file that is attached to another database. Where
/// the name of the file does not allow that, they are DuckDB's own.
pub(crate) fn create(path: &Path, version: &StorageVersion) -> Result<Opened> {
    let config = config(Access::Run, version);
    let Some((file, name)) = attachable(path) else {
        return open_file(path, config);
    };
    let connection = config
        .and_then(|config| config.with("temp_directory", format!("{file}.tmp")))
        .and_then(Connection::open_in_memory_with_flags)
        .map_err(failed("configure DuckDB"))?;
    let attach = format!(
        "ATTACH {} AS {} (ROW_GROUP_SIZE {ROW_GROUP}, STORAGE_VERSION {})",
        literal(file),
        quoted(name),
        literal(version.as_str())
    );
    let attached = connection.execute_batch(&attach);
    attached.map_err(|error| unopened(path, &error))?;
    set_zone(&connection)?;
    Ok(Opened {
        connection,
        name: Some(name.to_owned()),
    })
}

/// Returns a path as SQL has it, and what DuckDB calls the database when it opens the
/// file, for what is kept in it by full name; `None` where there is no such text, or
/// such a database already.
fn attachable(path: &Path) -> Option<(&str, &str)> {
    let file = path.to_str()?;
    let name = path.file_name()?.to_str()?.split('.').next()?;
    let is_taken = THEIRS
        .iter()
        .any(|theirs| name.eq_ignore_ascii_case(theirs));
    // Behind `?` DuckDB looks for options.
    let is_plain = !name.is_empty() && !file.contains('?');
    (is_plain && !is_taken).then_some((file, name))
}

/// Names that DuckDB keeps for itself, or for the database that it begins with.
const THEIRS: [&str; 4] = ["main", "memory", "system", "temp"];

fn config(access: Access, version: &StorageVersion) -> duckdb::Result<Config> {
    let memory = access.memory_mb();
    let config = quiet()?.max_memory(&format!("{memory}MB"))?;
    // `automatic` is what makes the file if it is not there.
    let config = if access.writes() {
        config.with(storage::SETTING, version.as_str())?
    } else {
        config.access_mode(AccessMode::ReadOnly)?
    };
    if access == Access::Run {
        // An `INSERT` that keeps the order is the work of one thread.
        config.with("preserve_insertion_order", "false")
    } else {
        Ok(config)
    }
}

/// Opens a database that holds nothing and reaches nothing.
pub(crate) fn connect_to_nothing() -> Result<Connection> {
    quiet()
        .and_then(|config| config.enable_external_access(false))
        .and_then(Connection::open_in_memory_with_flags)
        .map_err(failed("open DuckDB"))
}

fn quiet() -> duckdb::Result<Config> {
    Config::default()
        .enable_autoload_extension(false)
        .and_then(|config| config.with("autoinstall_known_extensions", "false"))
        .and_then(|config| config.with("custom_user_agent", "mixflow"))
}

/// Makes times with a zone come in UTC, for every connection.
///
/// With ICU, DuckDB takes the machine's zone; without, it has no such setting
/// and every zone is UTC.
fn set_zone(connection: &Connection) -> Result<()> {
    let what = "set the time zone";
    let settable: bool = connection
        .query_row(
            "SELECT count(*) > 0 FROM duckdb_settings() WHERE name = 'TimeZone'",
            [],
            |row| row.get(0),
        )
        .map_err(failed(what))?;
    if settable {
        connection
            .execute_batch("SET GLOBAL TimeZone = 'UTC'")
            .map_err(failed(what))?;
    }
    Ok(())
}

/// Checks that no write-ahead log lies where a database is to be made.
///
/// DuckDB would play a log of another database back into the new one: at best
/// the file cannot be opened any more.
pub(crate) fn check_new(path: &Path) -> Result<()> {
    let log = log_of(path);
    // An empty one holds nothing; a full disk leaves such.
    let is_empty = std::fs::metadata(&log).map_or(true, |log| log.len() == 0);
    if is_empty || path.exists() {
        return Ok(());
    }
    let log = log.display();
    Err(Error::new(
        ErrorKind::Destination,
        format!("cannot create `{}`", path.display()),
    )
    .because(format!(
        "`{log}` is there, the log of a database that is gone"
    ))
    .hint(format!("move `{log}` away, or put its database back")))
}

/// Returns the write-ahead log of a database: what is committed and not in the
/// file yet.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push(".wal");
    PathBuf::from(log)
}

/// Limits what DuckDB may use, such as `2GB`.
pub(crate) fn limit_memory(connection: &Connection, limit: &str) -> Result<()> {
    connection
        .execute("SET memory_limit = ?", params![limit])
        .map(|_| ())
        .map_err(failed(&format!("limit the memory to `{limit}`")))
}

/// Returns a function that wraps DuckDB's error; its own text is the cause.
pub(crate) fn failed(what: &str) -> impl FnOnce(duckdb::Error) -> Error {
    wrapped(what, ErrorKind::Other)
}

/// Returns a function that wraps DuckDB's error of a commit: whatever it says,
/// what was fetched is of use to the next run.
pub(crate) fn uncommitted(what: &str) -> impl FnOnce(duckdb::Error) -> Error {
    wrapped(what, ErrorKind::Io)
}

fn wrapped(what: &str, kind: ErrorKind) -> impl FnOnce(duckdb::Error) -> Error {
    let message = format!("cannot {what}");
    move |error| {
        let text = text(&error);
        if disk_is_full(&text) {
            return Error::new(ErrorKind::Io, message)
                .because(text)
                .hint("free some disk space; what was there before is unchanged");
        }
        Error::new(kind, message).because(text)
    }
}

fn unopened(path: &Path, error: &duckdb::Error) -> Error {
    let text = text(error);
    let message = format!("cannot open `{}`", path.display());
    let destination = || Error::new(ErrorKind::Destination, message.clone());
    if text.contains("Could not set lock") {
        let holder = holder(&text).unwrap_or_else(|| "another process".to_owned());
        return Error::new(ErrorKind::Locked, message)
            .because(format!("{holder} has it open"))
            .hint("wait until it is done, or close it there")
            .busy();
    }
    if text.contains("not a valid DuckDB database") {
        return destination()
            .because("the file is not a DuckDB database")
            .hint("choose another path, or move the file away");
    }
    if path.is_dir() {
        return destination().because("it is a folder").hint(format!(
            "name a file in it, such as {}/mixpanel.db",
            path.display()
        ));
    }
    let kind = if disk_is_full(&text) || text.contains("Permission denied") {
        ErrorKind::Io
    } else {
        ErrorKind::Destination
    };
    Error::new(kind, message).because(text)
}

/// Returns who holds a lock: `/usr/bin/python3 (PID 1234)`.
fn holder(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("held in ")?;
    let end = rest.find(')')?;
    Some(rest[..=end].to_owned())
}

fn disk_is_full(text: &str) -> bool {
    ["No space left", "Disk quota exceeded", "File too large"]
        .iter()
        .any(|full| text.contains(full))
}

/// Returns DuckDB's own words.
pub(crate) fn full_text(error: &duckdb::Error) -> String {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    text.trim().to_owned()
}

/// Returns the first line of DuckDB's own words.
fn text(error: &duckdb::Error) -> String {
    let text = full_text(error);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Whether a function is wanted for a time with a zone; below are those there are.
fn is_of_zones(line: &str) -> bool {
    line.contains("WITH TIME ZONE") && line.contains("No function matches")
}

/// Wraps DuckDB's text, all of its lines: they show where in the query.
pub(crate) fn unanswered(error: duckdb::Error) -> Error {
    let text = full_text(&error);
    if text.starts_with("INTERRUPT") {
        return Error::new(ErrorKind::Interrupted, "the query was interrupted");
    }
    let wrapped = Error::new(ErrorKind::Query, "cannot answer the query");
    if text.contains("Out of Memory") {
        return wrapped.because(text).with_remedy(Remedy::MoreMemory);
    }
    let hint = if text.contains("disabled by configuration") {
        "query what is in the database; DuckDB's own client reads other files"
    } else if text.contains("'timezone(") {
        "shift the time by hand, such as `event_time - INTERVAL 8 HOUR`: this DuckDB is built without time zones"
    } else if text.lines().next().is_some_and(is_of_zones) {
        "cast the time first, such as `now()::TIMESTAMP`, which is in UTC"
    } else {
        return wrapped.because(text);
    };
    wrapped.because(text).hint(hint)
}
