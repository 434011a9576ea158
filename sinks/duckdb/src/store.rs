//! The store: a DuckDB file with the tables that mixflow wrote.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::types::FromSql;
use duckdb::{Connection, Row, Statement};
use mixflow_core::remedy::Remedy;
use mixflow_core::staged::{StagedFolder, cannot};
use mixflow_core::{Error, ErrorKind, Result};

use crate::database::Database;
use crate::open::{Access, limit_memory, unanswered, uncommitted};
use crate::query::Query;
use crate::reading::{Answer, check_reads, is_locked_down, lock_down};
use crate::sql;
use crate::target::default_path;

/// The name of an ephemeral database's file.
const EPHEMERAL: &str = "mixflow.db";

/// Held while a database is shut off.
static LOCKING: Mutex<()> = Mutex::new(());

/// A database, open.
///
/// Dropping it closes the file; an ephemeral one is removed, also when the
/// thread panics. One process at a time may have a file open for writing;
/// any number may read it while nobody writes. Several stores of one process
/// on one file, from whatever threads, are one database.
#[derive(Debug)]
pub struct Store {
    // Closed before the folder goes: fields are dropped in this order.
    pub(crate) database: Database,
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    ephemeral: Option<Arc<StagedFolder>>,
}

impl Store {
    /// Opens the database at `path` for reading and writing; makes it if it is
    /// not there.
    ///
    /// Fails with [`ErrorKind::Locked`] when another process has it open
    /// (naming that one), or when the file is no database.
    ///
    /// ```
    /// use mixflow_sink_duckdb::Store;
    /// # let folder = Store::ephemeral()?; // a folder that goes again
    /// # let path = folder.path().with_file_name("mixpanel.db");
    ///
    /// let store = Store::open(&path)?;
    /// store.connection()?.execute_batch("CREATE TABLE t AS SELECT 42 AS n").unwrap();
    /// drop(store);
    /// let store = Store::open_read_only(&path)?;
    /// assert_eq!(store.scalar::<i64>("SELECT n FROM t")?, 42);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        Ok(Store {
            database: Database::open(path, Access::Store)?,
            path: path.to_owned(),
            access: Access::Store,
            ephemeral: None,
        })
    }

    /// Opens the database of a project at its default place,
    /// `~/.mixpanel_data/{project}.db`, and makes it if it is not there.
    ///
    /// Fails as [`Store::open`] does, and with [`ErrorKind::Io`] if the folder
    /// cannot be made.
    pub fn open_default(home: &Path, project: &str) -> Result<Store> {
        let path = default_path(home, project);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                let message = format!("cannot create `{}`", folder.display());
                Error::new(ErrorKind::Io, message).with_source(error)
            })?;
        }
        Store::open(path)
    }

    /// Opens the database at `path` for reading. Several may do so at once.
    ///
    /// Fails with [`ErrorKind::Destination`] if there is none, or when another
    /// process writes to it (naming that one).
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        Store::open_there(path.as_ref(), Access::Read)
    }

    /// Opens the database at `path` for queries that may come from anybody:
    /// they read nothing but this file and write nothing at all, however they
    /// are written. DuckDB may use `memory`, such as `2GB`.
    ///
    /// No extension is loaded, and no setting can be changed. Views that read
    /// other files cannot be asked.
    ///
    /// Fails as [`Store::open_read_only`] does.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let folder = Store::ephemeral()?;
    /// # let path = folder.path().with_file_name("mixpanel.db");
    /// # drop(Store::open(&path)?);
    /// let store = Store::open_for_queries(&path, Some("2GB"))?;
    /// assert!(store.query("SELECT 1").is_ok());
    /// assert!(store.query("COPY (SELECT 1) TO 'x.csv'").is_err());
    /// assert!(store.query("SELECT 1; SELECT 2").is_err());
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn open_for_queries(path: impl AsRef<Path>, memory: Option<&str>) -> Result<Store> {
        let store = Store::open_there(path.as_ref(), Access::Query)?;
        // Another thread may open the same database: one of them is the first.
        let _alone = LOCKING.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_locked_down(&store.database)? {
            if let Some(limit) = memory {
                store.set_memory_limit(limit)?;
            }
            lock_down(&store.database)?;
        }
        Ok(store)
    }

    fn open_there(path: &Path, access: Access) -> Result<Store> {
        if !path.exists() {
            return Err(Error::new(
                ErrorKind::Destination,
                format!("cannot open `{}`", path.display()),
            )
            .because("there is no such file")
            .with_remedy(Remedy::NameDatabase));
        }
        Ok(Store {
            database: Database::open(path, access)?,
            path: path.to_owned(),
            access,
            ephemeral: None,
        })
    }

    /// Makes a database in the system's folder for temporary files, readable
    /// by this user only and gone when the store is dropped.
    ///
    /// A process that ends otherwise than by returning from `main`, such as by
    /// [`std::process::exit`], a signal or `kill -9`, drops nothing. What it
    /// leaves behind is removed by the next call of any process of this user,
    /// which knows by a lock on the folder that nobody uses it any more. A
    /// program that is to leave nothing catches Ctrl-C and SIGTERM, cancels what
    /// goes on, and returns.
    ///
    /// Fails with [`ErrorKind::Io`] if nothing can be written there.
    ///
    /// ```
    /// use mixflow_sink_duckdb::Store;
    ///
    /// let store = Store::ephemeral()?;
    /// let path = store.path().to_owned();
    /// assert!(path.exists());
    /// drop(store);
    /// assert!(!path.exists());
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn ephemeral() -> Result<Store> {
        let folder = StagedFolder::private(&std::env::temp_dir().join(EPHEMERAL))?;
        let path = folder.path().join(EPHEMERAL);
        Ok(Store {
            database: Database::open(&path, Access::Store)?,
            path,
            access: Access::Store,
            ephemeral: Some(Arc::new(folder)),
        })
    }

    /// Returns another connection to the same database, for another thread.
    ///
    /// An ephemeral database is there until the last one is gone. Fails as
    /// DuckDB does when it can make no more connections.
    pub fn try_clone(&self) -> Result<Store> {
        Ok(Store {
            database: self.database.try_clone()?,
            path: self.path.clone(),
            access: self.access,
            ephemeral: self.ephemeral.clone(),
        })
    }

    /// Closes the store, and says whether all of it is in its file, or an
    /// ephemeral one gone. Dropping it does the same without a word.
    ///
    /// Fails with [`ErrorKind::Io`] if somebody has removed or replaced the
    /// file, if the disk is full (what is committed is then in DuckDB's log
    /// beside the file), or if an ephemeral file cannot be removed. What other
    /// connections of this process still use stays as it is.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// let store = Store::ephemeral()?;
    /// let path = store.path().to_owned();
    /// store.close()?;
    /// assert!(!path.exists());
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn close(self) -> Result<()> {
        let path = self.path.display().to_string();
        if self.access.writes() && self.ephemeral.is_none() {
            let connection = self.connection()?;
            if self.database.is_alone() {
                let what = format!("write all of `{path}`");
                let written = connection.execute_batch("CHECKPOINT");
                written.map_err(uncommitted(&what))?;
            }
        }
        drop(self.database);
        match self.ephemeral.map(Arc::try_unwrap) {
            Some(Ok(folder)) => folder.remove().map_err(cannot(format!("remove `{path}`"))),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the database goes when the store does.
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral.is_some()
    }

    /// Returns DuckDB's own connection.
    ///
    /// A clone of it must not outlive the store: the file would stay open,
    /// and the next store on it would be a second database. Fails with
    /// [`ErrorKind::Io`] if somebody has removed or replaced the file: DuckDB
    /// would go on writing to one that has no name any more.
    pub fn connection(&self) -> Result<&Connection> {
        if self.database.is_at(&self.path) {
            return Ok(&self.database);
        }
        let what = if self.path.exists() {
            "replaced"
        } else {
            "removed"
        };
        Err(Error::new(
            ErrorKind::Io,
            format!("cannot use `{}`", self.path.display()),
        )
        .because(format!("somebody has {what} the file while it was open"))
        .hint("open the store again, and fetch again what was in it"))
    }

    /// Limits what DuckDB may use, such as `2GB`.
    ///
    /// Fails if DuckDB does not take `limit` for a size.
    pub fn set_memory_limit(&self, limit: &str) -> Result<()> {
        limit_memory(self.connection()?, limit)
    }

    /// Prepares a query: DuckDB's own statement.
    ///
    /// Fails with [`ErrorKind::Query`] and DuckDB's own text if it does not
    /// understand the query.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let mut statement = store.prepare("SELECT count(*) FROM events WHERE n > ?")?;
    /// let rows: i64 = statement.query_row([0], |row| row.get(0)).unwrap();
    /// assert_eq!(rows, 2);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        let connection = self.connection()?;
        if self.access == Access::Query {
            check_reads(connection, sql)?;
        }
        connection.prepare(sql).map_err(unanswered)
    }

    /// Prepares a query whose answer comes in Arrow batches.
    ///
    /// Fails as [`prepare`](Store::prepare) does.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let mut query = store.query("FROM events")?;
    /// for batch in query.batches()? {
    ///     assert_eq!(batch?.num_columns(), 2);
    /// }
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn query(&self, sql: &str) -> Result<Query<'_>> {
        self.query_with(sql, &[])
    }

    /// Prepares a query as [`query`](Store::query) does, with a text for each of its
    /// parameters: `$name` in it. DuckDB makes of a text what it is compared with; a
    /// cast makes it anything else: `$n::INT`.
    ///
    /// Fails also if a parameter has no value, or a value no parameter.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// let values = [("day".to_owned(), "2024-01-31".to_owned())];
    /// let mut query = store.query_with("SELECT '2024-01-31'::DATE = $day AS same", &values)?;
    /// let batch = query.batches()?.next().unwrap()?;
    /// # use arrow::array::AsArray as _;
    /// assert!(batch.column(0).as_boolean().value(0));
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn query_with(&self, sql: &str, values: &[(String, String)]) -> Result<Query<'_>> {
        let connection = self.connection()?;
        let value = |name: &str| {
            let mut values = values.iter();
            let found = values.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        check_values(sql, values, value)?;
        let answer = match self.access {
            // As it will be asked: DuckDB looks into no query that lacks values.
            Access::Query if !values.is_empty() => {
                check_reads(connection, &sql::with_values(sql, value))?
            }
            Access::Query => check_reads(connection, sql)?,
            _ => Answer::Rows,
        };
        let statement = connection.prepare(sql).map_err(unanswered)?;
        let names = (1..=statement.parameter_count()).map(|n| statement.parameter_name(n));
        let names = names
            .collect::<Result<Vec<String>, _>>()
            .map_err(unanswered)?;
        let values = names.iter().filter_map(|name| value(name));
        Ok(Query {
            values: values.map(str::to_owned).collect(),
            statement,
            answer,
        })
    }

    /// Returns what ends whatever the database is asked just now, from any
    /// thread; the question fails with [`ErrorKind::Interrupted`].
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + 'static {
        let handle = self.database.interrupt_handle();
        move || handle.interrupt()
    }

    /// Returns the rows of a query, each a tuple: `(String, i64)`.
    ///
    /// Fails with [`ErrorKind::Query`] if DuckDB does not understand the
    /// query, or if a value is not of its type.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let rows: Vec<(String, i64)> = store.rows("SELECT event_name, n FROM events WHERE n = 1")?;
    /// assert_eq!(rows, [("Sign Up".to_owned(), 1)]);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn rows<T>(&self, sql: &str) -> Result<Vec<T>>
    where
        T: for<'r> TryFrom<&'r Row<'r>, Error = duckdb::Error>,
    {
        let mut statement = self.prepare(sql)?;
        let rows = statement
            .query_and_then([], |row| T::try_from(row))
            .map_err(unanswered)?;
        rows.collect::<Result<Vec<T>, _>>().map_err(unanswered)
    }

    /// Returns the one value of a query.
    ///
    /// Fails with [`ErrorKind::Query`] if the query has no row, or more than
    /// one row or column.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let most: i64 = store.scalar("SELECT max(n) FROM events")?;
    /// assert_eq!(most, 2);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn scalar<T: FromSql>(&self, sql: &str) -> Result<T> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query([]).map_err(unanswered)?;
        let not_one = |what: &str| {
            Error::new(ErrorKind::Query, "cannot answer the query with one value")
                .because(format!("it has {what}"))
        };
        let row = rows.next().map_err(unanswered)?;
        let row = row.ok_or_else(|| not_one("no row"))?;
        if row.as_ref().column_count() != 1 {
            let columns = row.as_ref().column_count();
            return Err(not_one(&format!("{columns} columns")));
        }
        let value = row.get(0).map_err(unanswered)?;
        match rows.next().map_err(unanswered)? {
            None => Ok(value),
            Some(_) => Err(not_one("more than one row")),
        }
    }
}

/// Checks that every parameter has a value, and every value a parameter.
fn check_values<'v>(
    sql: &str,
    values: &[(String, String)],
    value: impl Fn(&str) -> Option<&'v str>,
) -> Result<()> {
    let refused =
        |why: String| Error::new(ErrorKind::Query, "cannot answer the query").because(why);
    let names = sql::parameters(sql);
    if let Some(name) = names.iter().find(|name| value(name).is_none()) {
        let why = format!("its parameter `${name}` has no value");
        return Err(refused(why).with_remedy(Remedy::GiveParameter((*name).to_owned())));
    }
    let is_used = |key: &str| names.iter().any(|name| name.eq_ignore_ascii_case(key));
    match values.iter().find(|(key, _)| !is_used(key)) {
        Some((key, _)) => Err(refused(format!("it has no parameter `${key}`"))),
        None => Ok(()),
    }
}
