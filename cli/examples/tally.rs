//! mixflow with a sink of its own: how many rows each event has, as JSON.
//!
//! ```sh
//! cargo run -p mixflow-cli --example tally -- run tally.toml
//! ```
//!
//! where `tally.toml` has `[sink] type = "tally"` and `path = "tally.json"`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use mixflow::core::arrow::array::AsArray as _;
use mixflow::core::arrow::datatypes::{DataType, Schema};
use mixflow::core::batch::Batch;
use mixflow::core::registry::{ComponentDoc, OptionDoc};
use mixflow::core::sink::{
    Capabilities, CommitSummary, DataKind, Destination, Outcome, PartitionInfo, Preview,
    RecordFormat, Residue, Sink, SinkTxn, TxnContext,
};
use mixflow::core::staged::{FileMode, StagedFile, cannot};
use mixflow::{Error, ErrorKind, Result};
use serde::Deserialize;

fn main() -> ExitCode {
    let mut registry = mixflow::registry();
    registry.add_sink(DOC, |sink: Tally, _| Ok(Box::new(sink) as Box<dyn Sink>));
    mixflow_cli::main(registry)
}

const DOC: ComponentDoc = ComponentDoc {
    name: "tally",
    about: "how many rows each event has, as a JSON object",
    options: &[OptionDoc::new("path", "file", "the file to make")],
};

/// The sink is its own options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tally {
    path: PathBuf,
}

impl Sink for Tally {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Nothing is visible before the file is put in its place.
            transactional: true,
            replaces_days: false,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::at(&self.path)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        match schema.field_with_name("event_name") {
            Ok(field) if *field.data_type() == DataType::Utf8 => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Config,
                "this needs the column `event_name`",
            )),
        }
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        Ok(Preview {
            actions: vec![FileMode::Create.preview(&self.path)?],
        })
    }

    fn begin(&self, _cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        Ok(Box::new(TallyTxn {
            sink: self,
            file: StagedFile::begin(&self.path, FileMode::Create)?,
            counts: BTreeMap::new(),
        }))
    }
}

struct TallyTxn<'s> {
    sink: &'s Tally,
    /// Removed unless it is committed.
    file: StagedFile,
    counts: BTreeMap<String, u64>,
}

impl SinkTxn for TallyTxn<'_> {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let names = batch.records.column_by_name("event_name");
        let names = names.expect("`check_schema` has seen it");
        for name in names.as_string::<i32>().iter().flatten() {
            *self.counts.entry(name.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let json = serde_json::to_string_pretty(&self.counts).expect("names and numbers");
        writeln!(self.file, "{json}").map_err(cannot("write the tally"))?;
        self.file.commit()?;
        Ok(CommitSummary {
            rows: outcome.rows,
            destination: self.sink.path.display().to_string(),
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}
