//! What is not whole is not called a success.

use super::*;
use crate::sink::Residue;
use crate::testing::good;

#[test]
fn a_partition_of_nothing_but_rejects_has_failed() {
    let source = || TestSource::new([good(3), good(0).rejecting(9)]);
    let (report, log) = run_default(source(), TestSink::recording());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(
        messages(&report),
        ["none of the 9 records of p1 can be read"]
    );
    assert_eq!(error_kind(&report), ErrorKind::Data);
    assert_eq!((report.rejected, log.committed), (9, 0));

    let keep = || options(2, OnFailure::Keep);
    let (report, _) = run_options(source(), TestSink::recording(), keep());
    assert_eq!(report.status, Status::Partial);
    assert_eq!(report.failed_partitions, ["p1"]);

    // Some that can be read, or none at all, are whole.
    for partition in [good(1).rejecting(9), good(0)] {
        let source = TestSource::new([good(3), partition]);
        let (report, _) = run_options(source, TestSink::recording(), keep());
        assert_eq!(report.status, Status::Committed);
    }
}

#[test]
fn rejects_of_one_partition_do_not_count_for_another() {
    let source = TestSource::new([good(3).rejecting(9), good(0)]);
    let (report, _) = run_default(source, TestSink::recording());
    assert_eq!(report.status, Status::Committed);
}

#[test]
fn a_commit_that_speaks_of_other_rows_is_in_doubt() {
    let source = TestSource::new([good(3)]);
    let fates = source.fates();
    let (report, _) = run_default(source, TestSink::recording().losing_a_row());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.residue, Residue::Unknown);
    assert_eq!(
        messages(&report),
        [
            "what is in test log may be wrong",
            "3 rows were written, but test log speaks of 2"
        ]
    );
    assert_eq!(report.warnings, Vec::<String>::new());
    // Whoever has mended the sink need not ask for everything again.
    assert_eq!(seen(&fates), [Fate::Unfinished]);
}
