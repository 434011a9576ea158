//! Failures one at a time, with everything that is said about them.

use std::time::Duration;

use super::*;
use crate::observer::Silent;
use crate::reject::{Reject, RejectLog};
use crate::sink::{Residue, Sink};
use crate::testing::{At, failing_at, good, panicking_at, run_with, test_setup};
use crate::transform::{NamedTransform, Stateless};

#[test]
fn one_failed_partition_aborts_the_run() {
    let source = TestSource::new([good(3), failing_at(0), good(3)]);
    let (report, log) = run_default(source, TestSink::recording());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(messages(&report), ["the body ends too early"]);
    assert_eq!(error_kind(&report), ErrorKind::Incomplete);
    assert_eq!(report.failed_partitions, ["p1"]);
    assert_eq!((log.committed, log.aborted), (0, 1));
}

#[test]
fn a_run_whose_first_partition_fails_has_begun_nothing() {
    let source = TestSource::new([failing_at(0), good(3)]).ordered(true);
    let (report, log) = run_default(source, TestSink::recording());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!((log.previewed, log.begun), (1, 0));
}

#[test]
fn keep_commits_the_others_and_names_the_missing_ones() {
    let source = TestSource::new([good(3), failing_at(0), panicking_at(0), good(1)]);
    let (report, log) = run_options(source, TestSink::recording(), options(3, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!(report.failed_partitions, ["p1", "p2"]);
    assert_eq!(log.missing, ["p1", "p2"]);
    assert_eq!(report.row_count, 4);
    assert_eq!(
        report.partitions[1].error.as_deref(),
        Some("the body ends too early")
    );
    assert_eq!(
        report.partitions[2].error.as_deref(),
        Some("partition `p2` panicked: after row 0")
    );
    assert!(report.error.is_none());
}

#[test]
fn keep_is_of_no_use_when_every_partition_fails() {
    let source = TestSource::new([failing_at(0), failing_at(0)]);
    let (report, log) = run_options(source, TestSink::recording(), options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(messages(&report), ["the body ends too early"]);
    assert_eq!(report.failed_partitions, ["p0", "p1"]);
    assert_eq!(log.begun, 0);
}

#[test]
fn a_fatal_error_ends_the_run_under_keep() {
    let source = TestSource::new([good(3), failing_at(0).fatally(), good(3)]);
    let (report, log) = run_options(source, TestSink::recording(), options(3, OnFailure::Keep));
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(error_kind(&report), ErrorKind::Incomplete);
    assert_eq!(log.visible, []);
}

#[test]
fn part_of_a_partition_is_never_committed_by_a_transactional_sink() {
    let source = TestSource::new([good(3), failing_at(2)]);
    let (report, log) = run_options(source, TestSink::recording(), options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(
        messages(&report),
        [
            "p1 broke off after 2 of its rows were written, so nothing can be kept",
            "the body ends too early"
        ]
    );
    assert_eq!(log.aborted, 1);
}

#[test]
fn a_partition_that_panics_leaves_the_sink_able_to_abort() {
    let source = TestSource::new([good(2), panicking_at(2)]);
    let sink = TestSink::recording().transactional(false);
    let (report, log) = run_default(source, sink);
    assert_eq!(error_kind(&report), ErrorKind::Panic);
    assert_eq!(report.residue, Residue::Rows(4));
    assert_eq!(report.row_count, 4);
    assert_eq!((log.aborted, log.dropped), (1, 0));
}

#[test]
fn a_sink_that_panicked_is_only_dropped() {
    let source = TestSource::new([good(4)]);
    let (report, log) = run_default(source, TestSink::panicking_write(1));
    assert_eq!(
        messages(&report),
        ["the sink panicked", "no luck at Write(1)"]
    );
    assert_eq!(report.residue, Residue::None);
    assert_eq!((log.aborted, log.dropped), (0, 1));
}

#[test]
fn a_panic_anywhere_becomes_a_report() {
    let at = |at| TestSink::recording().panicking(at);
    let cases = [
        (
            TestSource::new([good(2)]).panicking_plan(),
            TestSink::recording(),
            "the source panicked",
        ),
        (
            TestSource::new([good(2)]),
            at(At::Preview),
            "the sink panicked",
        ),
        (
            TestSource::new([good(2)]),
            at(At::Begin),
            "the sink panicked",
        ),
        (
            TestSource::new([good(2)]),
            at(At::Partition),
            "the sink panicked",
        ),
        (
            TestSource::new([good(2)]),
            at(At::Commit),
            "the sink panicked",
        ),
        (
            TestSource::new([panicking_at(2)]),
            TestSink::recording(),
            "partition `p0` panicked",
        ),
        // Whatever comes of the abort, the reason for it is the error.
        (
            TestSource::new([good(2), failing_at(0)]),
            at(At::Abort),
            "the body ends too early",
        ),
    ];
    for (source, sink, message) in cases {
        let (report, log) = run_default(source, sink);
        assert_eq!(report.status, Status::Aborted);
        assert_eq!(messages(&report)[0], message);
        assert_eq!(log.visible, []);
    }
}

#[test]
fn a_failed_plan_or_preview_begins_nothing() {
    let cases = [
        (
            TestSource::new([good(2)]).failing_plan(),
            TestSink::recording(),
            ErrorKind::Auth,
        ),
        (
            TestSource::new([good(2)]),
            TestSink::recording().failing(At::Preview),
            ErrorKind::Io,
        ),
    ];
    for (source, sink, kind) in cases {
        let (report, log) = run_default(source, sink);
        assert_eq!(error_kind(&report), kind);
        assert_eq!(log.begun, 0);
        assert_eq!(report.requests, 0);
    }
}

#[test]
fn an_abort_that_fails_is_told_and_leaves_the_residue_unknown() {
    let sink = TestSink::recording()
        .transactional(false)
        .failing(At::Abort);
    let (report, _) = run_default(TestSource::new([good(2), failing_at(0)]), sink);
    assert_eq!(messages(&report), ["the body ends too early"]);
    assert_eq!(report.residue, Residue::Unknown);
    assert_eq!(
        report.warnings,
        ["the sink could not abort: no luck at Abort: disk full"]
    );
}

#[test]
fn a_commit_that_fails_leaves_what_a_plain_sink_has_already_shown() {
    let source = || TestSource::new([good(2)]);
    let (report, _) = run_default(source(), TestSink::failing_commit());
    assert_eq!(report.residue, Residue::None);
    let sink = TestSink::failing_commit().transactional(false);
    let (report, _) = run_default(source(), sink);
    assert_eq!(report.residue, Residue::Unknown);
}

#[test]
fn a_commit_that_may_have_happened_is_told_as_that() {
    let sink = TestSink::recording().in_doubt(At::Commit);
    let (report, _) = run_default(TestSource::new([good(2)]), sink);
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.residue, Residue::Unknown);
}

#[test]
fn a_reader_that_goes_away_stops_the_run_without_an_error() {
    let (report, log) = run_default(TestSource::new([good(9)]), TestSink::closed(2));
    assert_eq!(report.status, Status::Stopped);
    assert!(report.error.is_none());
    assert_eq!(report.row_count, 4);
    assert_eq!(log.visible.len(), 4);
}

#[test]
fn a_reader_that_goes_away_at_the_end_stops_the_run_too() {
    let sink = TestSink::recording()
        .transactional(false)
        .closing(At::Commit);
    let (report, _) = run_default(TestSource::new([good(3)]), sink);
    assert_eq!(report.status, Status::Stopped);
    assert_eq!(report.row_count, 3);
}

#[test]
fn fewer_rows_than_min_rows_fail_the_run() {
    let run = |min_rows| {
        let options = RunOptions {
            min_rows,
            ..RunOptions::default()
        };
        run_options(
            TestSource::new([good(3), good(2)]),
            TestSink::recording(),
            options,
        )
    };
    let (report, log) = run(6);
    assert_eq!(
        messages(&report),
        ["5 rows arrived, fewer than `min_rows = 6`"]
    );
    assert_eq!(error_kind(&report), ErrorKind::Data);
    assert_eq!(log.visible, []);
    assert_eq!(run(5).0.status, Status::Committed);
}

#[test]
fn too_many_rejects_fail_the_run_under_keep_as_well() {
    let run = |max_rejects| {
        let partitions = [good(3).rejecting(2), good(3).rejecting(1)];
        let source = TestSource::new(partitions).max_rejects(max_rejects);
        run_options(source, TestSink::recording(), options(1, OnFailure::Keep))
    };
    let (report, log) = run(2);
    assert_eq!(
        messages(&report),
        [
            "more than 2 records cannot be read",
            "line 1 of p1: there is no `event`"
        ]
    );
    assert_eq!(error_kind(&report), ErrorKind::Data);
    assert_eq!((report.rejected, log.committed), (3, 0));

    let (report, _) = run(3);
    assert_eq!((report.status, report.rejected), (Status::Committed, 3));
}

/// A log that fails or panics when it is finished.
struct BrokenLog {
    panics: bool,
}

impl RejectLog for BrokenLog {
    fn write(&mut self, _reject: &Reject<'_>) -> Result<()> {
        Ok(())
    }

    fn start_over(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<String>> {
        assert!(!self.panics, "no luck");
        Err(Error::new(ErrorKind::Io, "cannot write `rejects`").because("disk full"))
    }
}

#[test]
fn a_reject_file_that_cannot_be_finished_is_a_warning() {
    for (panics, text) in [
        (false, "cannot write `rejects`: disk full"),
        (true, "the reject log panicked: no luck"),
    ] {
        let pipeline = pipeline(
            TestSource::new([good(1).rejecting(1)]),
            TestSink::recording(),
        );
        let report = super::super::run(
            &pipeline,
            RunSetup {
                rejects: Box::new(BrokenLog { panics }),
                ..test_setup(CancelToken::never(), &mut Silent)
            },
        );
        assert_eq!(report.status, Status::Committed);
        assert_eq!(
            report.warnings.last().map(String::as_str),
            Some(format!("the reject file may be incomplete: {text}").as_str())
        );
    }
}

/// A transform that panics, which is its partition's failure.
#[derive(Clone)]
struct Panicking(arrow::datatypes::SchemaRef);

impl Stateless for Panicking {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        Arc::clone(&self.0)
    }

    fn apply(
        &self,
        _records: arrow::record_batch::RecordBatch,
    ) -> Result<arrow::record_batch::RecordBatch> {
        panic!("no luck")
    }
}

#[test]
fn a_transform_that_panics_fails_the_partition() {
    let source = TestSource::new([good(2), good(0)]);
    let panicking = Panicking(crate::source::Source::schema(&source));
    let mut pipeline = pipeline(source, TestSink::recording());
    pipeline.transforms = vec![NamedTransform::new("panicking", Box::new(panicking))];
    pipeline.options = options(1, OnFailure::Keep);
    let report = run_with(&pipeline, CancelToken::never(), &mut Silent);
    assert_eq!(report.status, Status::Partial);
    assert_eq!(
        report.partitions[0].error.as_deref(),
        Some("partition `p0` panicked: no luck")
    );
}

#[test]
fn direct_delivery_is_for_sinks_that_cannot_take_back() {
    let chosen = |transactional, workers, asked| {
        let sink = TestSink::recording().transactional(transactional);
        assert_eq!(sink.capabilities().transactional, transactional);
        let mut pipeline = pipeline(TestSource::new([]), sink);
        pipeline.options = options(workers, OnFailure::Abort);
        pipeline.options.delivery = asked;
        delivery(&pipeline)
    };
    let (verified, direct) = (Delivery::Verified, Delivery::Direct);
    assert_eq!(chosen(true, 1, None), verified);
    assert_eq!(chosen(false, 1, None), direct);
    assert_eq!(chosen(false, 3, None), verified);
    assert_eq!(chosen(false, 3, Some(direct)), direct);
    assert_eq!(chosen(false, 1, Some(verified)), verified);
}

#[test]
fn a_plan_that_becomes_void_is_made_again_once() {
    let source = |times| {
        let partitions = [good(3).rejecting(1), good(2).voiding_plan(times), good(4)];
        TestSource::new(partitions).ordered(true)
    };
    for workers in [1, 3] {
        let options = || options(workers, OnFailure::Keep);
        let (report, log) = run_options(source(1), TestSink::recording(), options());
        assert_eq!(report.status, Status::Committed);
        assert_eq!(log.visible, source(0).good_rows());
        assert_eq!((log.begun, log.aborted, log.committed), (2, 1, 1));
        assert_eq!(report.partitions.len(), 3);
        assert_eq!(report.rejected, 1);
        assert_eq!(
            report.warnings[0],
            "the session expired; the run starts over"
        );

        let (report, log) = run_options(source(2), TestSink::recording(), options());
        assert_eq!(report.status, Status::Aborted);
        assert_eq!(messages(&report), ["the session expired"]);
        assert_eq!(log.visible, []);
        assert_eq!((log.begun, log.aborted), (2, 2));
    }
}

#[test]
fn a_plan_that_becomes_void_after_rows_went_out_fails_the_run() {
    let source = TestSource::new([good(3), good(2).voiding_plan(1)]);
    let sink = TestSink::recording().transactional(false);
    let (report, log) = run_default(source, sink);
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.residue, Residue::Rows(5));
    assert_eq!(log.begun, 1);

    // Nothing went out: another plan does no harm.
    let source = TestSource::new([good(0).voiding_plan(1), good(3)]);
    let sink = TestSink::recording().transactional(false);
    assert_eq!(run_default(source, sink).0.status, Status::Committed);
}

#[test]
fn waits_and_their_reasons_are_in_the_report() {
    use crate::context::Notice;
    use crate::report::WaitKind;
    let notices = [
        Notice::Retry {
            label: "p0".to_owned(),
            wait: Duration::from_millis(1500),
            reason: "the server answered 503".to_owned(),
        },
        Notice::Wait {
            label: "p0".to_owned(),
            wait: Duration::from_secs(60),
            reason: "60 requests were made within the hour".to_owned(),
        },
    ];
    let source = TestSource::new([good(1).noticing(notices)]);
    let (report, _) = run_default(source, TestSink::recording());
    assert_eq!(report.retries, 1);
    let waits: Vec<_> = report
        .waits
        .iter()
        .map(|wait| {
            (
                wait.label.as_str(),
                wait.kind,
                wait.seconds,
                wait.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        waits,
        [
            ("p0", WaitKind::Retry, 1.5, "the server answered 503"),
            (
                "p0",
                WaitKind::Quota,
                60.0,
                "60 requests were made within the hour"
            ),
        ]
    );
}

#[test]
fn a_run_that_cannot_hold_what_it_needs_looks_at_nothing() {
    let sink = TestSink::recording();
    let log = sink.log();
    let held = Arc::new(());
    let run = |hold: Hold<'static>, sink: TestSink| {
        super::super::run(
            &pipeline(TestSource::new([good(1)]), sink),
            RunSetup {
                hold: Some(hold),
                ..test_setup(CancelToken::never(), &mut Silent)
            },
        )
    };
    let report = run(
        Box::new(|_| Err(Error::new(ErrorKind::Destination, "it is locked"))),
        sink.clone(),
    );
    assert_eq!(messages(&report), ["it is locked"]);
    assert_eq!(report.residue, Residue::None);
    assert_eq!((seen(&log).previewed, seen(&log).begun), (0, 0));

    let given = Arc::clone(&held);
    let report = run(Box::new(move |_| Ok(Box::new(given))), sink);
    assert_eq!(report.status, Status::Committed);
    // It was held, and is no longer.
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_session_hears_what_became_of_its_rows() {
    let fates = |source: TestSource, min_rows| {
        let fates = source.fates();
        let options = RunOptions {
            min_rows,
            ..RunOptions::default()
        };
        run_options(source, TestSink::recording(), options);
        seen(&fates)
    };
    assert_eq!(fates(TestSource::new([good(1)]), 0), [Fate::Committed]);
    assert_eq!(fates(TestSource::new([good(1)]), 2), [Fate::Refused]);
    let lacking = TestSource::new([good(1), failing_at(0)]);
    assert_eq!(fates(lacking, 0), [Fate::Unfinished]);
    // Each attempt has a session of its own.
    let void = TestSource::new([good(1).voiding_plan(1)]);
    assert_eq!(fates(void, 0), [Fate::Unfinished, Fate::Committed]);
    assert_eq!(fates(TestSource::default().failing_plan(), 0), []);
}

/// A log that its test looks at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u64>>>);

impl RejectLog for Shared {
    fn write(&mut self, reject: &Reject<'_>) -> Result<()> {
        self.lines().push(reject.line);
        Ok(())
    }

    fn start_over(&mut self) -> Result<()> {
        self.lines().clear();
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<String>> {
        Ok(Some("the log".to_owned()))
    }
}

impl Shared {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn a_run_that_starts_over_counts_and_keeps_each_reject_once() {
    let log = Shared::default();
    let source = TestSource::new([good(4).rejecting(3), good(2).voiding_plan(1)]);
    let report = super::super::run(
        &pipeline(source, TestSink::recording()),
        RunSetup {
            rejects: Box::new(log.clone()),
            ..test_setup(CancelToken::never(), &mut Silent)
        },
    );
    assert_eq!(messages_of_warnings(&report), 1);
    assert_eq!((report.rejected, report.read), (3, 6));
    assert_eq!(*log.lines(), [1, 2, 3]);
    assert_eq!(report.reject_file.as_deref(), Some("the log"));
}

fn messages_of_warnings(report: &RunReport) -> usize {
    let over = report.warnings.iter();
    over.filter(|warning| warning.ends_with("the run starts over"))
        .count()
}

#[test]
fn rows_never_go_straight_into_a_transaction() {
    let options = RunOptions {
        delivery: Some(Delivery::Direct),
        ..RunOptions::default()
    };
    let source = TestSource::new([good(1)]);
    let opened = source.opened();
    let (report, log) = run_options(source, TestSink::recording(), options);
    assert_eq!(error_kind(&report), ErrorKind::Config);
    assert_eq!(
        log.begun + opened.load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}
