//! A CSV sink: a whole sink in one file, to learn from.
//!
//! ```toml
//! [sink]
//! type = "plugin"
//! library = "target/release/libmixflow_sink_example.so"
//! options = { path = "events.csv" }
//! ```
//!
//! The guide, the README of `sinks/abi`, goes through it.

mod rows;

use std::fs::File;
use std::path::PathBuf;

use mixflow_sink_abi::arrow::datatypes::Schema;
use mixflow_sink_abi::core::batch::Batch;
use mixflow_sink_abi::core::config::Invalid;
use mixflow_sink_abi::core::ledger::Earlier;
use mixflow_sink_abi::core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_sink_abi::core::sink::{
    Capabilities, CommitSummary, DataKind, Destination, Outcome, PartitionInfo, Preview,
    RecordFormat, Residue, Sink, SinkTxn, TxnContext, WriteMode, check_replace,
};
use mixflow_sink_abi::core::staged::{FileMode, StagedFile, cannot};
use mixflow_sink_abi::core::{Error, ErrorKind, Result};
use serde::Deserialize;

use rows::{Format, failed};

#[cfg(feature = "plugin")]
mixflow_sink_abi::export_sink!("csv", CsvOptions, CsvSink::new, DOC.options);

/// What `mixflow components` shows where the sink is compiled in.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "csv",
    about: "a CSV file with a line of column names",
    options: &[
        OptionDoc::new("path", "file", "the file to write"),
        OptionDoc::new(
            "mode",
            "create | append | replace, default create",
            "what happens to a file that is there",
        ),
        OptionDoc::new(
            "allow_shrink",
            "true | false, default false",
            "whether replace may leave less than half of the rows, or none",
        ),
        OptionDoc::new(
            "delimiter",
            "a character, default `,`",
            "what stands between values",
        ),
        OptionDoc::new(
            "null",
            "text, default empty",
            "what stands where there is no value",
        ),
    ],
};

/// Adds the sink to `registry`, for a binary that compiles it in.
pub fn register(registry: &mut Registry) {
    registry.add_sink(DOC, |options: CsvOptions, _| {
        CsvSink::new(options).map(|sink| Box::new(sink) as Box<dyn Sink>)
    });
}

/// The options, as serde reads them from the pipeline file.
///
/// Unknown ones are refused, so that a slip of the pen is found by `check`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvOptions {
    /// The file.
    pub path: PathBuf,
    /// What happens to a file that is there.
    #[serde(default)]
    pub mode: WriteMode,
    /// Whether `replace` may leave less than half of the rows, or none.
    #[serde(default)]
    pub allow_shrink: bool,
    /// What stands between values.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// What stands where there is no value.
    #[serde(default)]
    pub null: String,
}

fn comma() -> char {
    ','
}

/// Writes rows as CSV.
#[derive(Clone, Debug)]
pub struct CsvSink {
    path: PathBuf,
    mode: FileMode,
    allow_shrink: bool,
    format: Format,
}

impl CsvSink {
    /// Checks the options. Makes no I/O, because `mixflow check` calls it.
    ///
    /// What is wrong is named by its key, and shown with its place in the file.
    pub fn new(options: CsvOptions) -> Result<CsvSink, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if options.path.as_os_str().is_empty() {
            wrong.push(Invalid::new("path", "this is empty"));
        }
        let mode = file_mode(options.mode).unwrap_or_else(|why| {
            wrong.push(Invalid::new("mode", why));
            FileMode::Create
        });
        let delimiter = u8::try_from(options.delimiter).ok().filter(u8::is_ascii);
        if delimiter.is_none_or(|byte| matches!(byte, b'"' | b'\r' | b'\n')) {
            let why = "this must be an ASCII character other than a quote or a line end";
            wrong.push(Invalid::new("delimiter", why));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(CsvSink {
            path: options.path,
            mode,
            allow_shrink: options.allow_shrink,
            format: Format {
                delimiter: delimiter.unwrap_or(b','),
                null: options.null,
            },
        })
    }

    /// Refuses to replace what is there by next to nothing.
    fn check_replace(&self, rows: u64) -> Result<()> {
        if self.mode != FileMode::Replace || self.allow_shrink || !self.path.exists() {
            return Ok(());
        }
        let before = self.format.count(&self.path)?;
        check_replace(&self.path.display().to_string(), before, rows)
    }

    /// Whether there is a file that rows are added to.
    fn adds(&self) -> bool {
        self.mode == FileMode::Append && self.path.exists()
    }
}

fn file_mode(mode: WriteMode) -> Result<FileMode, &'static str> {
    match mode {
        WriteMode::Create => Ok(FileMode::Create),
        WriteMode::Append => Ok(FileMode::Append),
        WriteMode::Replace => Ok(FileMode::Replace),
        WriteMode::ReplaceWindow => Err("a CSV file has no days that could be replaced"),
    }
}

impl Sink for CsvSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // A `StagedFile` is written beside its target and renamed.
            transactional: true,
            replaces_days: false,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::at(&self.path)
    }

    /// `mixflow status` shows the days that the file has.
    fn earlier(&self) -> Earlier {
        match self.mode {
            FileMode::Append => Earlier::Stay,
            FileMode::Create | FileMode::Replace => Earlier::Go,
        }
    }

    /// `mixflow run --only-failed` adds to what is there with this.
    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        self.mode = file_mode(mode).map_err(|why| Error::new(ErrorKind::Config, why))?;
        Ok(())
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        self.format.check(schema)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let action = self.mode.preview(&self.path)?;
        if self.adds() {
            self.format.check_header(&self.path, &cx.schema)?;
        }
        Ok(Preview {
            actions: vec![action],
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let adds = self.adds();
        if adds {
            self.format.check_header(&self.path, &cx.schema)?;
        }
        let file = StagedFile::begin(&self.path, self.mode)?;
        let mut out = self.format.writer(file.handle()?);
        if !adds {
            let names = cx.schema.fields().iter().map(|field| field.name());
            out.write_record(names).map_err(failed)?;
        }
        let txn = CsvTxn {
            sink: self,
            file,
            out,
            rows: 0,
        };
        Ok(Box::new(txn))
    }
}

/// One run's rows. Dropping it removes the staged file.
struct CsvTxn<'s> {
    sink: &'s CsvSink,
    file: StagedFile,
    out: csv::Writer<File>,
    rows: u64,
}

impl SinkTxn for CsvTxn<'_> {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.sink.format.write(&batch.records, &mut self.out)?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(mut self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        // Explicitly: dropping a writer hides that its last bytes did not fit.
        self.sink.check_replace(self.rows)?;
        let what = format!("write `{}`", self.sink.path.display());
        self.out.flush().map_err(cannot(what))?;
        self.file.commit()?;
        Ok(CommitSummary {
            rows: self.rows,
            destination: self.sink.path.display().to_string(),
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}
