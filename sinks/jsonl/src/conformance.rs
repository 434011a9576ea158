//! The contract of every sink, for files and for a stream.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use mixflow_core::Result;
use mixflow_core::destination::Destination;
use mixflow_core::sink::{
    Capabilities, Preview, RecordFormat, Sink, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::testing::{Cells, SinkUnderTest, sink_conformance};
use mixflow_core::unit::DataKind;
use serde_json::Value;

use crate::encode::Encoder;
use crate::txn::StreamTxn;
use crate::{JsonlOptions, JsonlSink};

fn lines(place: &Path) -> Option<Vec<Cells>> {
    let text = std::fs::read_to_string(place).ok()?;
    let lines = text.lines().map(|line| {
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(line).expect("a line is an object");
        let cells = object.into_iter().map(|(name, value)| match value {
            Value::Null => (name, None),
            Value::String(text) => (name, Some(text)),
            other => (name, Some(other.to_string())),
        });
        cells.collect()
    });
    Some(lines.collect())
}

struct Files;

impl SinkUnderTest for Files {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let options = JsonlOptions {
            path: Some(place.to_owned()),
            format: None,
            mode: Some(mode),
            allow_shrink: None,
        };
        Some(Box::new(JsonlSink::new(options).ok()?))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        lines(place)
    }
}

#[test]
fn a_file_keeps_the_contract() {
    let report = sink_conformance(&Files);
    let skipped = [
        "replace_window replaces days only",
        "replace_window replaces just what was fetched",
    ];
    assert_eq!(report.skipped, skipped);
    let refused = [
        "a_large_text",
        "a_text_view",
        "a_decimal",
        "a_time_in_s",
        "a_time_in_ms",
        "a_time_in_ns",
        "bytes",
    ];
    assert_eq!(report.refused_types, refused);
}

/// What standard output is, but to a file that can be looked at.
struct Stream {
    like: JsonlSink,
    place: PathBuf,
}

impl Sink for Stream {
    fn capabilities(&self) -> Capabilities {
        self.like.capabilities()
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        self.like.destination(kind)
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        self.like.check_schema(schema)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        self.like.preview(cx)
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.place)
            .expect("the folder is there");
        let encoder = Encoder::new(&cx.schema, RecordFormat::Normalized)?;
        let txn = StreamTxn::new(file, encoder, self.like.shown());
        Ok(Box::new(txn))
    }
}

struct Streams;

impl SinkUnderTest for Streams {
    /// A stream has no modes; it goes on, which is what `append` says.
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let like = JsonlSink::new(JsonlOptions::default()).expect("the default");
        (mode == WriteMode::Append).then(|| {
            let place = place.to_owned();
            Box::new(Stream { like, place }) as Box<dyn Sink>
        })
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        lines(place)
    }
}

#[test]
fn a_stream_keeps_the_contract_and_tells_its_residue() {
    let report = sink_conformance(&Streams);
    let skipped = [
        "write, then drop",
        "create on something that is there",
        "replace swaps everything",
        "replace, then abort",
        "replace by nothing",
        "replace_window replaces days only",
        "replace_window replaces just what was fetched",
        "a place that cannot be written",
    ];
    assert_eq!(report.skipped, skipped);
}
