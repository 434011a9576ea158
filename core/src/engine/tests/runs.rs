//! Runs that go well, and what is heard of them.

use super::*;
use crate::context::Notice;
use crate::observer::{Progress, RunEvent};
use crate::testing::{Gate, RecordedEvent, Recorder, good, run_with, short, slow};
use jiff::civil::date;

fn observed(source: TestSource, options: RunOptions) -> (RunReport, Vec<RecordedEvent>) {
    watched("a run", move || {
        let mut pipeline = pipeline(source, TestSink::recording());
        pipeline.options = options;
        let mut recorder = Recorder::default();
        let report = run_with(&pipeline, CancelToken::never(), &mut recorder);
        (report, recorder.heard)
    })
}

#[test]
fn all_rows_are_committed_in_one_transaction() {
    let source = TestSource::new([good(5), good(3)]);
    let rows = source.good_rows();
    let (report, log) = run_default(source, TestSink::recording());
    assert_eq!(report.status, Status::Committed);
    assert_eq!(
        (report.row_count, report.requests, report.bytes_received),
        (8, 2, 8)
    );
    assert_eq!(log.visible, rows);
    assert_eq!((log.begun, log.committed), (1, 1));
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[test]
fn a_run_without_partitions_commits_nothing() {
    let (report, log) = run_default(TestSource::new([]), TestSink::recording());
    assert_eq!(report.status, Status::Committed);
    assert_eq!((report.row_count, log.begun, log.committed), (0, 1, 1));
}

#[test]
fn a_partition_without_rows_is_announced_all_the_same() {
    let source = TestSource::new([good(0), good(1), good(0)]).days();
    let (report, log) = run_default(source, TestSink::recording().replacing_days());
    let labels: Vec<&str> = log
        .announced
        .iter()
        .map(|info| info.label.as_str())
        .collect();
    assert_eq!(labels, ["p0", "p1", "p2"]);
    assert_eq!(statuses(&report), [PartitionStatus::Done; 3]);
    assert_eq!(report.from_date, Some(date(2024, 1, 1)));
    assert_eq!(report.to_date, Some(date(2024, 1, 3)));
}

#[test]
fn ordered_output_does_not_depend_on_the_workers() {
    let sizes = [3, 0, 7, 1, 9, 2, 0, 5, 4, 6, 8, 1];
    let source = || TestSource::new(sizes.map(good)).ordered(true);
    let (_, sequential) = run_default(source(), TestSink::recording());
    let (_, parallel) = run_options(source(), TestSink::recording(), options(4, OnFailure::Keep));
    assert_eq!(sequential.visible, source().good_rows());
    assert_eq!(parallel.visible, sequential.visible);
}

#[test]
fn ordered_rows_wait_for_a_slow_first_partition() {
    let gate = Gate::closed();
    let opener = gate.clone();
    let source = TestSource::new([slow(2, &gate), good(3), good(3), good(3)]).ordered(true);
    let rows = source.good_rows();
    let (report, log) = watched("a run", move || {
        let sink = TestSink::recording();
        let log = sink.log();
        let mut pipeline = pipeline(source, sink);
        pipeline.options = options(2, OnFailure::Keep);
        // The other worker reads on meanwhile, until time passes with nothing
        // left to do.
        let mut observer = |event: &RunEvent<'_>| {
            if matches!(event, RunEvent::Progress(Progress { rows: 0, .. })) {
                opener.open();
            }
        };
        let report = run_with(&pipeline, CancelToken::never(), &mut observer);
        (report, seen(&log))
    });
    assert_eq!(report.status, Status::Committed);
    assert_eq!(log.visible, rows);
}

#[test]
fn a_long_ordered_plan_is_read_to_its_end() {
    // More partitions than are given out ahead of the head.
    let source = TestSource::new((0..50).map(|_| good(1))).ordered(true);
    let rows = source.good_rows();
    let (_, log) = run_options(source, TestSink::recording(), options(3, OnFailure::Keep));
    assert_eq!(log.visible, rows);
}

#[test]
fn a_plan_caps_the_workers_and_warns() {
    let source = TestSource::new((0..8).map(|_| good(1))).max_workers(5);
    let (report, heard) = observed(source, options(10, OnFailure::Keep));
    let warning =
        "10 workers were asked for; the source allows 5 at once, so 5 are used".to_owned();
    assert_eq!(report.warnings, [warning.as_str()]);
    assert!(heard.contains(&RecordedEvent::Notice(Notice::Warning(warning))));
    assert!(heard.contains(&RecordedEvent::Planned {
        partitions: 8,
        expected_rows: Some(8),
        workers: 5,
    }));
}

#[test]
fn there_are_no_more_workers_than_partitions() {
    let (_, heard) = observed(
        TestSource::new([good(1), good(1)]),
        options(9, OnFailure::Keep),
    );
    let planned = heard.iter().find_map(|heard| match heard {
        RecordedEvent::Planned { workers, .. } => Some(*workers),
        _ => None,
    });
    assert_eq!(planned, Some(2));
}

#[test]
fn warnings_of_the_plan_are_in_the_report() {
    let source = TestSource::new([good(1)]).warning("61 requests are more than the quota");
    let (report, _) = observed(source, RunOptions::default());
    assert_eq!(report.warnings, ["61 requests are more than the quota"]);
}

#[test]
fn fewer_rows_than_were_said_make_a_new_plan_and_then_fail_the_run() {
    let (report, _) = observed(TestSource::new([short(3, 5)]), RunOptions::default());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.residue, Residue::None);
    assert_eq!(
        report.warnings,
        ["the source announced 5 rows and gave 3; the run starts over"]
    );
    let error = report.error.expect("the reason");
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert_eq!(error.message(), "the source announced 5 rows and gave 3");
}

#[test]
fn under_keep_the_rows_that_came_are_kept_and_the_others_named() {
    let source = TestSource::new([good(2), short(3, 5)]);
    let (report, log) = run_options(source, TestSink::recording(), options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!(report.row_count, 5);
    assert_eq!(report.failed_partitions, ["2 of 7 announced rows"]);
    assert_eq!(log.missing, ["2 of 7 announced rows"]);
    // Nothing came, so there is nothing to keep.
    let (report, _) = observed(TestSource::new([short(0, 5)]), options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Aborted);
}

#[test]
fn a_sink_that_cannot_take_rows_back_is_given_them_once() {
    let sink = TestSink::recording().transactional(false);
    let source = TestSource::new([short(3, 5)]);
    let (report, log) = run_options(source, sink, options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!(log.visible.len(), 3);
}

#[test]
fn more_rows_than_were_said_are_a_warning_and_fewer_where_the_source_accepts_it() {
    let (report, _) = observed(TestSource::new([short(3, 2)]), RunOptions::default());
    assert_eq!(report.status, Status::Committed);
    assert_eq!(report.warnings, ["the source announced 2 rows and gave 3"]);
    let source = TestSource::new([short(3, 5)]).accepting_short();
    let (report, _) = observed(source, RunOptions::default());
    assert_eq!(report.status, Status::Committed);
    assert_eq!(report.warnings, ["the source announced 5 rows and gave 3"]);
}

#[test]
fn an_observer_hears_of_every_batch_and_every_partition_in_order() {
    let source = TestSource::new([good(3), good(0)]).ordered(true);
    let (_, heard) = observed(source, RunOptions::default());
    let told: Vec<String> = heard
        .iter()
        .map(|heard| match heard {
            RecordedEvent::Planned { .. } => "planned".to_owned(),
            RecordedEvent::Progress(progress) => format!("{} rows", progress.rows),
            RecordedEvent::PartitionDone { label, rows, .. } => format!("{label} done with {rows}"),
            RecordedEvent::Notice(notice) => format!("{notice:?}"),
            RecordedEvent::Committing => "committing".to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "planned",
            "2 rows",
            "3 rows",
            "p0 done with 3",
            "p1 done with 0",
            "committing"
        ]
    );
}

#[test]
fn an_observer_hears_while_nothing_arrives() {
    let gate = Gate::closed();
    let source = TestSource::new([slow(1, &gate)]);
    // Without a word from the idle run, the gate would never open.
    let report = watched("a run whose observer opens the gate", move || {
        let mut observer = |event: &RunEvent<'_>| {
            if matches!(event, RunEvent::Progress(_)) {
                gate.open();
            }
        };
        let pipeline = pipeline(source, TestSink::recording());
        run_with(&pipeline, CancelToken::never(), &mut observer)
    });
    assert_eq!(report.status, Status::Committed);
}

#[test]
fn a_run_reads_the_units_that_it_is_given() {
    let source = TestSource::new([good(1), good(2), good(3)]).days();
    let chosen: Vec<_> = crate::source::Source::outline(&source, &Default::default()).units;
    let sink = TestSink::recording();
    let log = sink.log();
    let report = super::super::run(
        &pipeline(source, sink),
        RunSetup {
            units: Some(chosen[1..2].to_vec()),
            ..crate::testing::test_setup(CancelToken::never(), &mut crate::observer::Silent)
        },
    );
    assert_eq!(report.status, Status::Committed);
    assert_eq!(seen(&log).visible, [(1, 0), (1, 1)]);
    // What the sink and the report are told is narrowed, too.
    assert_eq!(report.from_date, Some(date(2024, 1, 2)));
    assert_eq!(report.to_date, Some(date(2024, 1, 2)));
    assert_eq!(report.partitions[0].unit.as_ref(), Some(&chosen[1]));
}

#[test]
fn a_run_that_has_no_plan_names_what_it_was_to_read() {
    let source = TestSource::new([good(1), good(2)]).days().failing_plan();
    let units = crate::source::Source::outline(&source, &Default::default()).units;
    let (report, _) = run_default(source, TestSink::recording());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(statuses(&report), [PartitionStatus::Skipped; 2]);
    let named = report.partitions.into_iter().filter_map(|p| p.unit);
    assert_eq!(named.collect::<Vec<_>>(), units);
}
