//! The sink: what a run would do to the table that is there.

use std::path::Path;
use std::rc::Rc;

use arrow::datatypes::{DataType, Field, Schema};
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{Earlier, Ledger, Scope};
use mixflow_core::made_of::{Existing, made_of};
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Removed, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::unit::{DataKind, Dataset};
use mixflow_core::whole_file::{FileForm, FilePlace};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Location, StoreOptions};
use mixflow_sink_parquet::Compression;
use mixflow_sink_parquet::files::{DAY_COLUMN, keep_memory, properties};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::Check;
use crate::columns::{DATE, has_day, row_field, stored, struct_of, table_fields, with_statistics};
use crate::files::Form;
use crate::form::TableForm;
use crate::going::Replacement;
use crate::leftovers::sweep;
use crate::place::Place;
use crate::table::Table;
use crate::txn::DeltaTxn;

/// The options of the sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeltaOptions {
    /// A folder, or one in a bucket: `s3://bucket/events`.
    pub path: String,
    /// What happens to what is there.
    pub mode: Option<WriteMode>,
    /// Whether each day is a partition.
    pub partition_by: Option<PartitionBy>,
    /// Which server has the bucket, if not that of the service.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// Whether `replace` and `replace_window` may leave less than half of what
    /// is there, or of a day.
    pub allow_shrink: Option<bool>,
    /// Whose rows of a day `replace_window` replaces.
    pub scope: Option<Scope>,
}

/// How rows are spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// By the UTC day of `event_time`.
    Date,
    /// Not at all.
    None,
}

/// Writes rows into a Delta table.
#[derive(Debug)]
pub struct DeltaSink {
    location: Location,
    store: StoreOptions,
    replacement: Replacement,
    partition_by: Option<PartitionBy>,
}

impl DeltaSink {
    /// Checks the options; `home` is what `~` stands for. Makes no I/O.
    pub fn new(options: DeltaOptions, home: Option<&Path>) -> Result<DeltaSink, Vec<Invalid>> {
        let refuse = |key: &str, why: &str| vec![Invalid::new(key, why)];
        let location = Location::parse(&options.path, home).map_err(|why| refuse("path", &why))?;
        match location.folder() {
            Some(folder) if folder.file_name().is_none() => {
                return Err(refuse("path", "this names no folder of its own"));
            }
            Some(_) if options.endpoint.is_some() || options.region.is_some() => {
                let key = if options.endpoint.is_some() {
                    "endpoint"
                } else {
                    "region"
                };
                return Err(refuse(key, "a folder of this machine has none"));
            }
            _ => {}
        }
        Ok(DeltaSink {
            location,
            store: StoreOptions {
                endpoint: options.endpoint,
                region: options.region,
            },
            replacement: Replacement {
                mode: options.mode.unwrap_or_default(),
                scope: options.scope.unwrap_or_default(),
                allow_shrink: options.allow_shrink.unwrap_or(false),
            },
            partition_by: options.partition_by,
        })
    }

    fn place(&self) -> Result<Rc<Place>> {
        Place::open(&self.location, &self.store).map(Rc::new)
    }

    fn by_date(&self, schema: &Schema) -> bool {
        match self.partition_by {
            Some(by) => by == PartitionBy::Date,
            None => has_day(schema),
        }
    }

    fn check(&self, schema: &Schema) -> Check {
        Check {
            replacement: self.replacement,
            by_date: self.by_date(schema),
            has_day: has_day(schema),
        }
    }

    /// Returns how files are written.
    fn form(&self, cx: &TxnContext) -> Result<Form> {
        let by_date = self.by_date(&cx.schema);
        let fields = table_fields(&cx.schema, by_date)?;
        Ok(Form {
            schema: stored(&cx.schema, by_date)?,
            with_statistics: with_statistics(&fields),
            columns: struct_of(fields)?,
            properties: properties(cx, Compression::default()),
            cancel: cx.cancel.clone(),
        })
    }

    fn mode(&self) -> WriteMode {
        self.replacement.mode
    }
}

impl Sink for DeltaSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: self.mode() == WriteMode::ReplaceWindow,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        match &self.location {
            Location::Folder(folder) => Destination::at(folder),
            Location::Bucket(_) => Destination::named(self.location.to_string())
                .with_service(self.store.service(&self.location)),
        }
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        self.replacement.mode = mode;
        Ok(())
    }

    fn ledger(&self, dataset: &Dataset) -> Result<Option<Ledger>> {
        let place = self.place()?;
        if !place.is_there() {
            return Ok(Some(Ledger::default()));
        }
        let Some(table) = Table::look(&place)? else {
            return Ok(Some(Ledger::default()));
        };
        Ok(Some(table.held(&place)?.of(dataset)))
    }

    fn earlier(&self) -> Earlier {
        match self.mode() {
            WriteMode::Append => Earlier::Stay,
            WriteMode::ReplaceWindow => Earlier::GoByDay,
            WriteMode::Create | WriteMode::Replace => Earlier::Go,
        }
    }

    fn existing(&self, cx: &TxnContext) -> Result<Existing> {
        let mut existing = Existing::default();
        let place = self.place()?;
        let table = if place.is_there() {
            Table::look(&place)?
        } else {
            None
        };
        let stay = matches!(self.mode(), WriteMode::Append | WriteMode::ReplaceWindow);
        for column in table.iter().flat_map(Table::columns) {
            let field = row_field(&column);
            if let Some(path) = made_of(&field) {
                existing.names.push((path.to_owned(), field.name().clone()));
            }
            if stay {
                existing.columns.push(field);
            }
        }
        if self.by_date(&cx.schema) {
            existing
                .columns
                .push(Field::new(DATE, DataType::Null, true));
        }
        Ok(existing)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let needs_day =
            self.partition_by == Some(PartitionBy::Date) || self.mode() == WriteMode::ReplaceWindow;
        if needs_day && !has_day(schema) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("days of a Delta table need the column `{DAY_COLUMN}`"),
            ));
        }
        table_fields(schema, self.by_date(schema)).map(drop)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let place = self.place()?;
        let table = Table::look(&place)?;
        let action = self.check(&cx.schema).preview(&place, table.as_ref(), cx)?;
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn file_form(&self, cx: &TxnContext, place: &FilePlace) -> Result<Option<Box<dyn FileForm>>> {
        let is_near = match (&self.location, place) {
            (Location::Folder(_), FilePlace::Local(_)) => true,
            (Location::Bucket(_), FilePlace::Bucket { .. }) => {
                self.location.open(&self.store)?.path_of(place).is_some()
            }
            _ => false,
        };
        if !is_near {
            return Ok(None);
        }
        Ok(Some(Box::new(TableForm::new(self.form(cx)?, cx))))
    }

    fn vacuum(&self) -> Result<Removed> {
        let place = self.place()?;
        if !place.is_there() {
            return Ok(Removed::default());
        }
        let table = Table::look(&place)?;
        let removed = sweep(&place, table.as_ref())?;
        if let (None, Some(folder)) = (table, place.folder()) {
            // A first run has made it, if it is empty now.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(removed)
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        keep_memory();
        let place = self.place()?;
        let table = Table::look(&place)?;
        let check = self.check(&cx.schema);
        check.preview(&place, table.as_ref(), cx)?;
        place.probe()?;
        sweep(&place, table.as_ref())?;
        let form = self.form(cx)?;
        let txn = DeltaTxn::begin(place, check, self.replacement, table.as_ref(), form, cx)?;
        Ok(Box::new(txn))
    }
}
