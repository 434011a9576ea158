//! A sink that can replace days, behind the boundary: it keeps the contract as
//! it does without. Parquet, because it has every mode.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use mixflow_core::config::Invalid;
use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::testing::{Cells, SinkUnderTest, cells_of, sink_conformance};
use mixflow_sink_abi::export::{Plugin, table};
use mixflow_sink_abi::raw::Table;
use mixflow_sink_dynamic::{Library, PluginSink};
use mixflow_sink_parquet::{ParquetOptions, ParquetSink};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

struct Exported;

impl Plugin for Exported {
    const NAME: &'static str = "parquet";
    const CRATE: &'static str = "mixflow_sink_parquet";
    type Config = ParquetOptions;

    fn make(options: ParquetOptions) -> Result<Box<dyn Sink>, Vec<Invalid>> {
        ParquetSink::new(options).map(|sink| Box::new(sink) as Box<dyn Sink>)
    }
}

static TABLE: Table = table::<Exported>();

struct Folders {
    loaded: bool,
}

impl SinkUnderTest for Folders {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let mode = match mode {
            WriteMode::Create => "create",
            WriteMode::Append => "append",
            WriteMode::Replace => "replace",
            WriteMode::ReplaceWindow => "replace_window",
        };
        let options = serde_json::json!({ "path": place, "mode": mode });
        if self.loaded {
            // SAFETY: `table` makes tables that keep the rules.
            let library = unsafe { Library::from_table(&raw const TABLE) }.unwrap();
            return Some(Box::new(PluginSink::open(library, &options).unwrap()));
        }
        let options = serde_json::from_value(options).unwrap();
        Some(Box::new(ParquetSink::new(options).unwrap()))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        place.exists().then(|| below(place))
    }
}

/// Reads all files below a folder.
fn below(path: &Path) -> Vec<Cells> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
        // As Spark, pyarrow and Hive do.
        let seen = entries.filter(|e| !e.file_name().to_str().unwrap().starts_with('_'));
        return seen.flat_map(|e| below(&e.path())).collect();
    }
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches: Result<Vec<_>, _> = reader.build().unwrap().collect();
    cells_of(&batches.unwrap())
}

#[test]
fn a_sink_with_every_mode_is_no_different_behind_the_boundary() {
    let loaded = sink_conformance(&Folders { loaded: true });
    assert_eq!(loaded, sink_conformance(&Folders { loaded: false }));
    assert_eq!(loaded.skipped, Vec::<&str>::new());
}
