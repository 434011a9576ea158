//! The sink: which table of which file, and what a run would do to it.

use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Field, Schema};
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{DATASET_COLUMN, Earlier, Ledger, Scope, check_dataset_column};
use mixflow_core::made_of::Existing;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::{
    Capabilities, Exclusive, Preview, RecordFormat, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::staged::{check_folder, folder_of};
use mixflow_core::unit::{DataKind, Dataset};
use mixflow_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::columns::sql_type;
use crate::database::Database;
use crate::ledger::TableLedger;
use crate::made_of;
use crate::open::{Access, check_new};
use crate::storage::StorageVersion;
use crate::target::{Target, check_name, default_path};
use crate::txn::DuckdbTxn;

/// What DuckDB takes of Arrow's bytes a second, of events, on one core: 200 to
/// 400 MB were measured.
const BYTES_PER_SECOND: u64 = 200_000_000;

/// The options of the sink.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
    /// Which rows of its days `replace_window` replaces.
    pub scope: Option<Scope>,
    /// The oldest DuckDB that is to open a file which is made new, such as
    /// `v1.2.0`, or `latest`.
    pub storage_version: Option<String>,
    /// Whether table macros for who asks it are left in the database.
    pub macros: Option<bool>,
}

/// Writes rows into a table of a DuckDB file, in one transaction.
#[derive(Debug)]
pub struct DuckdbSink {
    target: Target,
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
        let version = options.storage_version.as_deref();
        let storage_version = version.map(StorageVersion::new).transpose();
        let storage_version = storage_version.unwrap_or_else(|message| {
            invalid.push(Invalid::new("storage_version", message));
            None
        });
        match path {
            Some(path) if invalid.is_empty() => Ok(DuckdbSink {
                target: Target {
                    path,
                    default_path,
                    mode: options.mode.unwrap_or_default(),
                    allow_shrink: options.allow_shrink.unwrap_or(false),
                    scope: options.scope.unwrap_or_default(),
                    storage_version,
                    macros: options.macros.unwrap_or(true),
                    table: options.table,
                    shared: None,
                },
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
        let mut sink = DuckdbSink::new(options, &BuildContext::new(jiff::Timestamp::now()))?;
        sink.target.shared = Some(database);
        Ok(sink)
    }
}

/// Whether DuckDB would keep a database of this name in memory.
fn is_in_memory(path: &Path) -> bool {
    let name = path.as_os_str();
    name.is_empty() || name.as_encoded_bytes().starts_with(b":memory:")
}

impl Sink for DuckdbSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: self.target.mode == WriteMode::ReplaceWindow,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        Destination::at(&self.target.path).with_table(self.target.table_for(kind))
    }

    fn earlier(&self) -> Earlier {
        match self.target.mode {
            WriteMode::Append => Earlier::Stay,
            WriteMode::ReplaceWindow => Earlier::GoByDay,
            WriteMode::Create | WriteMode::Replace => Earlier::Go,
        }
    }

    fn ledger(&self, dataset: &Dataset) -> Result<Option<Ledger>> {
        if !self.target.exists() {
            return Ok(Some(Ledger::default()));
        }
        let database = self.target.database(Access::Read)?;
        let table = self.target.table_for(&dataset.kind);
        TableLedger::new(&database, table).read(dataset).map(Some)
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        self.target.mode = mode;
        Ok(())
    }

    fn existing(&self, cx: &TxnContext) -> Result<Existing> {
        let stay = matches!(
            self.target.mode,
            WriteMode::Append | WriteMode::ReplaceWindow
        );
        let mut existing = if self.target.exists() {
            let database = self.target.database(Access::Read)?;
            let table = self.target.table_for(&cx.source.dataset.kind);
            made_of::existing(&database, table, stay)?
        } else {
            Existing::default()
        };
        // A table that several datasets share has it.
        let ours = Field::new(DATASET_COLUMN, DataType::Null, true);
        existing.columns.push(ours);
        Ok(existing)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            sql_type(field)?;
        }
        check_dataset_column(schema)?;
        if self.target.mode == WriteMode::ReplaceWindow && schema.index_of("event_time").is_err() {
            return Err(Error::new(
                ErrorKind::Config,
                "`replace_window` needs the column `event_time`",
            ));
        }
        Ok(())
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let action = if self.target.exists() {
            let database = self.target.database(Access::Read)?;
            database.check_writable(&self.target.path)?;
            self.target.check(&database, cx)?.action
        } else {
            if !self.target.default_path {
                check_folder(&self.target.path)?;
            }
            check_new(&self.target.path)?;
            format!(
                "creates `{}` with the table `{}`",
                self.target.shown_path(),
                self.target.table_for(&cx.source.dataset.kind)
            )
        };
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn exclusive(&self) -> Option<Exclusive> {
        // A new file is made where nobody looks, and one that this process has
        // open is shut to others already.
        if self.target.shared.is_some() {
            return None;
        }
        let file = std::fs::canonicalize(&self.target.path).ok()?;
        Some(Exclusive {
            bytes_per_second: BYTES_PER_SECOND,
            folder: folder_of(&file).to_owned(),
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        Ok(Box::new(DuckdbTxn::begin(&self.target, cx)?))
    }
}
