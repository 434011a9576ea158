//! Runs that are ended from outside.

use super::*;
use crate::cancel::cancellation;
use crate::observer::{RunEvent, Silent};
use crate::testing::{Gate, good, run_with, slow};

/// Starts a run, cancels it once `when` has returned, and returns how it ended.
fn cancelled(
    source: TestSource,
    sink: TestSink,
    workers: usize,
    when: impl FnOnce() + Send + 'static,
) -> (RunReport, Log) {
    let log = sink.log();
    let (guard, cancel) = cancellation();
    let report = watched("a run that is cancelled", move || {
        let canceller = std::thread::spawn(move || {
            when();
            drop(guard);
        });
        let mut pipeline = pipeline(source, sink);
        pipeline.options = options(workers, OnFailure::Keep);
        let report = run_with(&pipeline, cancel, &mut Silent);
        canceller.join().expect("the canceller does not panic");
        report
    });
    (report, seen(&log))
}

fn assert_interrupted(report: &RunReport) {
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(error_kind(report), ErrorKind::Interrupted);
    assert_eq!(report.row_count, 0);
}

#[test]
fn a_run_that_waits_for_its_source_is_interrupted() {
    for workers in [1, 3] {
        let gate = Gate::closed();
        let source = TestSource::new([good(2), slow(2, &gate), slow(2, &gate)]);
        let (report, log) = cancelled(source, TestSink::recording(), workers, move || {
            gate.wait_for_arrival();
        });
        assert_interrupted(&report);
        assert_eq!((log.committed, log.ended()), (0, log.begun));
    }
}

#[test]
fn a_run_that_plans_is_interrupted_before_anything_begins() {
    let gate = Gate::closed();
    let source = TestSource::new([good(2)]).slow_plan(&gate);
    let (report, log) = cancelled(source, TestSink::recording(), 1, move || {
        gate.wait_for_arrival();
    });
    assert_interrupted(&report);
    assert_eq!((log.previewed, log.begun), (1, 0));
}

#[test]
fn workers_that_are_blocked_by_the_sink_are_interrupted() {
    for workers in [1, 3] {
        let gate = Gate::closed();
        let source = TestSource::new([good(20), good(20), good(20)]);
        let (guard, cancel) = cancellation();
        let sink = TestSink::blocked(&gate);
        let log = sink.log();
        let report = watched("a blocked run", move || {
            let canceller = std::thread::spawn(move || {
                gate.wait_for_arrival();
                drop(guard);
                // The sink itself cannot be woken; it hears of it afterwards.
                gate.open();
            });
            let mut pipeline = pipeline(source, sink);
            pipeline.options = options(workers, OnFailure::Keep);
            let report = run_with(&pipeline, cancel, &mut Silent);
            canceller.join().expect("the canceller does not panic");
            report
        });
        let log = seen(&log);
        assert_interrupted(&report);
        assert_eq!((log.begun, log.aborted), (1, 1));
        assert_eq!(log.visible, []);
    }
}

#[test]
fn a_run_that_is_cancelled_before_it_starts_asks_for_no_rows() {
    let source = TestSource::new([good(2)]);
    let sink = TestSink::recording();
    let log = sink.log();
    let report = watched("a run", move || {
        let (guard, cancel) = cancellation();
        drop(guard);
        run_with(&pipeline(source, sink), cancel, &mut Silent)
    });
    assert_interrupted(&report);
    assert_eq!(seen(&log).begun, 0);
    assert_eq!(statuses(&report), [PartitionStatus::Skipped]);
}

#[test]
fn an_interrupt_after_the_last_row_is_heard_before_the_commit() {
    let sink = TestSink::recording();
    let log = sink.log();
    let report = watched("a run", move || {
        let (guard, cancel) = cancellation();
        let mut guard = Some(guard);
        let mut observer = move |event: &RunEvent<'_>| {
            if matches!(event, RunEvent::PartitionDone { label: "p1", .. }) {
                drop(guard.take());
            }
        };
        let source = TestSource::new([good(2), good(2)]).ordered(true);
        run_with(&pipeline(source, sink), cancel, &mut observer)
    });
    assert_interrupted(&report);
    assert_eq!((seen(&log).committed, seen(&log).aborted), (0, 1));
}

#[test]
fn a_thread_that_cannot_be_woken_is_left_behind() {
    let gate = Gate::closed();
    let source = TestSource::new([slow(2, &gate).deaf()]);
    let arrival = gate.clone();
    let (report, _) = cancelled(source, TestSink::recording(), 1, move || {
        arrival.wait_for_arrival();
    });
    // The gate is still closed: the run did not wait for its worker.
    assert_interrupted(&report);
    gate.open();
}
