//! Files that a sink takes in the place of rows.

use super::*;
use crate::testing::{At, failing_at, good};

/// Five partitions that are in files, one of them without rows.
fn source() -> TestSource {
    TestSource::new([good(5), good(3), good(0), good(2), good(4)]).in_files()
}

fn sorted(mut rows: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    rows.sort_unstable();
    rows
}

#[test]
fn files_and_rows_make_the_same_as_rows_alone() {
    for workers in [1, 4] {
        let options = options(workers, OnFailure::Abort);
        let sink = TestSink::recording().taking_files([0, 3, 4]);
        let (report, log) = run_options(source(), sink, options);
        assert_eq!(report.status, Status::Committed);
        assert_eq!(
            (report.row_count, report.read, report.files_taken),
            (14, 14, 3)
        );
        let mut taken = log.taken;
        taken.sort_unstable();
        assert_eq!(taken, [0, 3, 4]);
        assert_eq!(sorted(log.visible), source().good_rows());
        assert_eq!(log.breaches, [""; 0]);
        let by_event: Vec<bool> = report
            .partitions
            .iter()
            .map(|partition| partition.rows_by_event.is_empty())
            .collect();
        assert_eq!(by_event, [false, true, true, false, false]);
        assert_eq!(statuses(&report), [PartitionStatus::Done; 5]);
        assert_eq!((log.begun, log.announced.len()), (1, 5));
    }
}

#[test]
fn rows_are_read_where_files_would_not_do() {
    let all = || TestSink::recording().taking_files(0..5);
    let taken = |source: TestSource, sink: TestSink| {
        let (report, log) = run_default(source, sink);
        assert_eq!(report.status, Status::Committed);
        assert_eq!(report.files_taken, log.taken.len() as u64);
        assert_eq!(sorted(log.visible), self::source().good_rows());
        log.taken.len()
    };
    assert_eq!(taken(source(), all()), 4);
    // Rows have an order, which files have not.
    assert_eq!(taken(source().ordered(true), all()), 0);
    // Whoever shuts others out begins as late as can be.
    assert_eq!(taken(source(), all().exclusive(1)), 0);
    assert_eq!(taken(source(), TestSink::recording()), 0);
}

#[test]
fn several_sinks_want_rows() {
    let sinks = [0, 1].map(|n| {
        let sink = TestSink::recording()
            .taking_files(0..5)
            .called(&format!("sink {n}"));
        NamedSink::new("test", Box::new(sink))
    });
    let mut two = pipeline(source(), TestSink::recording());
    two.sinks = Sinks::new(sinks).expect("there are two");
    let report = run(&two);
    assert_eq!((report.row_count, report.files_taken), (14, 0));
}

#[test]
fn a_file_that_is_not_whole_fails_its_partition_alone() {
    let source = || TestSource::new([good(5), failing_at(3), good(2)]).in_files();
    let sink = || TestSink::recording().taking_files(0..3);
    let (report, log) = run_options(source(), sink(), options(2, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!(report.failed_partitions, ["p1"]);
    assert_eq!(sorted(log.visible), source().good_rows());
    let (report, log) = run_options(source(), sink(), options(2, OnFailure::Abort));
    assert_eq!(report.status, Status::Aborted);
    assert_eq!((log.visible.len(), report.residue), (0, Residue::None));
}

#[test]
fn a_file_that_cannot_be_taken_ends_the_run() {
    let sink = TestSink::recording().taking_files(0..5).failing(At::Take);
    let (report, log) = run_options(source(), sink, options(2, OnFailure::Keep));
    assert_eq!(report.status, Status::Aborted);
    assert_eq!((log.aborted, log.visible.len()), (1, 0));
    assert_eq!(log.breaches, [""; 0]);
}
