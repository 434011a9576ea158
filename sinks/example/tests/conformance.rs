//! The contract of every sink, kept by this one: as a Rust value, and loaded.
//!
//! A sink of your own begins with a file like this.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use mixflow_sink_abi::core::sink::{Sink, WriteMode};
use mixflow_sink_abi::core::testing::{Cells, SinkUnderTest, built_library, sink_conformance};
use mixflow_sink_dynamic::{PluginOptions, PluginSink};
use mixflow_sink_example::{CsvOptions, CsvSink};

/// What stands for null, so that it is told from an empty text.
const NULL: &str = "\\N";

/// Reads what is visible.
fn rows(place: &Path) -> Option<Vec<Cells>> {
    let mut reader = csv::Reader::from_path(place).ok()?;
    let names = reader.headers().unwrap().clone();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let values = record.iter();
        let values = values.map(|value| (value != NULL).then(|| value.to_owned()));
        names.iter().map(str::to_owned).zip(values).collect()
    });
    Some(rows.collect())
}

struct Compiled;

impl SinkUnderTest for Compiled {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let options = CsvOptions {
            path: place.to_owned(),
            mode,
            allow_shrink: false,
            delimiter: ',',
            null: NULL.to_owned(),
        };
        Some(Box::new(CsvSink::new(options).ok()?))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        rows(place)
    }
}

struct Loaded;

impl SinkUnderTest for Loaded {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let mode = match mode {
            WriteMode::Create => "create",
            WriteMode::Append => "append",
            WriteMode::Replace => "replace",
            WriteMode::ReplaceWindow => "replace_window",
        };
        let options = [("path", place.to_str()?), ("mode", mode), ("null", NULL)];
        let options = options.map(|(key, value)| (key.to_owned(), value.into()));
        let plugin = PluginOptions {
            library: built_library("mixflow_sink_example"),
            options: options.into_iter().collect(),
        };
        Some(Box::new(PluginSink::new(plugin).ok()?))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        rows(place)
    }
}

#[test]
fn the_sink_keeps_the_contract() {
    let report = sink_conformance(&Compiled);
    let skipped = [
        "replace_window replaces days only",
        "replace_window replaces just what was fetched",
    ];
    assert_eq!(report.skipped, skipped);
}

#[test]
fn loaded_it_is_no_different() {
    assert_eq!(sink_conformance(&Loaded), sink_conformance(&Compiled));
}
