//! Where rows go: which table of which database, and what a run does to it.

use std::path::Path;

use arrow::datatypes::Field;
use mixflow_core::ledger::Scope;
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::{TxnContext, WriteMode, already_exists};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{Relation, check_fits, find};
use crate::dialect::Dialect;
use crate::mend::OnMismatch;
use crate::runs;
use crate::session::{Access, Address, Session};
use crate::shared;
use crate::swap;

/// What stands for the table in `ddl`.
pub(crate) const TABLE: &str = "{table}";

/// A table of a database.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// The table; named after what the source reads if it is not given.
    pub(crate) table: Option<String>,
    pub(crate) mode: WriteMode,
    pub(crate) scope: Scope,
    /// How a new table is made: statements, each with [`TABLE`] in it.
    pub(crate) ddl: Vec<String>,
    pub(crate) on_mismatch: OnMismatch,
    pub(crate) allow_shrink: bool,
    /// Things a person should know of the options.
    pub(crate) warnings: Vec<String>,
}

/// What a run does to what is there.
pub(crate) struct Checked {
    /// In words.
    pub(crate) action: String,
    /// Whether the table is there.
    pub(crate) exists: bool,
    /// The columns that it has to get.
    pub(crate) new_columns: Vec<Field>,
}

impl Target {
    pub(crate) fn dialect(&self) -> Dialect {
        self.address.dialect
    }

    /// Connects for reading; `None` if the database is a file that is not there.
    pub(crate) fn reading(&self, cx: &TxnContext) -> Result<Option<Session>> {
        if self.file().is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        Session::open(&self.address, None, Access::Read, &cx.cancel).map(Some)
    }

    /// Returns the database's file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.address.shown.path.as_deref()
    }

    /// Returns the table's name for rows of `kind`.
    pub(crate) fn table_for<'a>(&'a self, kind: &'a DataKind) -> &'a str {
        self.table.as_deref().unwrap_or(kind.as_str())
    }

    /// Returns the table as messages show it, with its schema.
    pub(crate) fn shown_table(&self, kind: &DataKind) -> String {
        let table = self.table_for(kind);
        match &self.address.schema {
            Some(schema) => format!("{schema}.{table}"),
            None => table.to_owned(),
        }
    }

    /// Returns the table and where it is, as messages show it.
    pub(crate) fn place(&self, kind: &DataKind) -> String {
        let table = self.shown_table(kind);
        format!("the table `{table}` in `{}`", self.address.shown.uri)
    }

    /// Says what the run does to what is there, or why it cannot.
    pub(crate) fn check(&self, session: &Session, cx: &TxnContext) -> Result<Checked> {
        let kind = &cx.source.dataset.kind;
        let (table, place) = (self.table_for(kind), self.place(kind));
        let found = find(session, table)?;
        if found == Relation::View {
            return Err(
                Error::new(ErrorKind::Destination, format!("cannot write {place}"))
                    .because("it is a view")
                    .hint("choose another name with `table`"),
            );
        }
        let exists = found == Relation::Table;
        let told = shared::told(self.scope, cx);
        let mut new_columns = Vec::new();
        let action = match self.mode {
            WriteMode::Create if exists => {
                return Err(already_exists(&place).with_remedy(Remedy::DropOrChoose {
                    table: self.shown_table(kind),
                    database: self.address.shown.uri.clone(),
                }));
            }
            WriteMode::Append if exists => {
                shared::check_append(session, table, &place, self.scope)?;
                new_columns = fits(session, table, &told)?;
                format!("adds to {place}{}", and_adds(&new_columns))
            }
            WriteMode::ReplaceWindow if exists => {
                shared::check_replace(session, table, &place, self.scope, cx)?;
                new_columns = fits(session, table, &told)?;
                let and = and_adds(&new_columns);
                format!("replaces the fetched days of {place}{and}")
            }
            WriteMode::Replace if exists => {
                swap::check(session, table, &place)?;
                format!("replaces {place}")
            }
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
fn fits(session: &Session, table: &str, cx: &TxnContext) -> Result<Vec<Field>> {
    let new = check_fits(session, table, &cx.schema)?;
    if let Some(known) = runs::read(session, table)? {
        known.check_provenance(cx)?;
    }
    Ok(new)
}

/// Says which columns a table gets, if it gets any.
fn and_adds(new: &[Field]) -> String {
    if new.is_empty() {
        return String::new();
    }
    let names: Vec<String> = new.iter().map(|f| format!("`{}`", f.name())).collect();
    format!(", and adds the columns {}", names.join(", "))
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
