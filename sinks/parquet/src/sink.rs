//! The sink: which layout, and what a run would do to what is there.

use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Field, Schema};
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::{Earlier, Ledger, Scope, check_scope};
use mixflow_core::made_of::Existing;
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Removed, Sink, SinkTxn, TxnContext, WriteMode,
    already_exists,
};
use mixflow_core::source::SourceInfo;
use mixflow_core::staged::{FileMode, check_folder, sweep};
use mixflow_core::unit::{DataKind, Dataset};
use mixflow_core::whole_file::{FileForm, FilePlace};
use mixflow_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::days::{DAY_COLUMN, has_day, whole_days, zone_of};
use crate::existing::existing;
use crate::file::FileTxn;
use crate::fits;
use crate::folder::FolderTxn;
use crate::footer::footer;
use crate::form::Form;
use crate::going::{Going, Replacement};
use crate::ledger::FileLedger;
use crate::times::Times;
use crate::tree::{self, Found};
use crate::writer::{self, Compression};

/// The options of the sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {
    /// A file if it ends in `.parquet`, else a folder; also one in a bucket, such as
    /// `s3://bucket/events`.
    pub path: PathBuf,
    /// What happens to what is there.
    pub mode: Option<WriteMode>,
    /// How pages are compressed.
    pub compression: Option<Compression>,
    /// Whether each day has a folder.
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

/// How rows are spread over folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// By the UTC day of `event_time`.
    Date,
    /// Not at all.
    None,
}

/// Writes rows into Parquet files.
#[derive(Debug)]
pub struct ParquetSink {
    path: PathBuf,
    layout: Layout,
    compression: Compression,
    allow_shrink: bool,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    File(FileMode),
    Folder {
        mode: WriteMode,
        /// `None`: by day if the rows have one.
        by_day: Option<bool>,
    },
}

impl ParquetSink {
    /// Checks the options. Makes no I/O.
    pub fn new(options: ParquetOptions) -> Result<ParquetSink, Vec<Invalid>> {
        let refuse = |key: &str, message: &str| Err(vec![Invalid::new(key, message)]);
        let path = options.path;
        if path.file_name().is_none() {
            return refuse("path", "this names no file and no folder of its own");
        }
        for (key, given) in [("endpoint", &options.endpoint), ("region", &options.region)] {
            if given.is_some() {
                return refuse(key, "a file or folder of this machine has none");
            }
        }
        let mode = options.mode.unwrap_or_default();
        let by_day = options.partition_by.map(|by| by == PartitionBy::Date);
        let layout = layout(&path, mode, by_day).map_err(|why| vec![Invalid::new("mode", why)])?;
        Ok(ParquetSink {
            path,
            layout,
            compression: options.compression.unwrap_or_default(),
            allow_shrink: options.allow_shrink.unwrap_or(false),
            scope: options.scope.unwrap_or_default(),
        })
    }

    /// Says what a run does to the folder, or why it cannot.
    fn preview_folder(&self, mode: WriteMode, by_day: bool, cx: &TxnContext) -> Result<String> {
        let shown = self.path.display();
        if !self.path.exists() {
            check_folder(&self.path)?;
            return Ok(format!("creates the folder `{shown}`"));
        }
        let files = tree::list(&self.path)?;
        if matches!(mode, WriteMode::Append | WriteMode::ReplaceWindow) {
            fits::check(&self.path, &files, mode, by_day, cx)?;
        }
        if mode == WriteMode::ReplaceWindow {
            self.check_days(&files, cx)?;
        }
        match mode {
            WriteMode::Create if !files.iter().all(Found::is_ledger) => Err(already_exists(&format!("the folder `{shown}`")).hint("move it away, choose another path, or set `mode` to `append`, `replace` or `replace_window`")),
            WriteMode::Create | WriteMode::Append => {
                Ok(format!("adds files to the folder `{shown}`"))
            }
            WriteMode::Replace => Ok(format!("replaces the folder `{shown}`")),
            WriteMode::ReplaceWindow => {
                Ok(format!("replaces the fetched days in the folder `{shown}`"))
            }
        }
    }

    /// Returns how times stand in the files that a run writes.
    fn times(&self) -> Result<Times> {
        match self.layout {
            Layout::Folder {
                mode: WriteMode::Append | WriteMode::ReplaceWindow,
                ..
            } if self.path.exists() => Times::of(&self.path, &tree::list(&self.path)?),
            Layout::Folder { .. } | Layout::File(_) => Ok(Times::default()),
        }
    }

    fn replacement(&self, mode: WriteMode) -> Replacement {
        Replacement {
            mode,
            scope: self.scope,
            allow_shrink: self.allow_shrink,
        }
    }

    /// Checks that days of the folder can be replaced by these rows.
    fn check_days(&self, files: &[Found], cx: &TxnContext) -> Result<()> {
        let ledger = FileLedger::read(&self.path)?;
        let SourceInfo {
            dataset,
            from_date,
            to_date,
            ..
        } = &cx.source;
        let shown = format!("the folder `{}`", self.path.display());
        check_scope(&shown, self.scope, dataset, &ledger.datasets())?;
        let (Some(first), Some(last)) = (*from_date, *to_date) else {
            return Ok(());
        };
        let mut going = Going::new(self.replacement(WriteMode::ReplaceWindow), dataset.key());
        going.add(&whole_days(first, last, &zone_of(dataset)));
        going.split(&self.path, files, &ledger.owners()).map(drop)
    }
}

/// Returns what `mode` makes of `path`, or why it cannot.
fn layout(path: &Path, mode: WriteMode, by_day: Option<bool>) -> Result<Layout, &'static str> {
    let named_file = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
    if mode == WriteMode::ReplaceWindow && by_day == Some(false) && !named_file {
        return Err("`replace_window` needs `partition_by = \"date\"`");
    }
    match mode {
        _ if !named_file || by_day == Some(true) => Ok(Layout::Folder { mode, by_day }),
        WriteMode::Create => Ok(Layout::File(FileMode::Create)),
        WriteMode::Replace => Ok(Layout::File(FileMode::Replace)),
        WriteMode::Append => {
            Err("a Parquet file cannot be added to; a folder can: leave `.parquet` out of the path")
        }
        WriteMode::ReplaceWindow => Err(
            "days can be replaced in a folder only: leave `.parquet` out of the path, or set `partition_by = \"date\"`",
        ),
    }
}

impl Sink for ParquetSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: matches!(
                self.layout,
                Layout::Folder {
                    mode: WriteMode::ReplaceWindow,
                    ..
                }
            ),
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::at(&self.path)
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        let by_day = match self.layout {
            Layout::File(_) => None,
            Layout::Folder { by_day, .. } => by_day,
        };
        self.layout =
            layout(&self.path, mode, by_day).map_err(|why| Error::new(ErrorKind::Config, why))?;
        Ok(())
    }

    fn ledger(&self, dataset: &Dataset) -> Result<Option<Ledger>> {
        match self.layout {
            Layout::File(_) => Ok(None),
            Layout::Folder { .. } => {
                FileLedger::read(&self.path).map(|ledger| Some(ledger.of(dataset)))
            }
        }
    }

    fn earlier(&self) -> Earlier {
        match self.layout {
            // A file is written whole.
            Layout::File(_) => Earlier::Go,
            Layout::Folder { mode, .. } => match mode {
                WriteMode::Append => Earlier::Stay,
                WriteMode::ReplaceWindow => Earlier::GoByDay,
                WriteMode::Create | WriteMode::Replace => Earlier::Go,
            },
        }
    }

    fn existing(&self, cx: &TxnContext) -> Result<Existing> {
        let (mode, by_day) = match self.layout {
            Layout::File(_) => {
                let file = self.path.is_file().then(|| footer(&self.path));
                return existing(file.into_iter(), false);
            }
            Layout::Folder { mode, by_day } => (mode, by_day),
        };
        let mut existing = if self.path.exists() {
            let stay = matches!(mode, WriteMode::Append | WriteMode::ReplaceWindow);
            let files = tree::list(&self.path)?;
            let tables = files.iter().filter(|found| found.is_table());
            existing(
                tables.map(|found| footer(&self.path.join(&found.path))),
                stay,
            )?
        } else {
            Existing::default()
        };
        if by_day.unwrap_or_else(|| has_day(&cx.schema)) {
            // Readers have a column of the folders' names.
            let folders = Field::new("date", DataType::Null, true);
            existing.columns.push(folders);
        }
        Ok(existing)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let needs_day = match self.layout {
            Layout::File(_) => false,
            Layout::Folder { mode, by_day } => {
                by_day == Some(true) || mode == WriteMode::ReplaceWindow
            }
        };
        if needs_day && !has_day(schema) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("folders by date need the column `{DAY_COLUMN}`"),
            ));
        }
        writer::check_schema(schema)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let action = match self.layout {
            Layout::File(mode) => mode.preview(&self.path)?,
            Layout::Folder { mode, by_day } => {
                let by_day = by_day.unwrap_or_else(|| has_day(&cx.schema));
                self.preview_folder(mode, by_day, cx)?
            }
        };
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn file_form(&self, cx: &TxnContext, place: &FilePlace) -> Result<Option<Box<dyn FileForm>>> {
        let (Layout::Folder { .. }, FilePlace::Local(_)) = (self.layout, place) else {
            return Ok(None);
        };
        Ok(Some(Box::new(Form::of_new_folder(cx, self.compression))))
    }

    fn vacuum(&self) -> Result<Removed> {
        // A link stays, and what it leads to is what runs write beside.
        Ok(sweep(
            &self
                .path
                .canonicalize()
                .unwrap_or_else(|_| self.path.clone()),
        ))
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        writer::keep_memory();
        let properties = writer::properties(cx, self.compression);
        let cx = &TxnContext {
            schema: self.times()?.stored(&cx.schema),
            ..cx.clone()
        };
        let txn: Box<dyn SinkTxn + '_> = match self.layout {
            Layout::File(mode) => {
                let shrinks = self.allow_shrink;
                Box::new(FileTxn::begin(&self.path, mode, shrinks, cx, properties)?)
            }
            Layout::Folder { mode, by_day } => {
                let by_day = by_day.unwrap_or_else(|| has_day(&cx.schema));
                self.preview_folder(mode, by_day, cx)?;
                let replacement = self.replacement(mode);
                Box::new(FolderTxn::begin(
                    &self.path,
                    replacement,
                    by_day,
                    cx,
                    properties,
                )?)
            }
        };
        Ok(txn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mixflow_core::testing::assert_described;

    fn sink(json: &str) -> Result<ParquetSink, String> {
        let options = serde_json::from_str(json).expect("it parses");
        ParquetSink::new(options).map_err(|invalid| invalid[0].message.clone())
    }

    #[test]
    fn every_option_is_described() {
        assert_described::<ParquetOptions>(&crate::DOC);
    }

    #[test]
    fn the_path_decides_between_a_file_and_a_folder() {
        let is_file = |json| matches!(sink(json).expect("fine").layout, Layout::File(_));
        assert!(is_file(r#"{"path": "a.parquet"}"#));
        assert!(is_file(r#"{"path": "a.PARQUET", "partition_by": "none"}"#));
        assert!(!is_file(r#"{"path": "a.parquet", "partition_by": "date"}"#));
        assert!(!is_file(r#"{"path": "a"}"#));
    }

    #[test]
    fn modes_that_a_file_cannot_do_are_refused() {
        for mode in ["append", "replace_window"] {
            let error = sink(&format!(r#"{{"path": "a.parquet", "mode": "{mode}"}}"#));
            assert!(error.expect_err("refused").contains("folder"), "{mode}");
        }
        let error = sink(r#"{"path": "a", "mode": "replace_window", "partition_by": "none"}"#);
        assert!(error.expect_err("refused").contains("partition_by"));
        assert!(sink(r#"{"path": "/"}"#).is_err());
        assert!(sink(r#"{"path": ".."}"#).is_err());
    }
}
