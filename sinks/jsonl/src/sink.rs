//! The sink: where lines go and in which form.

use std::io::Write;
use std::path::PathBuf;

use arrow::datatypes::Schema;
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::Earlier;
#[cfg(unix)]
use mixflow_core::patient::Patient;
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Removed, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::staged::{FileMode, cannot, sweep};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::encode::Encoder;
use crate::gzip::{is_gzip, last_byte};
use crate::txn::{FileTxn, StreamTxn};

/// The options of the sink.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlOptions {
    /// The file, gzipped if it ends in `.gz`; standard output if not given.
    pub path: Option<PathBuf>,
    /// The form of the records.
    pub format: Option<JsonlFormat>,
    /// What happens to a file that is there.
    pub mode: Option<WriteMode>,
    /// Whether `replace` may leave less than half of the lines, or none.
    pub allow_shrink: Option<bool>,
}

/// The form of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonlFormat {
    /// An object of our columns.
    #[default]
    Normalized,
    /// The bytes that the source was given.
    Raw,
}

/// Writes rows as lines of JSON.
#[derive(Debug)]
pub struct JsonlSink {
    file: Option<(PathBuf, FileMode)>,
    records: RecordFormat,
    allow_shrink: bool,
}

impl JsonlSink {
    /// Checks the options. Makes no I/O.
    pub fn new(options: JsonlOptions) -> Result<JsonlSink, Vec<Invalid>> {
        let mode = file_mode(options.mode.unwrap_or_default())
            .map_err(|why| vec![Invalid::new("mode", why)])?;
        if options.path.is_none() && options.mode.is_some() {
            return Err(vec![Invalid::new(
                "mode",
                "this is for a file; without `path` rows go to standard output",
            )]);
        }
        if options
            .path
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(vec![Invalid::new("path", "this is empty")]);
        }
        Ok(JsonlSink {
            file: options.path.map(|path| (path, mode)),
            records: match options.format.unwrap_or_default() {
                JsonlFormat::Normalized => RecordFormat::Normalized,
                JsonlFormat::Raw => RecordFormat::Raw,
            },
            allow_shrink: options.allow_shrink.unwrap_or(false),
        })
    }

    /// Returns what people call the destination.
    pub(crate) fn shown(&self) -> String {
        self.destination(&DataKind::default()).to_string()
    }
}

/// Returns what the mode means for a file, or why it means nothing.
fn file_mode(mode: WriteMode) -> Result<FileMode, &'static str> {
    match mode {
        WriteMode::Create => Ok(FileMode::Create),
        WriteMode::Append => Ok(FileMode::Append),
        WriteMode::Replace => Ok(FileMode::Replace),
        WriteMode::ReplaceWindow => Err(
            "a JSONL file has no days that could be replaced; `duckdb`, and `parquet` with `partition_by = \"date\"`, have",
        ),
    }
}

impl Sink for JsonlSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: self.file.is_some(),
            replaces_days: false,
            records: self.records,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        match &self.file {
            Some((path, _)) => Destination::at(path),
            None => Destination::named("standard output"),
        }
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        let Some((_, chosen)) = &mut self.file else {
            return Err(Error::new(
                ErrorKind::Config,
                "standard output has no write mode",
            ));
        };
        *chosen = file_mode(mode).map_err(|why| Error::new(ErrorKind::Config, why))?;
        Ok(())
    }

    fn earlier(&self) -> Earlier {
        match &self.file {
            Some((_, FileMode::Create | FileMode::Replace)) => Earlier::Go,
            Some((_, FileMode::Append)) | None => Earlier::Stay,
        }
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        Encoder::new(schema, self.records).map(|_| ())
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        let action = match &self.file {
            Some((path, mode)) => {
                let action = mode.preview(path)?;
                if is_gzip(path) && *mode == FileMode::Append {
                    last_byte(path)?;
                }
                action
            }
            None => "writes to standard output".to_owned(),
        };
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn vacuum(&self) -> Result<Removed> {
        Ok(self
            .file
            .as_ref()
            .map_or_else(Removed::default, |(path, _)| {
                // A link stays, and what it leads to is what runs write beside.
                sweep(&path.canonicalize().unwrap_or_else(|_| path.clone()))
            }))
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let encoder = Encoder::new(&cx.schema, self.records)?;
        Ok(match &self.file {
            Some((path, mode)) => {
                let guarded = *mode == FileMode::Replace && !self.allow_shrink;
                let guarded = guarded.then(|| path.clone());
                Box::new(FileTxn::begin(path, *mode, encoder, guarded)?)
            }
            None => Box::new(StreamTxn::new(standard_output(cx)?, encoder, self.shown())),
        })
    }
}

/// Returns what a run that is to stop does not hang on, whoever reads it.
#[cfg(unix)]
fn standard_output(cx: &TxnContext) -> Result<impl Write + use<>> {
    let stdout = Patient::new(&std::io::stdout(), cx.cancel.clone());
    stdout.map_err(cannot("write to standard output"))
}

#[cfg(not(unix))]
fn standard_output(_cx: &TxnContext) -> Result<impl Write + use<>> {
    Ok(std::io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mixflow_core::testing::assert_described;

    fn refused(toml: &str) -> String {
        let options: JsonlOptions = toml_of(toml);
        let invalid = JsonlSink::new(options).expect_err("refused");
        invalid[0].message.clone()
    }

    fn toml_of(text: &str) -> JsonlOptions {
        serde_json::from_str(text).expect("it parses")
    }

    #[test]
    fn every_option_is_described() {
        assert_described::<JsonlOptions>(&crate::DOC);
    }

    #[test]
    fn modes_that_make_no_sense_are_refused() {
        assert!(refused(r#"{"mode": "replace"}"#).contains("this is for a file"));
        assert!(refused(r#"{"path": "a", "mode": "replace_window"}"#).contains("no days"));
        assert!(refused(r#"{"path": ""}"#).contains("empty"));
    }

    #[test]
    fn rows_that_were_there_stay_where_they_are_added_to() {
        for (json, earlier) in [
            (r#"{"path": "a"}"#, Earlier::Go),
            (r#"{"path": "a", "mode": "replace"}"#, Earlier::Go),
            (r#"{"path": "a", "mode": "append"}"#, Earlier::Stay),
            ("{}", Earlier::Stay),
        ] {
            let sink = JsonlSink::new(toml_of(json)).expect("fine");
            assert_eq!(sink.earlier(), earlier, "{json}");
        }
    }

    #[test]
    fn only_a_file_is_transactional() {
        let transactional = |text| {
            let sink = JsonlSink::new(toml_of(text)).expect("fine");
            sink.capabilities().transactional
        };
        assert!(!transactional("{}"));
        assert!(transactional(r#"{"path": "a.jsonl"}"#));
    }
}
