//! The contract of every sink.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use delta_kernel::engine::arrow_data::EngineDataArrowExt as _;
use delta_kernel::snapshot::Snapshot;
use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::testing::{Cells, SinkUnderTest, cells_of, sink_conformance};

use mixflow_objects::{Location, StoreOptions};

use crate::place::Place;
use crate::{DeltaOptions, DeltaSink};

pub(crate) fn options(path: &Path, mode: WriteMode) -> DeltaOptions {
    DeltaOptions {
        path: path.to_str().expect("a plain name").to_owned(),
        mode: Some(mode),
        endpoint: None,
        region: None,
        partition_by: None,
        allow_shrink: None,
        scope: None,
    }
}

struct Delta;

impl SinkUnderTest for Delta {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        Some(Box::new(DeltaSink::new(options(place, mode), None).ok()?))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        if !place.join("_delta_log").exists() {
            return None;
        }
        let rows = read(place);
        Some(cells_of(rows.iter()))
    }
}

/// Reads the rows of a table as any reader does.
pub(crate) fn read(path: &Path) -> Vec<RecordBatch> {
    let place = Place::open(&Location::Folder(path.to_owned()), &StoreOptions::default())
        .expect("it is a folder");
    let engine = place.shared_engine();
    let snapshot = Snapshot::builder_for(place.url()).build(engine.as_ref());
    let scan = snapshot.expect("it is a table").scan_builder().build();
    let rows = scan.expect("it can be read").execute(Arc::clone(&engine));
    rows.expect("it can be read")
        .map(|rows| rows.try_into_record_batch().expect("it can be read"))
        .collect()
}

#[test]
fn a_table_keeps_the_contract() {
    let report = sink_conformance(&Delta);
    assert_eq!(report.skipped, Vec::<&str>::new());
    // Nanoseconds would be cut.
    assert_eq!(report.refused_types, ["a_time_in_ns"]);
}
