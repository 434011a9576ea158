//! Opens database files, and says in plain words why that did not work.

use std::path::Path;

use duckdb::{AccessMode, Config, Connection, params};
use mixflow_core::{Error, ErrorKind, Result};

use crate::memory::{READ_MB, RUN_MB, STORE_MB};

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading; the file must be there.
    Read,
    /// For reading and writing; the file is made if it is not there.
    Store,
    /// For a run, which only writes.
    Run,
}

/// Opens the database at `path`.
///
/// Extensions are neither loaded nor installed by themselves: a query must not
/// reach out to the network.
///
/// Fails with [`ErrorKind::Destination`] when another process holds the file
/// (naming it), when the file is no database, or when its folder is missing.
pub(crate) fn open(path: &Path, access: Access) -> Result<Connection> {
    let memory = match access {
        Access::Read => READ_MB,
        Access::Store => STORE_MB,
        Access::Run => RUN_MB,
    };
    let config = Config::default()
        .enable_autoload_extension(false)
        .and_then(|config| config.with("autoinstall_known_extensions", "false"))
        .and_then(|config| config.with("custom_user_agent", "mixflow"))
        .and_then(|config| config.max_memory(&format!("{memory}MB")))
        // `automatic` is what makes the file if it is not there.
        .and_then(|config| match access {
            Access::Read => config.access_mode(AccessMode::ReadOnly),
            Access::Store | Access::Run => Ok(config),
        })
        .map_err(failed("configure DuckDB"))?;
    Connection::open_with_flags(path, config).map_err(|error| unopened(path, &error))
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
    let message = format!("cannot {what}");
    move |error| {
        let text = text(&error);
        let kind = match disk_is_full(&text) {
            true => ErrorKind::Io,
            false => ErrorKind::Other,
        };
        let wrapped = Error::new(kind, message).because(text);
        match kind {
            ErrorKind::Io => {
                wrapped.hint("free some disk space; what was there before is unchanged")
            }
            _ => wrapped,
        }
    }
}

fn unopened(path: &Path, error: &duckdb::Error) -> Error {
    let text = text(error);
    let message = format!("cannot open `{}`", path.display());
    let destination = || Error::new(ErrorKind::Destination, message.clone());
    if text.contains("Could not set lock") {
        let holder = holder(&text).unwrap_or_else(|| "another process".to_owned());
        return destination()
            .because(format!("{holder} has it open"))
            .hint("wait until it is done, or close it there");
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
    let kind = match disk_is_full(&text) || text.contains("Permission denied") {
        true => ErrorKind::Io,
        false => ErrorKind::Destination,
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
    text.contains("No space left") || text.contains("Disk quota exceeded")
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
