//! The sink: its options, and what a run would do.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Invalid, SecretSource};
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{DATASET_COLUMN, Earlier, Ledger, Scope, check_dataset_column};
use mixflow_core::made_of::Existing;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::{
    Capabilities, Exclusive, Preview, RecordFormat, RowCheck, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::staged::{check_folder, folder_of};
use mixflow_core::unit::{DataKind, Dataset};
use mixflow_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::columns::check_columns_of_rows;
use crate::dialect::Dialect;
use crate::driver;
use crate::fate;
use crate::ledger::TableLedger;
use crate::lock;
use crate::made_of;
use crate::mend::{OnMismatch, Unholdable};
use crate::place::{Shown, name_of};
use crate::session::{Access, Address, Session};
use crate::statements::Statements;
use crate::target::{TABLE, Target, check_name};
use crate::txn::AdbcTxn;

/// What SQLite takes of Arrow's bytes a second on a modest machine.
const BYTES_PER_SECOND: u64 = 100_000_000;

/// The options of the sink.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdbcOptions {
    /// The driver: the name of a manifest, or the path of a library or manifest.
    pub driver: Option<String>,
    /// Where the database is; a secret.
    pub uri: Option<SecretSource>,
    /// The table; named after the data if not given.
    pub table: Option<String>,
    /// The schema that the table is in, or is made in.
    pub schema: Option<String>,
    /// What happens to a table that is there.
    pub mode: Option<WriteMode>,
    /// Which rows `replace_window` replaces.
    pub scope: Option<Scope>,
    /// How a new table is made: a statement or several, with `{table}` for its
    /// name.
    pub ddl: Option<Statements>,
    /// Options of the driver's own; each may be a secret.
    #[serde(default)]
    pub options: BTreeMap<String, SecretSource>,
    /// What happens to a text that the database cannot hold.
    pub on_mismatch: Option<OnMismatch>,
    /// Whether `replace` and `replace_window` may leave less than half of a
    /// table or day.
    pub allow_shrink: Option<bool>,
}

/// Writes rows into a table of a database that has an ADBC driver.
#[derive(Debug)]
pub struct AdbcSink {
    target: Target,
}

impl AdbcSink {
    /// Checks the options. Makes no I/O.
    pub fn new(options: AdbcOptions, cx: &BuildContext) -> Result<AdbcSink, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let driver = options.driver.clone().unwrap_or_default();
        if driver.is_empty() {
            invalid.push(Invalid::new(
                "driver",
                "this is missing, such as `driver = \"postgresql\"`",
            ));
            return Err(invalid);
        }
        let dialect = Dialect::of_driver(&driver);
        check_names(&options, dialect, &mut invalid);
        check_mode(options.mode, dialect, &driver, &mut invalid);
        if options.scope == Some(Scope::Filter) && !dialect.is_transactional() {
            let mode = WriteMode::ReplaceWindow;
            invalid.push(Invalid::new("scope", no_such_mode(mode, &driver)));
        }
        let ddl = options.ddl.map(|ddl| ddl.0).unwrap_or_default();
        if ddl.iter().any(|statement| !statement.contains(TABLE)) {
            invalid.push(Invalid::new(
                "ddl",
                "this has no `{table}` in it, which stands for the table's name: `CREATE TABLE {table} (…)`",
            ));
        }
        let mut warnings = Vec::new();
        let shown = shown(options.uri.as_ref(), &driver, dialect, cx, &mut invalid);
        if let Some(SecretSource::Plain(_)) = &options.uri
            && shown.secrets.len() > 1
        {
            warnings.push(
                "the password in `uri` stands in the pipeline file: `uri = { env = \"DATABASE_URL\" }` keeps it out".to_owned(),
            );
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(AdbcSink {
            target: Target {
                address: Address {
                    driver,
                    dialect,
                    uri: options.uri,
                    options: options.options,
                    schema: options.schema,
                    env: cx.env.clone(),
                    shown,
                },
                table: options.table,
                mode: options.mode.unwrap_or_default(),
                scope: options.scope.unwrap_or_default(),
                ddl,
                on_mismatch: options.on_mismatch.unwrap_or_default(),
                allow_shrink: options.allow_shrink.unwrap_or(false),
                warnings,
            },
        })
    }

    /// Says what the database cannot promise.
    fn caveat(&self) -> Option<String> {
        (!self.target.dialect().is_transactional()).then(|| {
            format!(
                "nothing is known of transactions of `{}`: rows go into a table beside it, and from there in one statement; what is in the ledger is written after that",
                name_of(&self.target.address.driver)
            )
        })
    }
}

fn check_names(options: &AdbcOptions, dialect: Dialect, invalid: &mut Vec<Invalid>) {
    if let Some(table) = &options.table {
        if let Err(message) = check_name(table) {
            invalid.push(Invalid::new("table", message));
        } else if *dialect.name(table) != **table {
            invalid.push(Invalid::new("table", "Postgres takes names of 63 bytes"));
        }
    }
    match &options.schema {
        Some(_) if dialect == Dialect::Sqlite => {
            invalid.push(Invalid::new(
                "schema",
                "SQLite has no schemas: leave this out",
            ));
        }
        Some(schema) if schema.is_empty() || schema.contains('\0') => {
            invalid.push(Invalid::new("schema", "this is no name"));
        }
        Some(schema) if *dialect.name(schema) != **schema => {
            invalid.push(Invalid::new("schema", "Postgres takes names of 63 bytes"));
        }
        _ => {}
    }
}

fn check_mode(mode: Option<WriteMode>, dialect: Dialect, driver: &str, invalid: &mut Vec<Invalid>) {
    if let Some(mode @ (WriteMode::Replace | WriteMode::ReplaceWindow)) = mode
        && !dialect.is_transactional()
    {
        invalid.push(Invalid::new("mode", no_such_mode(mode, driver)));
    }
}

fn no_such_mode(mode: WriteMode, driver: &str) -> String {
    format!(
        "`{}` needs transactions, which are relied upon with postgresql, sqlite and duckdb only; `{}` takes `create` and `append`",
        mode.as_str(),
        name_of(driver)
    )
}

/// Returns where the database is, as far as that is known without I/O.
fn shown(
    uri: Option<&SecretSource>,
    driver: &str,
    dialect: Dialect,
    cx: &BuildContext,
    invalid: &mut Vec<Invalid>,
) -> Shown {
    let unknown = |from: &str| Shown {
        uri: format!("{} ({from})", name_of(driver)),
        ..Shown::default()
    };
    let shown = match uri {
        None if dialect == Dialect::Other => unknown("by its options"),
        None => {
            invalid.push(Invalid::new(
                "uri",
                "this is missing, such as `uri = { env = \"DATABASE_URL\" }`",
            ));
            Shown::default()
        }
        Some(SecretSource::File(path)) => unknown(&format!("URI in {}", path.display())),
        Some(SecretSource::Command(_)) => unknown("URI by a command"),
        Some(source @ (SecretSource::Plain(_) | SecretSource::Env(_))) => {
            // Where the variable is not set, a run says so; a check needs none.
            match source.resolve("uri", &cx.env, &CancelToken::never()) {
                Ok(text) => Shown::of(dialect, driver, text.expose(), cx.home.as_deref()),
                Err(_) => unknown("URI unknown"),
            }
        }
    };
    if dialect.is_file() && shown.path.is_none() && uri.is_some() {
        // What a secret hides cannot be locked, nor made where nobody looks.
        if !matches!(uri, Some(SecretSource::Env(_))) {
            invalid.push(Invalid::new(
                "uri",
                "a file's path is no secret: write it here, or name a variable with `env`",
            ));
        }
    }
    if shown.path.as_ref().is_some_and(|path| {
        let text = path.as_os_str().as_encoded_bytes();
        text.is_empty() || text.starts_with(b":memory:")
    }) {
        invalid.push(Invalid::new("uri", "a run writes to a file"));
    }
    shown
}

impl Sink for AdbcSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: self.target.dialect().is_transactional(),
            replaces_days: self.target.mode == WriteMode::ReplaceWindow,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        let shown = &self.target.address.shown;
        let place = match &shown.path {
            Some(path) => Destination::at(path),
            None => Destination::named(&shown.uri),
        };
        place.with_table(self.target.shown_table(kind))
    }

    fn earlier(&self) -> Earlier {
        match self.target.mode {
            WriteMode::Append => Earlier::Stay,
            WriteMode::ReplaceWindow => Earlier::GoByDay,
            WriteMode::Create | WriteMode::Replace => Earlier::Go,
        }
    }

    fn ledger(&self, dataset: &Dataset) -> Result<Option<Ledger>> {
        if self.target.file().is_some_and(|file| !file.exists()) {
            return Ok(Some(Ledger::default()));
        }
        let address = &self.target.address;
        let session = Session::open(address, None, Access::Read, &CancelToken::never())?;
        let table = self.target.table_for(&dataset.kind);
        TableLedger::new(&session, table).read(dataset).map(Some)
    }

    fn has_committed(&self, run_id: &str, kind: &DataKind) -> Result<Option<bool>> {
        if self.target.file().is_some_and(|file| !file.exists()) {
            return Ok(Some(false));
        }
        fate::look_back(&self.target.address, self.target.table_for(kind), run_id).map(Some)
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        if !self.target.dialect().is_transactional()
            && matches!(mode, WriteMode::Replace | WriteMode::ReplaceWindow)
        {
            let message = no_such_mode(mode, &self.target.address.driver);
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.target.mode = mode;
        Ok(())
    }

    fn existing(&self, cx: &TxnContext) -> Result<Existing> {
        let stay = matches!(
            self.target.mode,
            WriteMode::Append | WriteMode::ReplaceWindow
        );
        let Some(session) = self.target.reading(cx)? else {
            return Ok(Existing::default());
        };
        let table = self.target.table_for(&cx.source.dataset.kind);
        let mut existing = made_of::existing(&session, table, stay)?;
        // A table that several datasets share has it.
        let ours = Field::new(DATASET_COLUMN, DataType::Null, true);
        existing
            .columns
            .retain(|column| column.name() != DATASET_COLUMN);
        existing.columns.push(ours);
        Ok(existing)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        check_columns_of_rows(self.target.dialect(), schema)?;
        check_dataset_column(schema)?;
        if self.target.mode == WriteMode::ReplaceWindow && schema.index_of("event_time").is_err() {
            return Err(Error::new(
                ErrorKind::Config,
                "`replace_window` needs the column `event_time`",
            ));
        }
        Ok(())
    }

    fn row_check(&self) -> Option<Arc<dyn RowCheck>> {
        let rejects = self.target.dialect() == Dialect::Postgres
            && self.target.on_mismatch == OnMismatch::Reject;
        rejects.then(|| Arc::new(Unholdable) as Arc<dyn RowCheck>)
    }

    fn check_machine(&self) -> Result<()> {
        driver::load(&self.target.address.driver)?;
        if let Some(caveat) = self.caveat() {
            log::warn!("{caveat}");
        }
        Ok(())
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let kind = &cx.source.dataset.kind;
        let action = match self.target.reading(cx)? {
            Some(session) => {
                lock::check_free(&session, self.target.table_for(kind))?;
                self.target.check(&session, cx)?.action
            }
            None => {
                // That it can be loaded is known before the first request, too.
                driver::load(&self.target.address.driver)?;
                if let Some(file) = self.target.file() {
                    check_folder(file)?;
                }
                let table = self.target.table_for(kind);
                let shown = &self.target.address.shown.uri;
                format!("creates `{shown}` with the table `{table}`")
            }
        };
        let actions = [action].into_iter().chain(self.caveat());
        Ok(Preview {
            actions: actions.collect(),
        })
    }

    fn reserve(&self, cx: &TxnContext) -> Result<Option<Box<dyn Any>>> {
        let table = self.target.table_for(&cx.source.dataset.kind);
        let turn = lock::Turn::take(&self.target.address, table, cx)?;
        Ok(turn.map(|turn| Box::new(turn) as Box<dyn Any>))
    }

    fn exclusive(&self) -> Option<Exclusive> {
        // A new file is made where nobody looks.
        let file = std::fs::canonicalize(self.target.file()?).ok()?;
        Some(Exclusive {
            bytes_per_second: BYTES_PER_SECOND,
            folder: folder_of(&file).to_owned(),
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        Ok(Box::new(AdbcTxn::begin(&self.target, cx)?))
    }
}
