//! The contract of every sink, for a file and for a folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::testing::{Cells, Conformance, SinkUnderTest, cells_of, sink_conformance};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{ParquetOptions, ParquetSink};

/// A file, or a folder.
struct Parquet {
    extension: &'static str,
}

impl Parquet {
    fn place(&self, place: &Path) -> PathBuf {
        place.with_extension(self.extension)
    }
}

impl SinkUnderTest for Parquet {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let options = ParquetOptions {
            path: self.place(place),
            mode: Some(mode),
            compression: None,
            partition_by: None,
            endpoint: None,
            region: None,
            allow_shrink: None,
            scope: None,
        };
        Some(Box::new(ParquetSink::new(options).ok()?))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let place = self.place(place);
        place.exists().then(|| {
            let mut rows = Vec::new();
            read(&place, &mut rows);
            rows
        })
    }
}

/// Reads a file, or all files below a folder.
fn read(path: &Path, rows: &mut Vec<Cells>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("it is there") {
            let entry = entry.expect("it can be read");
            // As Spark, pyarrow and Hive do.
            if !entry.file_name().to_string_lossy().starts_with(['.', '_']) {
                read(&entry.path(), rows);
            }
        }
        return;
    }
    let file = File::open(path).expect("it is there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    for batch in reader.build().expect("it is Parquet") {
        rows.extend(cells_of([&batch.expect("it is whole")]));
    }
}

fn conformance(extension: &'static str) -> Conformance {
    sink_conformance(&Parquet { extension })
}

#[test]
fn a_file_keeps_the_contract() {
    let report = conformance("parquet");
    let skipped = [
        "append adds",
        "two transactions in a row",
        "a schema that differs from what is there",
        "replace_window replaces days only",
        "replace_window replaces just what was fetched",
    ];
    assert_eq!(report.skipped, skipped);
    assert_eq!(report.refused_types, Vec::<String>::new());
}

#[test]
fn a_folder_keeps_the_contract() {
    let report = conformance("");
    assert_eq!(report.skipped, Vec::<&str>::new());
}
