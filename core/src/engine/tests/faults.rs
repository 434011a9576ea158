//! Every partition fault with every sink fault under every policy.

use super::*;
use crate::testing::{At, TestPartition, failing_at, good, panicking_at, short};

type Named<T> = (&'static str, fn() -> T);

/// Partitions whose faults lie where they could hurt: at the start, in the
/// middle of rows, everywhere.
const PARTITIONS: [Named<Vec<TestPartition>>; 9] = [
    ("good", || vec![good(5), good(0), good(4)]),
    ("short", || vec![good(5), short(3, 9), good(4)]),
    ("first fails", || vec![failing_at(0), good(5), good(4)]),
    ("last fails", || vec![good(5), good(4), failing_at(0)]),
    ("one panics", || vec![good(5), panicking_at(0), good(4)]),
    ("one breaks off", || vec![good(5), failing_at(3), good(4)]),
    ("one panics midway", || {
        vec![panicking_at(3), good(5), good(4)]
    }),
    ("one is fatal", || {
        vec![good(5), failing_at(0).fatally(), good(4)]
    }),
    ("all fail", || {
        vec![failing_at(0), panicking_at(0), failing_at(0)]
    }),
];

const SINKS: [Named<TestSink>; 9] = [
    ("good", TestSink::recording),
    ("begin fails", || TestSink::recording().failing(At::Begin)),
    ("begin panics", || {
        TestSink::recording().panicking(At::Begin)
    }),
    ("partition fails", || {
        TestSink::recording().failing(At::Partition)
    }),
    ("write fails", || TestSink::failing_write(1)),
    ("write panics", || TestSink::panicking_write(1)),
    ("commit fails", TestSink::failing_commit),
    ("commit panics", || {
        TestSink::recording().panicking(At::Commit)
    }),
    ("closed", || TestSink::closed(1)),
];

#[derive(Clone, Copy)]
struct Case {
    partitions: Named<Vec<TestPartition>>,
    sink: Named<TestSink>,
    transactional: bool,
    workers: usize,
    keep: bool,
    ordered: bool,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for partitions in PARTITIONS {
            for sink in SINKS {
                for flags in 0..16 {
                    let flag = |n: u32| flags >> n & 1 == 1;
                    cases.push(Case {
                        partitions,
                        sink,
                        transactional: flag(0),
                        workers: if flag(1) { 3 } else { 1 },
                        keep: flag(2),
                        ordered: flag(3),
                    });
                }
            }
        }
        cases
    }

    fn name(&self) -> String {
        format!(
            "partitions: {}, sink: {}, transactional: {}, workers: {}, keep: {}, ordered: {}",
            self.partitions.0,
            self.sink.0,
            self.transactional,
            self.workers,
            self.keep,
            self.ordered
        )
    }

    fn source(&self) -> TestSource {
        TestSource::new(self.partitions.1()).ordered(self.ordered)
    }

    fn run(self) -> (RunReport, Log) {
        let sink = self.sink.1().transactional(self.transactional);
        let log = sink.log();
        let report = watched(&self.name(), move || {
            let mut pipeline = pipeline(self.source(), sink);
            let policy = if self.keep {
                OnFailure::Keep
            } else {
                OnFailure::Abort
            };
            pipeline.options = options(self.workers, policy);
            run(&pipeline)
        });
        (report, seen(&log))
    }

    /// Says how the case must end.
    fn expected(&self) -> Status {
        // Rows of a broken partition cannot be taken back singly.
        let broken_off = matches!(self.partitions.0, "one breaks off" | "one panics midway");
        let survives = match self.partitions.0 {
            "good" => Some(Status::Committed),
            "one is fatal" | "all fail" => None,
            _ if !self.keep || (broken_off && self.transactional) => None,
            _ => Some(Status::Partial),
        };
        match (survives, self.sink.0) {
            (None, _) => Status::Aborted,
            (Some(status), "good") => status,
            (Some(_), "closed") => Status::Stopped,
            (Some(_), _) => Status::Aborted,
        }
    }
}

#[test]
fn a_run_ends_as_its_faults_and_its_policy_say() {
    for case in Case::all() {
        let (report, _) = case.run();
        let expected = case.expected();
        // When a partition and the sink both fail, the first to do so decides.
        let closed_first = case.sink.0 == "closed" && expected == Status::Aborted;
        if !(closed_first && report.status == Status::Stopped) {
            assert_eq!(report.status, expected, "{}", case.name());
        }
        let has_error = report.status == Status::Aborted;
        assert_eq!(report.error.is_some(), has_error, "{}", case.name());
    }
}

#[test]
fn a_transaction_ends_exactly_once_and_its_calls_come_in_order() {
    for case in Case::all() {
        let (report, log) = case.run();
        // What came short is begun anew, if that is possible.
        let most = 1 + u32::from(case.partitions.0 == "short" && case.transactional);
        assert!(log.begun <= most, "{}", case.name());
        assert_eq!(log.ended(), log.begun, "{}", case.name());
        assert_eq!(log.breaches, Vec::<String>::new(), "{}", case.name());
        let committed = matches!(report.status, Status::Committed | Status::Partial);
        assert_eq!(log.committed == 1, committed, "{}", case.name());
    }
}

#[test]
fn a_transactional_sink_shows_whole_partitions_or_nothing() {
    for case in Case::all().into_iter().filter(|case| case.transactional) {
        let (report, mut log) = case.run();
        log.visible.sort_unstable();
        let expected = match log.committed {
            0 => Vec::new(),
            _ => case.source().good_rows(),
        };
        assert_eq!(log.visible, expected, "{}", case.name());
        assert_eq!(report.row_count, expected.len() as u64, "{}", case.name());
        let residue = match case.sink.0 {
            // It may have come to its end before it panicked.
            "commit panics" if log.dropped == 1 => Residue::Unknown,
            _ => Residue::None,
        };
        assert_eq!(report.residue, residue, "{}", case.name());
    }
}

#[test]
fn a_report_says_what_the_sink_saw() {
    for case in Case::all() {
        let (report, log) = case.run();
        // Of a run that was begun anew the sink has seen more than is told.
        let told = report.partitions.iter().zip(0..);
        for (partition, n) in told.filter(|_| log.begun < 2) {
            let rows = log.written_of(n).len() as u64;
            assert_eq!(partition.rows, rows, "{}: {}", case.name(), partition.label);
            let failed = partition.status == PartitionStatus::Failed;
            assert_eq!(partition.error.is_some(), failed, "{}", case.name());
        }
        if log.committed == 1 {
            assert_eq!(
                report.row_count,
                log.visible.len() as u64,
                "{}",
                case.name()
            );
            let expected = match case.partitions.0 {
                "short" => vec!["6 of 18 announced rows".to_owned()],
                _ => case.source().bad_labels(),
            };
            assert_eq!(report.failed_partitions, expected, "{}", case.name());
            assert_eq!(log.missing, report.failed_partitions, "{}", case.name());
        }
    }
}

#[test]
fn what_remains_of_a_failed_run_is_never_understated() {
    for case in Case::all().into_iter().filter(|case| !case.transactional) {
        let (report, log) = case.run();
        let visible = log.visible.len() as u64;
        let told = match report.status {
            Status::Aborted => match report.residue {
                Residue::None => visible == 0,
                Residue::Rows(rows) => rows == visible,
                Residue::Unknown => true,
            },
            _ => report.row_count == visible,
        };
        assert!(
            told,
            "{}: {:?} of {visible} rows",
            case.name(),
            report.residue
        );
    }
}

#[test]
fn rows_of_a_partition_keep_their_order_and_ordered_partitions_too() {
    for case in Case::all() {
        let (_, mut log) = case.run();
        if log.begun == 2 {
            // The first half is of the plan that came to nothing.
            log.written.drain(..log.written.len() / 2);
        }
        let mut sorted = log.written.clone();
        sorted.sort_unstable();
        if case.ordered || case.workers == 1 {
            assert_eq!(log.written, sorted, "{}", case.name());
        }
        for n in 0..3 {
            assert!(log.written_of(n).is_sorted(), "{}", case.name());
        }
    }
}
