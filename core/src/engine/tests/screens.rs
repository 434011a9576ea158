//! Rows that a destination cannot hold.

use std::sync::Arc;

use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::*;
use crate::sink::{Capabilities, DataKind, Destination, Preview, RowCheck, Sink, SinkTxn};
use crate::testing::good;

/// A sink that cannot hold the rows of some numbers.
struct Picky {
    sink: TestSink,
    refused: &'static [i64],
}

struct Numbers(&'static [i64]);

impl RowCheck for Numbers {
    fn refused(&self, records: &RecordBatch) -> Vec<(usize, String)> {
        use arrow::array::AsArray as _;

        let rows = records.column(1).as_primitive::<Int64Type>().values();
        let rows = rows.iter().enumerate();
        rows.filter(|(_, row)| self.0.contains(row))
            .map(|(at, row)| (at, format!("it is {row}")))
            .collect()
    }
}

impl Sink for Picky {
    fn capabilities(&self) -> Capabilities {
        self.sink.capabilities()
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        self.sink.destination(kind)
    }

    fn check_schema(&self, schema: &arrow::datatypes::Schema) -> Result<()> {
        self.sink.check_schema(schema)
    }

    fn row_check(&self) -> Option<Arc<dyn RowCheck>> {
        Some(Arc::new(Numbers(self.refused)))
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        self.sink.preview(cx)
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.sink.begin(cx)
    }
}

/// Runs partitions of 2 and 5 rows, in batches of two.
fn run_picky(refused: &'static [i64], max_rejects: u64) -> (RunReport, Log) {
    let sink = TestSink::recording();
    let log = sink.log();
    let source = TestSource::new([good(2), good(5)]).max_rejects(max_rejects);
    let mut pipeline = pipeline(source, TestSink::recording());
    pipeline.sinks = Sinks::one("picky", Box::new(Picky { sink, refused }));
    let report = run(&pipeline);
    (report, seen(&log))
}

#[test]
fn rows_that_are_refused_are_rejected_and_counted() {
    let (report, log) = run_picky(&[0, 3], 10);
    assert_eq!((report.status, report.row_count), (Status::Committed, 4));
    assert_eq!((report.rejected, report.read), (3, 4));
    let rows: Vec<_> = log.visible.clone();
    assert_eq!(rows, [(0, 1), (1, 1), (1, 2), (1, 4)]);
    let per_unit: Vec<u64> = report.partitions.iter().map(|unit| unit.rows).collect();
    assert_eq!(per_unit, [1, 3]);
}

#[test]
fn too_many_of_them_fail_the_run() {
    let (report, log) = run_picky(&[0, 3], 2);
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(log.visible, []);
    // A partition that has nothing else has failed, like one of bad records.
    let (report, log) = run_picky(&[0, 1], 10);
    assert_eq!(report.error_kind(), Some(ErrorKind::Data));
    assert_eq!(log.visible, []);
}
