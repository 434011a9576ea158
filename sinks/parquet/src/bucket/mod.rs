//! Parquet in a bucket: one object, or a folder with objects for each day.
//!
//! One object appears whole. A folder has no such moment, as a bucket has nothing
//! to swap: what is new is staged under names that readers skip, copied to its
//! place, counts when the ledger names it, and what it replaces goes at last. A
//! reader who takes all there is may see a day twice between the two; one who goes
//! by the ledger does not.

mod folder;
mod found;
mod object;
#[cfg(test)]
mod race_tests;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use arrow::datatypes::{DataType, Field, Schema};
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{Earlier, Ledger, check_scope};
use mixflow_core::made_of::Existing;
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Removed, Sink, SinkTxn, TxnContext, WriteMode,
    already_exists,
};
use mixflow_core::unit::{DataKind, Dataset};
use mixflow_core::whole_file::{FileForm, FilePlace};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Location, Objects, StoreOptions};

use crate::days::{DAY_COLUMN, has_day};
use crate::existing::existing;
use crate::fits::Fits;
use crate::form::Form;
use crate::going::Replacement;
use crate::sink::{ParquetOptions, PartitionBy};
use crate::times::Times;
use crate::writer::{self, Compression};

use folder::FolderTxn;
use found::Folder;
use object::{ObjectTxn, check_new};

/// Writes rows into Parquet objects of a bucket.
#[derive(Debug)]
pub(crate) struct BucketSink {
    location: Location,
    store: StoreOptions,
    /// What happens at the store.
    #[cfg(test)]
    script: Option<mixflow_objects::testing::Script>,
    /// Whether it is one object.
    whole: bool,
    by_day: Option<bool>,
    compression: Compression,
    replacement: Replacement,
}

impl BucketSink {
    /// Checks the options, whose `path` is the address of a bucket. Makes no I/O.
    pub(crate) fn new(options: ParquetOptions) -> Result<BucketSink, Vec<Invalid>> {
        let refuse = |key: &str, why: &str| vec![Invalid::new(key, why)];
        let text = options.path.to_string_lossy();
        let location = Location::parse(&text, None).map_err(|why| refuse("path", &why))?;
        let by_day = options.partition_by.map(|by| by == PartitionBy::Date);
        let mode = options.mode.unwrap_or_default();
        let whole = text.to_ascii_lowercase().ends_with(".parquet") && by_day != Some(true);
        check_mode(whole, mode, by_day).map_err(|why| refuse("mode", why))?;
        Ok(BucketSink {
            location,
            store: StoreOptions {
                endpoint: options.endpoint,
                region: options.region,
            },
            #[cfg(test)]
            script: None,
            whole,
            by_day,
            compression: options.compression.unwrap_or_default(),
            replacement: Replacement {
                mode,
                scope: options.scope.unwrap_or_default(),
                allow_shrink: options.allow_shrink.unwrap_or(false),
            },
        })
    }

    fn open(&self) -> Result<Objects> {
        let objects = self.location.open(&self.store)?;
        #[cfg(test)]
        if let Some(script) = &self.script {
            return Ok(script.over(objects));
        }
        Ok(objects)
    }

    fn mode(&self) -> WriteMode {
        self.replacement.mode
    }

    fn by_day(&self, schema: &Schema) -> bool {
        self.by_day.unwrap_or_else(|| has_day(schema))
    }

    /// Says what a run does to the folder, or why it cannot.
    fn preview_folder(&self, folder: &Folder, cx: &TxnContext) -> Result<String> {
        let shown = format!("the folder `{}`", self.location);
        let mode = self.mode();
        if folder.tables().next().is_none() {
            return Ok(format!("creates {shown}"));
        }
        match mode {
            WriteMode::Create => {
                return Err(already_exists(&shown).hint(
                    "choose another path, or set `mode` to `append`, `replace` or `replace_window`",
                ));
            }
            WriteMode::Replace => return Ok(format!("replaces {shown}")),
            WriteMode::Append | WriteMode::ReplaceWindow => {}
        }
        let fits = Fits::new(&cx.schema, Times::Utc, self.by_day(&cx.schema), mode)?;
        let root = PathBuf::from(self.location.to_string());
        for found in folder.last() {
            fits.check_layout(&root, found)?;
            let file = self.location.join(&found.path.to_string_lossy());
            fits.check_file(&file.to_string(), &folder.footer(&found.path)?, cx)?;
        }
        if mode == WriteMode::Append {
            return Ok(format!("adds files to {shown}"));
        }
        let theirs = folder.ledger.datasets();
        check_scope(&shown, self.replacement.scope, &cx.source.dataset, &theirs)?;
        Ok(format!("replaces the fetched days in {shown}"))
    }
}

/// Checks that an object or a folder can be written so.
fn check_mode(whole: bool, mode: WriteMode, by_day: Option<bool>) -> Result<(), &'static str> {
    match mode {
        WriteMode::Append if whole => Err(
            "a Parquet object cannot be added to; a folder can: leave `.parquet` out of the path",
        ),
        WriteMode::ReplaceWindow if whole => Err(
            "days can be replaced in a folder only: leave `.parquet` out of the path, or set `partition_by = \"date\"`",
        ),
        WriteMode::ReplaceWindow if by_day == Some(false) => {
            Err("`replace_window` needs `partition_by = \"date\"`")
        }
        _ => Ok(()),
    }
}

impl Sink for BucketSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: self.mode() == WriteMode::ReplaceWindow,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::named(self.location.to_string())
            .with_service(self.store.service(&self.location))
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        check_mode(self.whole, mode, self.by_day)
            .map_err(|why| Error::new(ErrorKind::Config, why))?;
        self.replacement.mode = mode;
        Ok(())
    }

    fn ledger(&self, dataset: &Dataset) -> Result<Option<Ledger>> {
        if self.whole {
            return Ok(None);
        }
        let folder = Folder::look(&self.open()?)?;
        Ok(Some(folder.ledger.of(dataset)))
    }

    fn earlier(&self) -> Earlier {
        match self.mode() {
            WriteMode::Append => Earlier::Stay,
            WriteMode::ReplaceWindow => Earlier::GoByDay,
            WriteMode::Create | WriteMode::Replace => Earlier::Go,
        }
    }

    fn existing(&self, cx: &TxnContext) -> Result<Existing> {
        let objects = self.open()?;
        if self.whole {
            let there = objects.size("")?.is_some();
            return existing(
                there.then(|| found::footer(&objects, "")).into_iter(),
                false,
            );
        }
        let stay = matches!(self.mode(), WriteMode::Append | WriteMode::ReplaceWindow);
        let mut existing = Folder::look(&objects)?.existing(stay)?;
        if self.by_day(&cx.schema) {
            // Readers have a column of the folders' names.
            existing
                .columns
                .push(Field::new("date", DataType::Null, true));
        }
        Ok(existing)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let needs_day =
            !self.whole && (self.by_day == Some(true) || self.mode() == WriteMode::ReplaceWindow);
        if needs_day && !has_day(schema) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("folders by date need the column `{DAY_COLUMN}`"),
            ));
        }
        writer::check_schema(schema)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let objects = self.open()?;
        let action = if self.whole {
            let creates = self.mode() == WriteMode::Create;
            check_new(&objects, creates)?;
            match objects.size("")? {
                Some(_) => format!("replaces `{}`", self.location),
                None => format!("creates `{}`", self.location),
            }
        } else {
            self.preview_folder(&Folder::look(&objects)?, cx)?
        };
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn file_form(&self, cx: &TxnContext, place: &FilePlace) -> Result<Option<Box<dyn FileForm>>> {
        if self.whole || self.open()?.path_of(place).is_none() {
            return Ok(None);
        }
        Ok(Some(Box::new(Form::of_new_folder(cx, self.compression))))
    }

    fn vacuum(&self) -> Result<Removed> {
        if self.whole {
            return object::sweep(&self.open()?);
        }
        let objects = self.open()?;
        sweep::sweep(&objects, &Folder::look(&objects)?)
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        writer::keep_memory();
        let properties = writer::properties(cx, self.compression);
        let cx = &TxnContext {
            schema: Times::Utc.stored(&cx.schema),
            ..cx.clone()
        };
        let objects = self.open()?.until(&cx.cancel);
        let shrinks = self.replacement.allow_shrink;
        if self.whole {
            let creates = self.mode() == WriteMode::Create;
            let txn = ObjectTxn::begin(objects, creates, shrinks, cx, &properties)?;
            return Ok(Box::new(txn));
        }
        let folder = Folder::look(&objects)?;
        self.preview_folder(&folder, cx)?;
        objects.probe()?;
        sweep::sweep(&objects, &folder)?;
        let txn = FolderTxn::begin(self, objects, folder, cx, properties);
        Ok(Box::new(txn))
    }
}
