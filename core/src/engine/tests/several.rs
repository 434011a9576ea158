//! Runs into several sinks.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::*;
use crate::cancel::cancellation;
use crate::destination::Destination;
use crate::ledger::{DayRecord, DayState, Ledger, Recorded};
use crate::observer::Silent;
use crate::report::SinkReport;
use crate::source::Source as _;
use crate::testing::{
    At, Gate, TestPartition, failing_at, good, pipeline_into, run_with, test_setup,
};
use crate::unit::{Dataset, UnitKey};

/// Runs a source into sinks and returns the report and what they saw.
fn run_into<const N: usize>(
    source: TestSource,
    sinks: [TestSink; N],
    options: RunOptions,
) -> (RunReport, [Log; N]) {
    let logs = sinks.each_ref().map(TestSink::log);
    let report = watched("a run into several sinks", move || {
        let mut pipeline = pipeline_into(source, named(sinks));
        pipeline.options = options;
        run(&pipeline)
    });
    (report, logs.each_ref().map(seen))
}

/// Calls sinks `a`, `b` and so on.
fn named<const N: usize>(sinks: [TestSink; N]) -> impl Iterator<Item = TestSink> {
    let named = sinks.into_iter().zip('a'..);
    named.map(|(sink, name)| sink.called(&name.to_string()))
}

fn three_days() -> TestSource {
    TestSource::new([good(5), good(0), good(4)]).days()
}

fn sink_statuses(report: &RunReport) -> Vec<Status> {
    report.sinks.iter().map(|sink| sink.status).collect()
}

fn why(sink: &SinkReport) -> &str {
    sink.error.as_ref().expect("it has failed").message()
}

type Named = (&'static str, fn() -> TestSink);

/// Sinks that fail when the run has begun.
const FAULTY: [Named; 8] = [
    ("begin fails", || TestSink::recording().failing(At::Begin)),
    ("begin panics", || {
        TestSink::recording().panicking(At::Begin)
    }),
    ("partition fails", || {
        TestSink::recording().failing(At::Partition)
    }),
    ("a write fails", || TestSink::failing_write(1)),
    ("a write panics", || TestSink::panicking_write(1)),
    ("the commit fails", TestSink::failing_commit),
    ("the commit panics", || {
        TestSink::recording().panicking(At::Commit)
    }),
    ("the abort fails, too", || {
        TestSink::failing_write(0).failing(At::Abort)
    }),
];

#[test]
fn all_sinks_get_the_same_rows() {
    for workers in [1, 3] {
        let sinks = [(); 3].map(|()| TestSink::recording());
        let options = options(workers, OnFailure::Abort);
        let (report, logs) = run_into(three_days(), sinks, options);
        assert_eq!(report.status, Status::Committed);
        assert_eq!((report.row_count, report.warnings.len()), (9, 0));
        assert_eq!(sink_statuses(&report), [Status::Committed; 3]);
        for log in logs {
            assert_eq!((log.begun, log.committed), (1, 1));
            assert_eq!((log.announced.len(), log.visible.len()), (3, 9));
            assert_eq!(log.breaches, Vec::<String>::new());
        }
        let places = report
            .sinks
            .iter()
            .map(|sink| sink.destination.uri.as_str());
        assert_eq!(places.collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}

#[test]
fn a_report_of_one_sink_has_no_list_of_sinks() {
    let (report, _) = run_default(three_days(), TestSink::recording());
    let json = serde_json::to_value(&report).expect("it is JSON");
    assert_eq!(json.get("sinks"), None);
}

#[test]
fn sinks_commit_one_after_the_other_in_their_order() {
    let gate = Gate::closed();
    let sinks = [
        TestSink::recording().blocking(At::Commit, &gate),
        TestSink::recording(),
    ];
    let second = sinks[1].log();
    let looks = std::thread::spawn({
        let second = Arc::clone(&second);
        move || {
            gate.wait_for_arrival();
            let committed = seen(&second).committed;
            gate.open();
            committed
        }
    });
    let (report, _) = run_into(three_days(), sinks, RunOptions::default());
    assert_eq!(looks.join().expect("it looks"), 0);
    assert_eq!(report.status, Status::Committed);
    assert_eq!(seen(&second).committed, 1);
}

#[test]
fn a_sink_that_fails_is_named_and_the_others_stand() {
    let at_once_and_late =
        FAULTY.map(|(name, faulty)| [(name, faulty, false), (name, faulty, true)]);
    for (name, faulty, is_late) in at_once_and_late.into_iter().flatten() {
        for place in [0, 1, 2] {
            let mut sinks = [(); 3].map(|()| TestSink::recording());
            sinks[place] = if is_late {
                faulty().exclusive(u64::MAX)
            } else {
                faulty()
            };
            let source = three_days();
            let fates = source.fates();
            let options = options(2, OnFailure::Abort);
            let (report, logs) = run_into(source, sinks, options);
            assert_eq!(report.status, Status::Partial, "{name} at {place}");
            assert_eq!(report.row_count, 9, "{name} at {place}");
            assert!(report.error.is_none() && report.failed_partitions.is_empty());
            for (n, (log, sink)) in logs.iter().zip(&report.sinks).enumerate() {
                let failed = n == place;
                assert_eq!(sink.status == Status::Aborted, failed, "{name} at {place}");
                assert_eq!(sink.error.is_some(), failed, "{name} at {place}");
                assert_eq!(log.visible.len(), if failed { 0 } else { 9 }, "{name}");
                assert_eq!(log.ended(), log.begun, "{name} at {place}");
                assert_eq!(log.breaches, Vec::<String>::new(), "{name} at {place}");
            }
            let letter = ["a", "b", "c"][place];
            let said = format!("nothing more goes to {letter}: ");
            let says = |warning: &&String| warning.starts_with(&said);
            assert_eq!(report.warnings.iter().filter(says).count(), 1, "{name}");
            // What was read is there for the one that lacks it.
            assert_eq!(seen(&fates), [Fate::Unfinished], "{name} at {place}");
        }
    }
}

#[test]
fn when_all_sinks_fail_the_run_does_and_says_what_the_first_said() {
    let sinks = [
        TestSink::failing_commit(),
        TestSink::failing_write(0),
        TestSink::failing_write(2),
    ];
    let source = three_days();
    let fates = source.fates();
    let (report, logs) = run_into(source, sinks, RunOptions::default());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!((report.row_count, report.residue), (0, Residue::None));
    // In time, not in order.
    assert_eq!(messages(&report), ["no luck at Write(0)", "disk full"]);
    let said: Vec<&str> = report.sinks.iter().map(why).collect();
    assert_eq!(
        said,
        [
            "no luck at Commit",
            "no luck at Write(0)",
            "no luck at Write(2)"
        ]
    );
    assert!(logs.iter().all(|log| log.visible.is_empty()));
    assert_eq!(seen(&fates), [Fate::Unfinished]);
}

#[test]
fn what_no_sink_can_take_is_not_read_to_its_end() {
    let gate = Gate::closed();
    let sinks = [TestSink::failing_write(0), TestSink::failing_write(0)];
    // Nobody opens the gate: it must not be waited for.
    let source = TestSource::new([good(2), crate::testing::slow(2, &gate)]);
    let (report, _) = run_into(source, sinks, RunOptions::default());
    assert_eq!(sink_statuses(&report), [Status::Aborted; 2]);
}

#[test]
fn a_destination_that_is_not_fit_ends_the_run_before_a_request() {
    for at in [0, 1] {
        let mut sinks = [TestSink::recording(), TestSink::recording()];
        sinks[at] = TestSink::recording().failing(At::Preview);
        let source = three_days();
        let opened = source.opened();
        let (report, logs) = run_into(source, sinks, RunOptions::default());
        assert_eq!(messages(&report)[0], "no luck at Preview");
        assert_eq!(sink_statuses(&report), [Status::Aborted; 2]);
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert!(logs.iter().all(|log| log.begun == 0));
    }
}

#[test]
fn a_source_that_fails_aborts_all_sinks() {
    let source = TestSource::new([good(3), failing_at(0), good(1)]);
    let sinks = [
        TestSink::recording(),
        TestSink::recording().transactional(false),
    ];
    let (report, logs) = run_into(source, sinks, RunOptions::default());
    assert_eq!(error_kind(&report), ErrorKind::Incomplete);
    assert_eq!(report.residue, Residue::Rows(3));
    assert_eq!(
        (report.sinks[0].row_count, report.sinks[1].row_count),
        (0, 3)
    );
    assert!(logs.iter().all(|log| log.aborted == 1));
}

#[test]
fn what_failed_is_missing_from_all_sinks() {
    let source = TestSource::new([good(3), failing_at(0), good(1)]);
    let sinks = [TestSink::recording(), TestSink::recording()];
    let (report, logs) = run_into(source, sinks, options(1, OnFailure::Keep));
    assert_eq!(sink_statuses(&report), [Status::Partial; 2]);
    assert_eq!(report.failed_partitions, ["p1"]);
    assert!(logs.iter().all(|log| log.missing == ["p1"]));
}

#[test]
fn a_reader_that_goes_away_stops_its_sink_alone() {
    let sinks = [TestSink::closed(1), TestSink::recording()];
    let (report, logs) = run_into(three_days(), sinks, RunOptions::default());
    assert_eq!(report.status, Status::Committed);
    assert_eq!(sink_statuses(&report), [Status::Stopped, Status::Committed]);
    assert_eq!((report.sinks[0].row_count, logs[1].visible.len()), (2, 9));
    let all = [TestSink::closed(1), TestSink::closed(2)];
    let (report, _) = run_into(three_days(), all, RunOptions::default());
    assert_eq!((report.status, report.row_count), (Status::Stopped, 4));
}

#[test]
fn an_interrupt_between_two_commits_takes_back_what_has_not_committed() {
    let gate = Gate::closed();
    let sinks = [
        TestSink::recording().blocking(At::Commit, &gate),
        TestSink::recording(),
    ];
    let logs = sinks.each_ref().map(TestSink::log);
    let (guard, cancel) = cancellation();
    let interrupts = std::thread::spawn(move || {
        gate.wait_for_arrival();
        drop(guard);
        gate.open();
    });
    let report = watched("a run that is interrupted", move || {
        run_with(
            &pipeline_into(three_days(), named(sinks)),
            cancel,
            &mut Silent,
        )
    });
    interrupts.join().expect("it interrupts");
    assert_eq!(sink_statuses(&report), [Status::Committed, Status::Aborted]);
    let error = report.sinks[1].error.as_ref().expect("it was interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let [first, second] = logs.each_ref().map(seen);
    assert_eq!((first.visible.len(), second.visible.len()), (9, 0));
    assert_eq!((second.begun, second.aborted), (1, 1));
}

#[test]
fn an_interrupt_before_the_first_commit_leaves_nothing() {
    let gate = Gate::closed();
    let source = TestSource::new([good(2), crate::testing::slow(2, &gate)]);
    let sinks = [TestSink::recording(), TestSink::recording()];
    let logs = sinks.each_ref().map(TestSink::log);
    let (guard, cancel) = cancellation();
    let interrupts = std::thread::spawn(move || {
        gate.wait_for_arrival();
        drop(guard);
    });
    let report = watched("a run that is interrupted", move || {
        run_with(&pipeline_into(source, named(sinks)), cancel, &mut Silent)
    });
    interrupts.join().expect("it interrupts");
    assert_eq!(error_kind(&report), ErrorKind::Interrupted);
    assert!(logs.iter().all(|log| seen(log).visible.is_empty()));
}

#[test]
fn a_sink_may_be_given_some_of_the_units_only() {
    let partitions: [TestPartition; 3] = [good(5), good(2), failing_at(0)];
    let source = TestSource::new(partitions).days();
    let units = source.outline(&Held::default()).units;
    let logs = [TestSink::recording(), TestSink::recording()];
    let seen_by = logs.each_ref().map(TestSink::log);
    let report = watched("a run with shares", move || {
        let mut pipeline = pipeline_into(source, named(logs));
        pipeline.options = options(1, OnFailure::Keep);
        let second = pipeline.sinks.iter_mut().nth(1).expect("there are two");
        second.units = Some([units[1].key.clone()].into());
        run(&pipeline)
    });
    let [all, some] = seen_by.each_ref().map(seen);
    assert_eq!((all.visible.len(), some.visible.len()), (7, 2));
    assert_eq!((all.missing.len(), some.missing.len()), (1, 0));
    assert_eq!(sink_statuses(&report), [Status::Partial, Status::Committed]);
    assert_eq!(
        (report.sinks[0].row_count, report.sinks[1].row_count),
        (7, 2)
    );
    assert_eq!(all.breaches, some.breaches);
}

#[test]
fn a_sink_of_whose_units_none_could_be_read_is_not_committed() {
    let source = TestSource::new([good(5), failing_at(0)]).days();
    let units = source.outline(&Held::default()).units;
    let sinks = [TestSink::recording(), TestSink::recording()];
    let report = watched("a run with shares", move || {
        let mut pipeline = pipeline_into(source, named(sinks));
        pipeline.options = options(1, OnFailure::Keep);
        let second = pipeline.sinks.iter_mut().nth(1).expect("there are two");
        second.units = Some([units[1].key.clone()].into());
        run(&pipeline)
    });
    assert_eq!(sink_statuses(&report), [Status::Partial, Status::Aborted]);
    assert_eq!(why(&report.sinks[1]), "no partition could be read");
}

#[test]
fn rows_flow_directly_only_if_no_sink_can_take_them_back() {
    let into = |transactional: [bool; 2]| {
        let sinks = transactional.map(|is| TestSink::recording().transactional(is));
        pipeline_into(three_days(), named(sinks))
    };
    assert_eq!(delivery(&into([false, false])), Delivery::Direct);
    assert_eq!(delivery(&into([false, true])), Delivery::Verified);
    let direct = |sinks: &Sinks| check_delivery(Some(Delivery::Direct), sinks);
    assert!(direct(&into([false, false]).sinks).is_ok());
    assert!(direct(&into([false, true]).sinks).is_err());
}

/// Has one day of each destination that is named, and hears of what is recorded.
struct Ledgers {
    held: Vec<(&'static str, Date)>,
    recorded: RefCell<Vec<String>>,
}

impl LedgerStore for Ledgers {
    fn read(&self, destination: &Destination, dataset: &Dataset) -> crate::Result<Ledger> {
        let held = self
            .held
            .iter()
            .filter(|(name, _)| *name == destination.uri);
        Ok(Ledger::new(held.map(|(_, day)| DayRecord {
            day: *day,
            state: DayState::Complete,
            rows: Some(1),
            duplicates: 0,
            bytes: None,
            fetched_at: Timestamp::UNIX_EPOCH,
            run_id: "run-0".to_owned(),
            unit_key: UnitKey::of(&dataset.key(), &serde_json::json!({})),
        })))
    }

    fn record(
        &self,
        destination: &Destination,
        _: &Dataset,
        _: &Recorded<'_>,
    ) -> crate::Result<()> {
        self.recorded.borrow_mut().push(destination.uri.clone());
        Ok(())
    }
}

fn run_with_ledgers(
    held: Vec<(&'static str, Date)>,
    source: TestSource,
    sinks: [TestSink; 2],
) -> (RunReport, Vec<String>) {
    let ledgers = Ledgers {
        held,
        recorded: RefCell::default(),
    };
    let mut silent = Silent;
    let mut setup = test_setup(CancelToken::never(), &mut silent);
    setup.ledgers = Some(&ledgers);
    let report = super::super::run(&pipeline_into(source, named(sinks)), setup);
    (report, ledgers.recorded.into_inner())
}

#[test]
fn only_sinks_that_have_committed_are_entered_into_the_ledger() {
    let sinks = [TestSink::failing_commit(), TestSink::recording()];
    let (_, recorded) = run_with_ledgers(Vec::new(), three_days(), sinks);
    assert_eq!(recorded, ["b"]);
}

#[test]
fn days_that_one_sink_has_and_would_get_twice_are_not_caught_up() {
    let day = date(2024, 1, 1);
    let fetch = |held, second: TestSink| {
        let source = three_days().catching_up();
        run_with_ledgers(held, source, [TestSink::recording(), second]).0
    };
    let report = fetch(vec![("b", day)], TestSink::recording());
    assert_eq!(error_kind(&report), ErrorKind::Destination);
    let said = messages(&report);
    assert_eq!(said[0], "cannot fetch what is missing into b");
    assert!(
        said[1].starts_with("it has 2024-01-01, another sink"),
        "{said:?}"
    );
    // One that replaces days may get it again.
    let report = fetch(vec![("b", day)], TestSink::recording().replacing_days());
    assert_eq!(report.status, Status::Committed);
    let report = fetch(vec![("a", day), ("b", day)], TestSink::recording());
    assert_eq!(report.status, Status::Committed);
}
