//! A connection to a database, and what is asked of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use adbc_core::error::Result as AdbcResult;
use adbc_core::options::{
    IngestMode, OptionConnection, OptionDatabase, OptionStatement, OptionValue,
};
use adbc_core::{Connection as _, Database as _, Driver as _, Optionable as _, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDatabase, ManagedStatement};
use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use crossbeam::channel::{RecvTimeoutError, bounded};
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, SecretSource};
use mixflow_core::{Error, ErrorKind, Result};

use crate::dialect::Dialect;
use crate::driver;
use crate::failure::Secrets;
use crate::place::{Shown, name_of};

/// How long a driver may take to connect that knows no limit itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to reach a database.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) driver: String,
    pub(crate) dialect: Dialect,
    pub(crate) uri: Option<SecretSource>,
    /// Options of the driver's own.
    pub(crate) options: BTreeMap<String, SecretSource>,
    /// The schema that tables are in; `None` is the one that is the user's.
    pub(crate) schema: Option<String>,
    /// What secrets come from.
    pub(crate) env: Env,
    /// Where it is, as far as everybody may know.
    pub(crate) shown: Shown,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// Reading; nothing can be written.
    Read,
    /// A run of this id.
    Run(&'a str),
}

/// A connection. Dropping it rolls back what is not committed.
pub(crate) struct Session {
    connection: ManagedConnection,
    // Outlives the connection: fields are dropped in this order.
    _database: ManagedDatabase,
    pub(crate) dialect: Dialect,
    /// The schema that tables are in, if the database has any.
    pub(crate) schema: Option<String>,
    /// Where it is, for messages.
    pub(crate) shown: String,
    pub(crate) secrets: Secrets,
}

/// A row of an answer, as text.
pub(crate) type Row = Vec<Option<String>>;

impl Session {
    /// Connects. With `file` it is that file instead of the address's own.
    ///
    /// Blocks until the database answers, or its driver gives up.
    pub(crate) fn open(
        address: &Address,
        file: Option<&Path>,
        access: Access<'_>,
        cancel: &CancelToken,
    ) -> Result<Session> {
        let mut driver = driver::load(&address.driver)?;
        let shown = address.shown.uri.clone();
        let (options, secrets) = address.driver_options(file, access, cancel)?;
        let what = match address.dialect {
            Dialect::Other => {
                let driver = name_of(&address.driver);
                format!("connect to `{shown}` with the driver `{driver}`")
            }
            _ => format!("connect to `{shown}`"),
        };
        let connect = move || {
            let database = driver.new_database_with_opts(options)?;
            let connection = database.new_connection()?;
            Ok((database, connection))
        };
        let connected = match address.dialect {
            Dialect::Other => within(PATIENCE, cancel, move || {
                let (database, connection) = connect()?;
                // Some look at the credentials only when they are asked something.
                ask_anything(&connection)?;
                Ok((database, connection))
            })
            .map_err(|error| error.context(format!("cannot {what}")))?,
            _ => connect(),
        };
        let (database, connection) = connected.map_err(secrets.unreachable(&what))?;
        let mut session = Session {
            connection,
            _database: database,
            dialect: address.dialect,
            schema: address.schema.clone(),
            shown,
            secrets,
        };
        session.prepare(access)?;
        Ok(session)
    }

    /// Says how the connection is to behave.
    fn prepare(&mut self, access: Access<'_>) -> Result<()> {
        let what = format!("begin to use `{}`", self.shown);
        match self.dialect {
            Dialect::Postgres => self.prepare_postgres(access, &what)?,
            Dialect::Sqlite => {
                // Another program may have it for a moment.
                self.execute(&what, "PRAGMA busy_timeout = 5000")?;
                if access == Access::Read {
                    self.execute(&what, "PRAGMA query_only = ON")?;
                }
            }
            Dialect::Duckdb | Dialect::Other => {}
        }
        Ok(())
    }

    fn prepare_postgres(&mut self, access: Access<'_>, what: &str) -> Result<()> {
        let version = self.one(what, "SELECT version()")?.unwrap_or_default();
        if !version.starts_with("PostgreSQL") {
            let message = format!("cannot use `{}`", self.shown);
            return Err(Error::new(ErrorKind::Destination, message)
                .because(format!("it is no PostgreSQL, but `{version}`")));
        }
        // Days are counted in UTC, and texts of times are read so.
        self.execute(what, "SET TIME ZONE 'UTC'")?;
        self.execute(what, "SET client_min_messages = 'error'")?;
        // Else a backslash in a text would not be one.
        self.execute(what, "SET standard_conforming_strings = on")?;
        let name = match access {
            Access::Read => "mixflow".to_owned(),
            Access::Run(id) => format!("mixflow {id}"),
        };
        let name = self.dialect.literal(&name);
        self.execute(what, &format!("SET application_name = {name}"))?;
        match access {
            Access::Read => {
                self.execute(what, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")?;
            }
            Access::Run(_) => {
                // Who waits for a lock without end is no help to anybody.
                let wait = "SELECT set_config('lock_timeout', '60s', false) \
                            WHERE current_setting('lock_timeout') = '0'";
                self.rows(what, wait)?;
            }
        }
        if self.schema.is_none() {
            self.schema = self.one(what, "SELECT current_schema()")?;
        }
        Ok(())
    }

    /// Returns a table's name as SQL has it, with its schema.
    pub(crate) fn table(&self, name: &str) -> String {
        let name = self.dialect.quoted(name);
        match &self.schema {
            Some(schema) => format!("{}.{name}", self.dialect.quoted(schema)),
            None => name,
        }
    }

    /// Returns a text as SQL has it.
    pub(crate) fn literal(&self, text: &str) -> String {
        self.dialect.literal(text)
    }

    /// Executes one statement; returns the rows that it changed, if the driver
    /// says so.
    pub(crate) fn execute(&self, what: &str, sql: &str) -> Result<Option<u64>> {
        let execute = || {
            let mut statement = self.statement()?;
            statement.set_sql_query(sql)?;
            statement.execute_update()
        };
        let changed = execute().map_err(self.secrets.failed(what))?;
        Ok(changed.and_then(|n| u64::try_from(n).ok()))
    }

    /// Asks a question, and returns the answer as texts.
    pub(crate) fn rows(&self, what: &str, sql: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut statement = self.statement().map_err(self.secrets.failed(what))?;
        for batch in self.answer(&mut statement, what, sql)? {
            let batch = batch.map_err(|error| {
                let error = adbc_core::error::Error::from(error);
                self.secrets.failed(what)(error)
            })?;
            for row in 0..batch.num_rows() {
                rows.push(texts(&batch, row)?);
            }
        }
        Ok(rows)
    }

    /// Asks a question whose answer is read batch by batch.
    pub(crate) fn answer(
        &self,
        statement: &mut ManagedStatement,
        what: &str,
        sql: &str,
    ) -> Result<Box<dyn RecordBatchReader + Send>> {
        let mut ask = || {
            statement.set_sql_query(sql)?;
            statement.execute()
        };
        let reader = ask().map_err(self.secrets.failed(what))?;
        Ok(reader)
    }

    /// Returns the one value of an answer, as text.
    pub(crate) fn one(&self, what: &str, sql: &str) -> Result<Option<String>> {
        let rows = self.rows(what, sql)?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next()?))
    }

    /// Returns the count that is an answer.
    pub(crate) fn count(&self, what: &str, sql: &str) -> Result<u64> {
        let text = self.one(what, sql)?.unwrap_or_default();
        text.parse().map_err(|_| {
            let message = format!("cannot {what}");
            Error::new(ErrorKind::Other, message)
                .because(format!("`{text}` came where a count was asked for"))
        })
    }

    pub(crate) fn statement(&self) -> AdbcResult<ManagedStatement> {
        // A handle: the connection is one.
        self.connection.clone().new_statement()
    }

    /// Returns a statement that takes rows into a table that is there.
    pub(crate) fn ingest(&self, table: &str) -> AdbcResult<ManagedStatement> {
        let mut statement = self.statement()?;
        let name = self.dialect.name(table).into_owned();
        statement.set_option(OptionStatement::TargetTable, name.into())?;
        statement.set_option(OptionStatement::IngestMode, IngestMode::Append.into())?;
        if let Some(schema) = &self.schema {
            let schema = self.dialect.name(schema).into_owned();
            statement.set_option(OptionStatement::TargetDbSchema, schema.into())?;
        }
        Ok(statement)
    }

    /// Writes a few rows into a table of ours. How many there are then is for
    /// the caller to count.
    pub(crate) fn insert(&self, what: &str, table: &str, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let insert = || {
            let mut statement = self.ingest(table)?;
            statement.bind(rows)?;
            statement.execute_update()
        };
        insert().map(drop).map_err(self.secrets.failed(what))
    }

    /// Returns the columns of a table, as the driver sees them.
    pub(crate) fn described(&self, table: &str) -> AdbcResult<Schema> {
        self.connection
            .get_table_schema(None, self.schema.as_deref(), table)
    }

    /// Begins a transaction, where the database has any.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if !self.dialect.is_transactional() {
            return Ok(());
        }
        let what = format!("begin a transaction in `{}`", self.shown);
        self.connection
            .set_option(OptionConnection::AutoCommit, "false".into())
            .map_err(self.secrets.failed(what))
    }

    /// Commits. What the driver says is not an error of ours yet.
    pub(crate) fn commit(&mut self) -> AdbcResult<()> {
        match self.dialect.is_transactional() {
            true => self.connection.commit(),
            false => Ok(()),
        }
    }

    /// Rolls back what is not committed.
    pub(crate) fn roll_back(&mut self) -> AdbcResult<()> {
        match self.dialect.is_transactional() {
            true => self.connection.rollback(),
            false => Ok(()),
        }
    }
}

impl Address {
    /// Returns what a driver is given, and what of it is secret.
    fn driver_options(
        &self,
        file: Option<&Path>,
        access: Access<'_>,
        cancel: &CancelToken,
    ) -> Result<(Vec<(OptionDatabase, OptionValue)>, Secrets)> {
        let mut options = Vec::new();
        let mut secrets = self.shown.secrets.clone();
        let file = file.or(self.shown.path.as_deref());
        if let Some(file) = file {
            options.push(self.file_option(file, access)?);
        } else if let Some(uri) = &self.uri {
            let uri = uri.resolve("`uri` of the database", &self.env, cancel)?;
            let shown = Shown::of(self.dialect, &self.driver, uri.expose(), None);
            secrets.extend(shown.secrets);
            let text = match self.dialect {
                Dialect::Postgres => with_timeout(uri.expose()),
                _ => uri.expose().to_owned(),
            };
            options.push((OptionDatabase::Uri, text.into()));
        }
        for (name, value) in &self.options {
            let what = format!("option `{name}` of the database");
            let value = value.resolve(&what, &self.env, cancel)?;
            options.push((OptionDatabase::from(name.as_str()), value.expose().into()));
            if value.expose().len() >= 8 {
                secrets.push(value);
            }
        }
        Ok((options, Secrets::new(secrets)))
    }

    fn file_option(
        &self,
        file: &Path,
        access: Access<'_>,
    ) -> Result<(OptionDatabase, OptionValue)> {
        let Some(path) = file.to_str() else {
            let message = format!("cannot open `{}`", file.display());
            return Err(Error::new(ErrorKind::Config, message).because("its path is not UTF-8"));
        };
        if self.dialect == Dialect::Duckdb {
            return Ok((OptionDatabase::Other("path".to_owned()), path.into()));
        }
        // A plain path would be made, also by who only wants to read.
        let mode = match access {
            Access::Read => "ro",
            Access::Run(_) => "rwc",
        };
        let path = path
            .replace('%', "%25")
            .replace('?', "%3f")
            .replace('#', "%23");
        Ok((
            OptionDatabase::Uri,
            format!("file:{path}?mode={mode}").into(),
        ))
    }
}

/// Does what a driver may do for ever: Go's try again without end where nobody
/// answers.
fn within<T: Send + 'static>(
    limit: Duration,
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = cancel.attempt(move || {
        let (done, result) = bounded(1);
        let thread = thread::Builder::new().name("mixflow-connect".to_owned());
        thread.spawn(move || {
            // Nobody may wait any more.
            let _ = done.send(work());
        })?;
        Ok::<_, std::io::Error>(result.recv_timeout(limit))
    })?;
    let done = done.map_err(|error| {
        Error::new(
            ErrorKind::Io,
            "cannot start a thread for the database driver",
        )
        .with_source(error)
    })?;
    done.map_err(|error| match error {
        RecvTimeoutError::Timeout => {
            let message = format!("there was no answer within {} s", limit.as_secs());
            Error::new(ErrorKind::Destination, message).hint(
                "check that the database can be reached, and what `uri` and `options` say of it",
            )
        }
        RecvTimeoutError::Disconnected => {
            Error::new(ErrorKind::Panic, "the database driver panicked")
        }
    })
}

fn ask_anything(connection: &ManagedConnection) -> AdbcResult<()> {
    let mut statement = connection.clone().new_statement()?;
    statement.set_sql_query("SELECT 1")?;
    statement.execute().map(drop)
}

/// Returns a URI, or a connection string, of Postgres with which an address that
/// nobody answers at is not waited for as long as the system likes.
fn with_timeout(uri: &str) -> String {
    if uri.contains("connect_timeout") {
        return uri.to_owned();
    }
    let separator = match (uri.contains("://"), uri.contains('?')) {
        (false, _) => " ",
        (true, false) => "?",
        (true, true) => "&",
    };
    format!("{uri}{separator}connect_timeout=10")
}

/// Returns the values of a row as texts.
fn texts(batch: &RecordBatch, row: usize) -> Result<Row> {
    let cells = batch.columns().iter().map(|column| {
        if column.is_null(row) {
            return Ok(None);
        }
        let mut text = String::new();
        mixflow_core::text::push(&mut text, column, row)?;
        Ok(Some(text))
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_tries_for_ever_is_left_to_itself() {
        let (guard, token) = mixflow_core::cancel::cancellation();
        let for_ever = || thread::park();
        let error = within(Duration::from_millis(1), &token, for_ever).expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::Destination);
        let quick = within(PATIENCE, &token, || 7).expect("an answer");
        assert_eq!(quick, 7);
        drop(guard);
        let error = within(PATIENCE, &token, for_ever).expect_err("the run is to end");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
