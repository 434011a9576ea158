//! Where rows go: which table of which file, and what a run does to it.

use std::path::{Path, PathBuf};

use arrow::datatypes::Field;
use duckdb::Connection;
use mixflow_core::ledger::Scope;
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::{TxnContext, WriteMode, already_exists};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{Relation, check_fits, find};
use crate::database::Database;
use crate::datasets;
use crate::metadata;
use crate::open::{Access, failed};
use crate::storage::StorageVersion;

/// A table of a database.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// Whether the path is the default one, whose folder is ours to make.
    pub(crate) default_path: bool,
    pub(crate) mode: WriteMode,
    pub(crate) allow_shrink: bool,
    /// Which rows of its days `replace_window` replaces.
    pub(crate) scope: Scope,
    /// The storage version of a new file, where one was asked for.
    pub(crate) storage_version: Option<StorageVersion>,
    /// Whether table macros are left in the database.
    pub(crate) macros: bool,
    /// The table; named after what the source reads if it is not given.
    pub(crate) table: Option<String>,
    /// The database, where a store has it open already.
    pub(crate) shared: Option<Database>,
}

/// What a run does to what is there.
pub(crate) struct Checked<'s> {
    /// In words.
    pub(crate) action: String,
    /// Whether the table is there.
    pub(crate) exists: bool,
    /// The columns that it has to get.
    pub(crate) new_columns: Vec<&'s Field>,
}

impl Target {
    /// Opens the database, or joins the store that has it open.
    pub(crate) fn database(&self, access: Access) -> Result<Database> {
        match &self.shared {
            Some(database) => database.try_clone(),
            None => Database::open(&self.path, access),
        }
    }

    /// Makes the database, at `path` until it is whole.
    pub(crate) fn new_database(&self, path: &Path) -> Result<Database> {
        let version = self.storage_version.clone().unwrap_or_default();
        Database::create(path, &version)
    }

    /// Returns what people should know of how the file that is there is stored.
    pub(crate) fn storage_warning(&self, connection: &Connection) -> Result<Option<String>> {
        let Some(wanted) = &self.storage_version else {
            return Ok(None);
        };
        let (of_file, newest): (Option<String>, String) = connection
            .query_row(
                "SELECT (SELECT tags['storage_version'] FROM duckdb_databases() \
                 WHERE database_name = current_database()), library_version \
                 FROM pragma_version()",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(failed("look up the storage version"))?;
        Ok(of_file.and_then(|of_file| wanted.difference(&self.path, &of_file, &newest)))
    }

    /// Whether the database is there.
    pub(crate) fn exists(&self) -> bool {
        self.shared.is_some() || self.path.exists()
    }

    /// Returns the table's name for rows of `kind`.
    pub(crate) fn table_for<'a>(&'a self, kind: &'a DataKind) -> &'a str {
        self.table.as_deref().unwrap_or(kind.as_str())
    }

    /// Returns the path as messages show it.
    pub(crate) fn shown_path(&self) -> String {
        self.path.display().to_string()
    }

    /// Says what the run does to what is there, or why it cannot.
    pub(crate) fn check<'s>(
        &self,
        connection: &Connection,
        cx: &'s TxnContext,
    ) -> Result<Checked<'s>> {
        let table = self.table_for(&cx.source.dataset.kind);
        let place = format!("the table `{table}` in `{}`", self.shown_path());
        let found = find(connection, table)?;
        if found == Relation::View {
            return Err(
                Error::new(ErrorKind::Destination, format!("cannot write {place}"))
                    .because("it is a view")
                    .hint("choose another name with `table`"),
            );
        }
        let exists = found == Relation::Table;
        let mut new_columns = Vec::new();
        let action = match self.mode {
            WriteMode::Create if exists => {
                return Err(already_exists(&place).with_remedy(Remedy::DropOrChoose {
                    table: table.to_owned(),
                    database: self.shown_path(),
                }));
            }
            WriteMode::Append if exists => {
                new_columns = fits(connection, table, cx)?;
                if datasets::is_shared(connection, table)? {
                    datasets::check(connection, table, &place, self.scope, &cx.source.dataset)?;
                }
                format!("adds to {place}{}", and_adds(&new_columns))
            }
            WriteMode::ReplaceWindow if exists => {
                new_columns = fits(connection, table, cx)?;
                datasets::check(connection, table, &place, self.scope, &cx.source.dataset)?;
                format!(
                    "replaces the fetched days of {place}{}",
                    and_adds(&new_columns)
                )
            }
            WriteMode::Replace if exists => format!("replaces {place}"),
            _ => format!("creates {place}"),
        };
        Ok(Checked {
            action,
            exists,
            new_columns,
        })
    }
}

/// Checks that a run's rows belong into a table that is there, and returns the
/// columns that it has to get for them.
fn fits<'s>(connection: &Connection, table: &str, cx: &'s TxnContext) -> Result<Vec<&'s Field>> {
    let new = check_fits(connection, table, &cx.schema)?;
    metadata::check_provenance(connection, table, cx)?;
    Ok(new)
}

/// Says which columns a table gets, if it gets any.
fn and_adds(new: &[&Field]) -> String {
    if new.is_empty() {
        return String::new();
    }
    let names: Vec<String> = new.iter().map(|f| format!("`{}`", f.name())).collect();
    format!(", and adds the columns {}", names.join(", "))
}

/// Returns where a project's database is unless said otherwise.
pub fn default_path(home: &Path, project: &str) -> PathBuf {
    home.join(".mixpanel_data").join(format!("{project}.db"))
}

/// Checks a table's name: what INTERFACE promises, so that no quoting is ever
/// needed in a user's SQL, and nothing collides with ours.
pub(crate) fn check_name(table: &str) -> Result<(), &'static str> {
    if table.starts_with('_') {
        return Err("names that begin with `_` are mixflow's own");
    }
    let mut bytes = table.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        Ok(())
    } else {
        Err("a table's name is a letter followed by letters, digits and `_`")
    }
}
