//! The sink: which table of which file, and what a run would do to it.

use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use duckdb::Connection;
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::registry::BuildContext;
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::staged::check_folder;
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::columns::{Found, check_fits, find, sql_type};
use crate::database::Database;
use crate::metadata;
use crate::open::{Access, check_new};
use crate::txn::DuckdbTxn;

/// The options of the sink.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuckdbOptions {
    /// The database file.
    pub path: Option<PathBuf>,
    /// The table; named after the data if not given.
    pub table: Option<String>,
    /// What happens to a table that is there.
    pub mode: Option<WriteMode>,
    /// Whether `replace` and `replace_window` may leave less than half of a
    /// table or day.
    pub allow_shrink: Option<bool>,
}

/// Writes rows into a table of a DuckDB file, in one transaction.
#[derive(Debug)]
pub struct DuckdbSink {
    pub(crate) path: PathBuf,
    /// Whether the path is the default one, whose folder is ours to make.
    pub(crate) default_path: bool,
    pub(crate) mode: WriteMode,
    pub(crate) allow_shrink: bool,
    /// The table; named after what the source reads if it is not given.
    table: Option<String>,
    /// The database, where a store has it open already.
    shared: Option<Database>,
}

impl DuckdbSink {
    /// Checks the options. Makes no I/O.
    pub fn new(options: DuckdbOptions, cx: &BuildContext) -> Result<DuckdbSink, Vec<Invalid>> {
        let mut invalid = Vec::new();
        if let Some(table) = &options.table
            && let Err(message) = check_name(table)
        {
            invalid.push(Invalid::new("table", message));
        }
        let default = match (&cx.home, &cx.store) {
            (Some(home), Some(store)) if options.path.is_none() => Some(default_path(home, store)),
            _ => None,
        };
        let default_path = default.is_some();
        let given = options.path.map(|path| cx.local_path("path", &path));
        let path = match given.transpose() {
            Ok(given) => given.or(default),
            Err(problems) => {
                invalid.extend(problems);
                return Err(invalid);
            }
        };
        match &path {
            None => invalid.push(Invalid::new(
                "path",
                "this is missing, such as `path = \"mixpanel.db\"`; the default is named after the project, which is not known here",
            )),
            // Gone at the end.
            Some(path) if is_in_memory(path) => {
                invalid.push(Invalid::new("path", "a run writes to a file"));
            }
            Some(_) => {}
        }
        match path {
            Some(path) if invalid.is_empty() => Ok(DuckdbSink {
                path,
                default_path,
                mode: options.mode.unwrap_or_default(),
                allow_shrink: options.allow_shrink.unwrap_or(false),
                table: options.table,
                shared: None,
            }),
            _ => Err(invalid),
        }
    }

    /// Checks the options of a sink that writes to a file that is open.
    pub(crate) fn shared(
        options: DuckdbOptions,
        path: PathBuf,
        database: Database,
    ) -> Result<DuckdbSink, Vec<Invalid>> {
        let options = DuckdbOptions {
            path: Some(path),
            ..options
        };
        let sink = DuckdbSink::new(options, &BuildContext::new(jiff::Timestamp::now()))?;
        Ok(DuckdbSink {
            shared: Some(database),
            ..sink
        })
    }

    /// Opens the database, or joins the store that has it open.
    pub(crate) fn database(&self, access: Access) -> Result<Database> {
        match &self.shared {
            Some(database) => database.try_clone(),
            None => Database::open(&self.path, access),
        }
    }

    /// Whether the database is there.
    pub(crate) fn exists(&self) -> bool {
        self.shared.is_some() || self.path.exists()
    }

    /// Returns the table's name for rows of `kind`.
    pub(crate) fn table_for<'a>(&'a self, kind: &'a DataKind) -> &'a str {
        self.table.as_deref().unwrap_or(kind.as_str())
    }

    fn shown_path(&self) -> String {
        self.path.display().to_string()
    }

    /// Says what the run does to what is there, or why it cannot.
    pub(crate) fn check(&self, connection: &Connection, cx: &TxnContext) -> Result<String> {
        let table = self.table_for(&cx.source.dataset.kind);
        let place = format!("the table `{table}` in `{}`", self.shown_path());
        let found = find(connection, table)?;
        if found == Found::View {
            return Err(
                Error::new(ErrorKind::Destination, format!("cannot write {place}"))
                    .because("it is a view")
                    .hint("choose another name with `table`"),
            );
        }
        let exists = found == Found::Table;
        Ok(match self.mode {
            WriteMode::Create if exists => {
                return Err(
                    Error::new(ErrorKind::TableExists, format!("{place} already exists"))
                        .with_remedy(Remedy::DropOrChoose {
                            table: table.to_owned(),
                            database: self.shown_path(),
                        }),
                );
            }
            WriteMode::Append if exists => {
                fits(connection, table, cx)?;
                format!("adds to {place}")
            }
            WriteMode::ReplaceWindow if exists => {
                fits(connection, table, cx)?;
                format!("replaces the fetched days of {place}")
            }
            WriteMode::Replace if exists => format!("replaces {place}"),
            _ => format!("creates {place}"),
        })
    }
}

/// Checks that a run's rows belong into a table that is there.
fn fits(connection: &Connection, table: &str, cx: &TxnContext) -> Result<()> {
    check_fits(connection, table, &cx.schema)?;
    metadata::check_provenance(connection, table, cx)
}

/// Whether DuckDB would keep a database of this name in memory.
fn is_in_memory(path: &Path) -> bool {
    let name = path.as_os_str();
    name.is_empty() || name.as_encoded_bytes().starts_with(b":memory:")
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

impl Sink for DuckdbSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: self.mode == WriteMode::ReplaceWindow,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        Destination::at(&self.path).with_table(self.table_for(kind))
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        self.mode = mode;
        Ok(())
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            sql_type(field)?;
        }
        if self.mode == WriteMode::ReplaceWindow && schema.index_of("event_time").is_err() {
            return Err(Error::new(
                ErrorKind::Config,
                "`replace_window` needs the column `event_time`",
            ));
        }
        Ok(())
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let action = if self.exists() {
            let database = self.database(Access::Read)?;
            database.check_writable(&self.path)?;
            self.check(&database, cx)?
        } else {
            if !self.default_path {
                check_folder(&self.path)?;
            }
            check_new(&self.path)?;
            format!(
                "creates `{}` with the table `{}`",
                self.shown_path(),
                self.table_for(&cx.source.dataset.kind)
            )
        };
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        Ok(Box::new(DuckdbTxn::begin(self, cx)?))
    }
}
