//! The tables of a store: which there are, and what is known of them.

use duckdb::{OptionalExt, params};
use mixflow_core::ledger::Holding;
use mixflow_core::remedy::Remedy;
use mixflow_core::suggest::did_you_mean;
pub use mixflow_core::table::ColumnInfo;
use mixflow_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::columns::{Relation, find};
use crate::ledger::TableLedger;
use crate::made_of;
use crate::metadata::{self, TableMetadata};
use crate::open::failed;
use crate::sql::quoted;
use crate::store::Store;
use crate::target::check_name;

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

impl Store {
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

    /// Returns what the tables hold of each dataset, day by day, or this one; what
    /// mixflow did not write has none.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table.
    pub fn holdings(&self, table: Option<&str>) -> Result<Vec<Holding>> {
        let tables = match table {
            Some(table) => vec![self.table(table)?],
            None => self
                .table_names()?
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
        };
        let mut holdings = Vec::new();
        for table in tables {
            let ledger = TableLedger::new(self.connection()?, &table);
            for dataset in ledger.datasets()? {
                holdings.push(Holding {
                    ledger: ledger.read(&dataset)?,
                    table: table.clone(),
                    dataset,
                });
            }
        }
        Ok(holdings)
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
        let kind = match find(&transaction, &table)? {
            Relation::View => "VIEW",
            _ => "TABLE",
        };
        transaction
            .execute_batch(&format!("DROP {kind} {}", quoted(&table)))
            .map_err(failed(&what))?;
        metadata::forget(&transaction, &table)?;
        made_of::forget(&transaction, &table)?;
        TableLedger::new(&transaction, &table).forget()?;
        transaction.commit().map_err(failed(&what))
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
