//! The contract of every sink, for DuckDB.

use std::path::{Path, PathBuf};

use mixflow::Store;
use mixflow::core::registry::BuildContext;
use mixflow::core::sink::{Sink, WriteMode};
use mixflow::core::testing::{Cells, SinkUnderTest, cells_of, sink_conformance};
use mixflow::duckdb::{DuckdbOptions, DuckdbSink};

struct Duckdb;

fn file(place: &Path) -> PathBuf {
    place.with_extension("db")
}

impl SinkUnderTest for Duckdb {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let options = DuckdbOptions {
            path: Some(file(place)),
            table: Some("events".to_owned()),
            mode: Some(mode),
            ..DuckdbOptions::default()
        };
        let cx = BuildContext::new("2024-02-01T00:00:00Z".parse().unwrap());
        Some(Box::new(DuckdbSink::new(options, &cx).unwrap()))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let store = Store::open_read_only(file(place)).ok()?;
        if !store.table_exists("events").unwrap() {
            return None;
        }
        let mut query = store.query("SELECT * FROM events").unwrap();
        let batches: Vec<_> = query.batches().unwrap().map(Result::unwrap).collect();
        Some(cells_of(&batches))
    }
}

#[test]
fn a_table_keeps_the_contract() {
    let report = sink_conformance(&Duckdb);
    assert_eq!(report.skipped, Vec::<&str>::new());
    let refused = [
        "a_text_view",
        "a_decimal",
        "a_time_in_s",
        "a_time_in_ms",
        "a_time_in_ns",
    ];
    assert_eq!(report.refused_types, refused);
}
