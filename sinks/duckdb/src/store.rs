//! The store: a DuckDB file with the tables that mixflow wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckdb::types::FromSql;
use duckdb::{Connection, OptionalExt, Row, Statement, params};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::CancelToken;
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::{
    CommitSummary, Outcome, PATIENCE, PartitionInfo, Sink, TxnContext, guarded, patiently,
};
use mixflow_core::source::{Dataset, Extent, SourceInfo};
use mixflow_core::staged::{StagedFolder, cannot};
use mixflow_core::suggest::did_you_mean;
use mixflow_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::columns::quoted;
use crate::database::Database;
use crate::metadata::{self, TableMetadata};
use crate::open::{Access, failed, limit_memory, unanswered, uncommitted};
use crate::query::Query;
use crate::reading::{Answer, check_reads, is_locked_down, lock_down};
use crate::sink::{DuckdbSink, check_name, default_path};

/// The name of an ephemeral database's file.
const EPHEMERAL: &str = "mixflow.db";

/// A database, open.
///
/// Dropping it closes the file; an ephemeral one is removed, also when the
/// thread panics. One process at a time may have a file open for writing;
/// any number may read it while nobody writes. Several stores of one process
/// on one file, from whatever threads, are one database.
#[derive(Debug)]
pub struct Store {
    // Closed before the folder goes: fields are dropped in this order.
    database: Database,
    path: PathBuf,
    access: Access,
    ephemeral: Option<Arc<StagedFolder>>,
}

/// A table or view, in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub table_name: String,
    /// What is in it: `events` or `profiles`; for those that mixflow did not
    /// write, `table` or `view`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its rows now; none for a view that cannot be asked any more, because
    /// what it looks at is gone.
    pub row_count: Option<u64>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ColumnInfo {
    /// Its name.
    pub column_name: String,
    /// Its type, as DuckDB writes it.
    pub column_type: String,
    /// Whether values may be NULL.
    pub nullable: bool,
}

/// What the rows of a new table are.
#[derive(Clone, Debug, Default)]
pub struct TableInput {
    /// `events`, `profiles`, or any other word.
    pub data_type: String,
    /// The first day that was asked for.
    pub from_date: Option<Date>,
    /// The last day that was asked for.
    pub to_date: Option<Date>,
    /// The filters that applied.
    pub filters: serde_json::Map<String, serde_json::Value>,
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
        let connection = self.connection()?;
        let answer = match self.access {
            Access::Query => check_reads(connection, sql)?,
            _ => Answer::Rows,
        };
        Ok(Query {
            statement: connection.prepare(sql).map_err(unanswered)?,
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

    /// Returns the tables and views, by name, but not what is mixflow's own.
    ///
    /// Fails if DuckDB cannot read the file, such as after it was replaced.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let tables = store.list_tables()?;
    /// assert_eq!((tables[0].table_name.as_str(), tables[0].row_count), ("events", Some(3)));
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn list_tables(&self) -> Result<Vec<TableInfo>> {
        let tables = self.describe_tables()?;
        Ok(tables.into_iter().map(|(info, _)| info).collect())
    }

    /// Returns the tables and views as [`list_tables`](Store::list_tables)
    /// does, each with what is known of how it was fetched.
    ///
    /// Fails as [`list_tables`](Store::list_tables) does.
    pub fn describe_tables(&self) -> Result<Vec<(TableInfo, Option<TableMetadata>)>> {
        let connection = self.connection()?;
        self.table_names()?
            .into_iter()
            .map(|(table_name, is_view)| {
                let count = format!("SELECT count(*) FROM {}", quoted(&table_name));
                let counted = connection.query_row(&count, [], |row| row.get(0));
                let row_count = match counted {
                    Err(_) if is_view => None,
                    counted => Some(counted.map_err(failed("list the tables"))?),
                };
                let known = metadata::read(connection, &table_name)?;
                let kind = match (&known, is_view) {
                    (Some(known), _) => known.data_type.clone(),
                    (None, true) => "view".to_owned(),
                    (None, false) => "table".to_owned(),
                };
                let info = TableInfo {
                    table_name,
                    kind,
                    row_count,
                };
                Ok((info, known))
            })
            .collect()
    }

    /// Returns the names of tables and views, and which of them are views.
    fn table_names(&self) -> Result<Vec<(String, bool)>> {
        self.rows(
            "SELECT table_name, table_type = 'VIEW' FROM information_schema.tables \
             WHERE table_catalog = current_database() AND table_schema = 'main' \
             AND NOT starts_with(table_name, '_') ORDER BY lower(table_name)",
        )
    }

    /// Returns whether there is a table or view of that name.
    ///
    /// Fails as [`list_tables`](Store::list_tables) does.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// assert!(store.table_exists("events")? && !store.table_exists("people")?);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn table_exists(&self, table: &str) -> Result<bool> {
        Ok(self.name_of(table)?.is_some())
    }

    /// Returns the columns of a table, in their order.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// let columns = store.schema("events")?;
    /// assert_eq!((&*columns[0].column_name, &*columns[0].column_type), ("event_name", "VARCHAR"));
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn schema(&self, table: &str) -> Result<Vec<ColumnInfo>> {
        let what = "look up columns";
        let table = self.table(table)?;
        let mut statement = self
            .connection()?
            .prepare(
                "SELECT column_name, data_type, is_nullable = 'YES' \
                 FROM information_schema.columns \
                 WHERE table_catalog = current_database() AND table_schema = 'main' \
                 AND table_name = ? ORDER BY ordinal_position",
            )
            .map_err(failed(what))?;
        statement
            .query_map(params![table], |row| {
                Ok(ColumnInfo {
                    column_name: row.get(0)?,
                    column_type: row.get(1)?,
                    nullable: row.get(2)?,
                })
            })
            .and_then(Iterator::collect)
            .map_err(failed(what))
    }

    /// Returns what is known of how a table was fetched.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table, and
    /// with [`ErrorKind::Destination`] if mixflow did not write it.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// // This one was made in SQL.
    /// let error = store.metadata("events").unwrap_err();
    /// assert_eq!(error.causes(), ["mixflow did not write this table"]);
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn metadata(&self, table: &str) -> Result<TableMetadata> {
        let table = self.table(table)?;
        metadata::read(self.connection()?, &table)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Destination,
                format!("there is no metadata of `{table}`"),
            )
            .because("mixflow did not write this table")
        })
    }

    /// Removes a table and what is known of it.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table, and
    /// with [`ErrorKind::Destination`] if it is mixflow's own.
    ///
    /// ```
    /// # use mixflow_sink_duckdb::Store;
    /// # let store = Store::ephemeral()?;
    /// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, n FROM range(3) t(n)").unwrap();
    /// store.drop_table("events")?;
    /// assert!(store.list_tables()?.is_empty());
    /// # Ok::<_, mixflow_core::Error>(())
    /// ```
    pub fn drop_table(&self, table: &str) -> Result<()> {
        let table = self.table(table)?;
        let what = format!("drop the table `{table}`");
        if let Err(message) = check_name(&table)
            && table.starts_with('_')
        {
            return Err(
                Error::new(ErrorKind::Destination, format!("cannot {what}")).because(message)
            );
        }
        let connection = self.connection()?;
        let transaction = connection.unchecked_transaction().map_err(failed(&what))?;
        let kind = match crate::columns::find(&transaction, &table)? {
            crate::columns::Found::View => "VIEW",
            _ => "TABLE",
        };
        transaction
            .execute_batch(&format!("DROP {kind} {}", quoted(&table)))
            .map_err(failed(&what))?;
        metadata::forget(&transaction, &table)?;
        transaction.commit().map_err(failed(&what))
    }

    /// Makes a table from batches, in one transaction.
    ///
    /// Memory holds one batch at a time. `progress` hears the rows so far after
    /// each. Zero batches make a table without rows. Fails with
    /// [`ErrorKind::TableExists`] if the table is there, and with the error of
    /// the first batch that is one; then the database is as it was.
    pub fn create_table(
        &self,
        table: &str,
        input: &TableInput,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch>>,
        mut progress: impl FnMut(u64),
    ) -> Result<CommitSummary> {
        let sink = self.sink(Some(table.to_owned()))?;
        sink.check_schema(schema)?;
        let cx = TxnContext {
            run_id: String::new(),
            schema: schema.clone(),
            source: SourceInfo {
                dataset: Dataset {
                    kind: input.data_type.clone().into(),
                    filters: input.filters.clone(),
                    ..Dataset::default()
                },
                from_date: input.from_date,
                to_date: input.to_date,
                ..SourceInfo::default()
            },
            started_at: Timestamp::now(),
            cancel: mixflow_core::cancel::CancelToken::never(),
        };
        // Dropped by whatever returns an error, which rolls back.
        let txn = patiently(PATIENCE, &CancelToken::never(), || sink.begin(&cx))?;
        let mut txn = guarded(&cx, txn);
        let partition = PartitionInfo {
            id: PartitionId(0),
            label: table.to_owned(),
            extent: Extent::Whole,
        };
        txn.partition(&partition)?;
        let mut rows = 0;
        for records in batches {
            let batch = Batch {
                records: records?,
                partition: partition.id,
            };
            txn.write(&batch)?;
            rows += batch.records.num_rows() as u64;
            progress(rows);
        }
        txn.commit(&Outcome { missing: &[], rows })
    }

    /// Returns a sink that writes to this store, through its open file.
    ///
    /// Fails as [`sink_with`](Store::sink_with) does.
    pub fn sink(&self, table: Option<String>) -> Result<DuckdbSink> {
        let options = crate::DuckdbOptions {
            path: Some(self.path.clone()),
            table,
            ..crate::DuckdbOptions::default()
        };
        self.sink_with(options)
    }

    /// Returns a sink with options that writes to this store, whatever its
    /// `path` is.
    ///
    /// Fails with [`ErrorKind::Destination`] if the store is open for reading only,
    /// and with [`ErrorKind::Config`] if the options are wrong.
    pub fn sink_with(&self, options: crate::DuckdbOptions) -> Result<DuckdbSink> {
        let what = "write to the store";
        if !self.access.writes() {
            return Err(Error::new(ErrorKind::Destination, format!("cannot {what}"))
                .because(format!("`{}` is open for reading", self.path.display()))
                .hint("open it with `Store::open`"));
        }
        self.connection()?;
        let database = self.database.try_clone()?;
        DuckdbSink::shared(options, self.path.clone(), database).map_err(|invalid| {
            let texts: Vec<&str> = invalid.iter().map(|each| each.message.as_str()).collect();
            Error::new(ErrorKind::Config, format!("cannot {what}")).because(texts.join("; "))
        })
    }

    /// Returns the name of a table as it was created, or says that there is none.
    ///
    /// Fails with [`ErrorKind::TableNotFound`], and names the tables that there
    /// are.
    pub fn table(&self, table: &str) -> Result<String> {
        if let Some(name) = self.name_of(table)? {
            return Ok(name);
        }
        // Names only: a typo must not count the rows of every table.
        let names = self.table_names()?;
        let known: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("there is no table `{table}` in `{}`", self.path.display());
        let has = match known.as_slice() {
            [] => "it has no table".to_owned(),
            _ => format!("it has {}", known.join(", ")),
        };
        Err(Error::new(ErrorKind::TableNotFound, message)
            .because(format!("{has}{}", did_you_mean(table, &known)))
            .with_remedy(Remedy::ListTables))
    }

    fn name_of(&self, table: &str) -> Result<Option<String>> {
        self.connection()?
            .query_row(
                "SELECT table_name FROM information_schema.tables \
                 WHERE table_catalog = current_database() AND table_schema = 'main' \
                 AND lower(table_name) = lower(?)",
                params![table],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed("look up tables"))
    }
}
