//! Asking a database that mixflow has written to, or any other one.
//!
//! What can be asked only reads: the connection is told so, and a query begins
//! with a word that reads. Who may write to the database may still do so by
//! functions that it has for that; a user who may only read is the better lock.

use std::collections::BTreeMap;

use adbc_driver_manager::ManagedStatement;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, Secret, SecretSource};
use mixflow_core::ledger::Holding;
use mixflow_core::remedy::Remedy;
use mixflow_core::suggest::did_you_mean;
use mixflow_core::table::{ColumnInfo, TableMetadata};
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{columns_of, nullable};
use crate::dialect::Dialect;
use crate::ledger::TableLedger;
use crate::place::Shown;
use crate::runs;
use crate::session::{Access, Address, Session};

/// A database that is asked, and not changed.
///
/// Tables of another schema than the user's own are named with it:
/// `mixpanel.events`.
pub struct Database {
    /// With the schema that is looked into.
    session: Session,
    /// The schema that is the user's own.
    own: Option<String>,
}

/// A table or view, and where it is.
struct Found {
    schema: Option<String>,
    table: String,
    is_view: bool,
}

/// A table or view.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Its name.
    pub table_name: String,
    /// Whether it is a view.
    pub is_view: bool,
    /// Its rows now.
    pub row_count: u64,
    /// What is known of how it was fetched.
    pub metadata: Option<TableMetadata>,
}

const EXAMPLES: &str = "such as `postgresql://user@host/database`, `sqlite:events.db`, or `env:DATABASE_URL`, a variable that has one";

/// Returns whether a text names a database of another sort than a DuckDB file.
pub fn is_uri(text: &str) -> bool {
    let schemes = ["postgresql:", "postgres:", "sqlite:", "env:"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
}

impl Database {
    /// Connects to the database of a URI: `postgresql://…`, `sqlite:…`, or
    /// `env:NAME` for a variable that has one. The driver is that of the manifest
    /// `postgresql` or `sqlite`.
    ///
    /// Fails with [`ErrorKind::Config`] for a password that is not in a variable,
    /// and where there is no driver.
    pub fn open(uri: &str, env: &Env, cancel: &CancelToken) -> Result<Database> {
        let is_open = !uri.starts_with("env:");
        let text = match uri.strip_prefix("env:") {
            None => uri.to_owned(),
            Some(name) => {
                let source = SecretSource::Env(name.to_owned());
                let secret = source.resolve("URI of the database", env, cancel)?;
                secret.expose().to_owned()
            }
        };
        let name = match text.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgresql" | "postgres") => "postgresql",
            Some("sqlite") => "sqlite",
            _ => {
                let message = "cannot ask this database";
                return Err(Error::new(ErrorKind::Config, message)
                    .because(format!("it is named by its URI, {EXAMPLES}")));
            }
        };
        let dialect = Dialect::of_driver(name);
        let shown = Shown::of(dialect, name, &text, None);
        if is_open && shown.secrets.len() > 1 {
            let message = format!("cannot connect to `{}`", shown.uri);
            return Err(Error::new(ErrorKind::Config, message)
                .because("there is a password in the command, where others can read it")
                .hint("put the URI into a variable and give its name: `--db env:DATABASE_URL`"));
        }
        if let Some(path) = shown.path.as_deref().filter(|path| !path.exists()) {
            let message = format!("cannot open `{}`", path.display());
            return Err(Error::new(ErrorKind::Destination, message)
                .because("there is no such file")
                .with_remedy(Remedy::NameDatabase));
        }
        let address = Address {
            driver: name.to_owned(),
            dialect,
            uri: Some(SecretSource::Plain(Secret::new(text))),
            options: BTreeMap::new(),
            schema: None,
            env: env.clone(),
            shown,
        };
        let session = Session::open(&address, None, Access::Read, cancel)?;
        let own = session.schema.clone();
        Ok(Database { session, own })
    }

    /// Returns the tables and views, by name, but not what is mixflow's own or the
    /// database's. Their rows are counted.
    pub fn tables(&mut self) -> Result<Vec<TableInfo>> {
        let mut tables = Vec::new();
        for found in self.all()? {
            let table_name = self.shown(&found);
            self.session.schema = found.schema;
            let sql = format!("SELECT count(*) FROM {}", self.session.table(&found.table));
            tables.push(TableInfo {
                row_count: self.session.count("count rows", &sql)?,
                metadata: runs::read(&self.session, &found.table)?,
                table_name,
                is_view: found.is_view,
            });
        }
        Ok(tables)
    }

    /// Returns the columns of a table, in their order.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table.
    pub fn schema(&mut self, table: &str) -> Result<Vec<ColumnInfo>> {
        let table = self.table(table)?;
        let null = nullable(&self.session, &table)?;
        let columns = columns_of(&self.session, &table)?.into_iter();
        let columns = columns.map(|column| ColumnInfo {
            nullable: null.contains(&column.name),
            column_name: column.name,
            column_type: column.kind,
        });
        Ok(columns.collect())
    }

    /// Returns what is known of how a table was fetched.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table, and
    /// with [`ErrorKind::Destination`] if mixflow did not write it.
    pub fn metadata(&mut self, table: &str) -> Result<TableMetadata> {
        let table = self.table(table)?;
        runs::read(&self.session, &table)?.ok_or_else(|| {
            let message = format!("there is no metadata of `{table}`");
            Error::new(ErrorKind::Destination, message).because("mixflow did not write this table")
        })
    }

    /// Returns what the tables hold of each dataset, day by day, or this one; what
    /// mixflow did not write has none.
    ///
    /// Fails with [`ErrorKind::TableNotFound`] if there is no such table.
    pub fn holdings(&mut self, table: Option<&str>) -> Result<Vec<Holding>> {
        let all = match table {
            Some(table) => vec![self.one(table)?],
            None => self.all()?,
        };
        let mut holdings = Vec::new();
        for found in all {
            let shown = self.shown(&found);
            self.session.schema = found.schema;
            let ledger = TableLedger::new(&self.session, &found.table);
            for dataset in ledger.datasets()? {
                holdings.push(Holding {
                    ledger: ledger.read(&dataset)?,
                    table: shown.clone(),
                    dataset,
                });
            }
        }
        Ok(holdings)
    }

    /// Asks a query; the answer streams.
    ///
    /// Fails with [`ErrorKind::Query`] for one that does more than read, and with
    /// the database's own words where it cannot answer.
    pub fn query(&mut self, sql: &str) -> Result<Answer> {
        check_reads(self.session.dialect, sql)?;
        // In a transaction that cannot be turned into one that writes.
        self.session.begin()?;
        let unanswered = |error: Error| {
            let causes = error.causes().join(": ");
            match error.kind() {
                ErrorKind::Auth | ErrorKind::Network | ErrorKind::Locked => error,
                _ => Error::new(ErrorKind::Query, "cannot answer the query").because(causes),
            }
        };
        let statement = self.session.statement();
        let mut statement = statement.map_err(self.session.secrets.failed("ask"))?;
        let reader = self.session.answer(&mut statement, "ask", sql);
        let reader = reader.map_err(unanswered)?;
        Ok(Answer {
            schema: readable(&reader.schema()),
            reader,
            _statement: statement,
        })
    }

    /// Returns the name of a table as it was made, in the schema that is looked
    /// into from now on, or says that there is none.
    fn table(&mut self, name: &str) -> Result<String> {
        let found = self.one(name)?;
        self.session.schema = found.schema;
        Ok(found.table)
    }

    /// Looks a table up, or says that there is none.
    fn one(&self, name: &str) -> Result<Found> {
        let all = self.all()?;
        let names: Vec<String> = all.iter().map(|found| self.shown(found)).collect();
        let is_it = |known: &String| known == name;
        let like = |known: &String| known.eq_ignore_ascii_case(name);
        let place = names.iter().position(is_it);
        if let Some(at) = place.or_else(|| names.iter().position(like)) {
            return Ok(all.into_iter().nth(at).expect("it has a name"));
        }
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let has = match known.as_slice() {
            [] => "it has no table".to_owned(),
            _ => format!("it has {}", known.join(", ")),
        };
        let message = format!("there is no table `{name}` in `{}`", self.session.shown);
        Err(Error::new(ErrorKind::TableNotFound, message)
            .because(format!("{has}{}", did_you_mean(name, &known)))
            .with_remedy(Remedy::ListTables))
    }

    /// Returns a table's name, with the schema where it is not the user's own.
    fn shown(&self, found: &Found) -> String {
        match &found.schema {
            Some(schema) if found.schema != self.own => format!("{schema}.{}", found.table),
            _ => found.table.clone(),
        }
    }

    /// Returns the tables and views, by name.
    fn all(&self) -> Result<Vec<Found>> {
        let sql = match self.session.dialect {
            Dialect::Sqlite => {
                "SELECT NULL, name, type FROM sqlite_master WHERE type IN ('table', 'view')"
            }
            _ => {
                "SELECT table_schema::text, table_name::text, lower(table_type) \
                 FROM information_schema.tables \
                 WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
            }
        };
        let rows = self.session.rows("list the tables", sql)?.into_iter();
        let rows = rows.map(|row| {
            let mut cells = row.into_iter();
            let mut next = || cells.next().flatten();
            Found {
                schema: next(),
                table: next().unwrap_or_default(),
                is_view: next().as_deref() == Some("view"),
            }
        });
        let is_own = |name: &str| name.starts_with('_') || name.starts_with("sqlite_");
        let mut found: Vec<Found> = rows.filter(|found| !is_own(&found.table)).collect();
        found.sort_by_key(|found| self.shown(found).to_lowercase());
        Ok(found)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("at", &self.session.shown)
            .finish()
    }
}

/// The batches of an answer.
pub struct Answer {
    schema: SchemaRef,
    reader: Box<dyn RecordBatchReader + Send>,
    /// The answer goes with it.
    _statement: ManagedStatement,
}

impl Answer {
    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Iterator for Answer {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let batch = self.reader.next()?.map_err(|error| {
            Error::new(ErrorKind::Query, "cannot answer the query").because(error.to_string())
        });
        Some(batch.and_then(|batch| {
            let columns = batch.columns().to_vec();
            Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
        }))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Returns the columns without what only the driver understands, but for JSON.
fn readable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let is_json = mixflow_core::batch::is_json(field);
        match is_json && *field.data_type() == DataType::Utf8 {
            true => mixflow_core::batch::json_field(field.name(), field.is_nullable()),
            false => Field::new(field.name(), field.data_type().clone(), field.is_nullable()),
        }
    });
    Schema::new(fields.collect::<Vec<_>>()).into()
}

/// Checks that a query begins with a word that reads.
fn check_reads(dialect: Dialect, sql: &str) -> Result<()> {
    let words: &[&str] = match dialect {
        Dialect::Sqlite => &["SELECT", "WITH", "VALUES", "EXPLAIN"],
        _ => &["SELECT", "WITH", "VALUES", "EXPLAIN", "TABLE", "SHOW"],
    };
    let code = after_blanks(sql);
    let word: String = code
        .trim_start_matches(['(', ' ', '\n', '\t'])
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    if words.contains(&word.to_uppercase().as_str()) {
        return Ok(());
    }
    let message = "cannot answer the query";
    let why = match code.is_empty() {
        true => "it is empty",
        false => "it does more than read, and `query` is read-only",
    };
    Err(Error::new(ErrorKind::Query, message)
        .because(why)
        .hint(format!("begin with one of {}", words.join(", "))))
}

/// Returns the text after white space and comments.
fn after_blanks(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        };
        rest = after.trim_start();
    }
}
