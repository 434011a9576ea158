//! Rows that wait for a transaction which would shut others out.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, PartitionId};
use crate::cancel::cancellation;
use crate::context::Counters;
use crate::engine::writer::{Outcomes, Writer};
use crate::observer::{RunEvent, Silent};
use crate::reject::CountRejects;
use crate::sink::{
    Capabilities, CommitSummary, DataKind, Destination, Exclusive, Outcome, PartitionInfo, Sink,
    SinkTxn,
};
use crate::source::Source as _;
use crate::testing::{At, Gate, Row, failing_at, good, rows_of, run_with, slow};
use crate::unit::Extent;

/// A sink for which rows always wait to the end.
fn waiting() -> TestSink {
    TestSink::recording().exclusive(u64::MAX)
}

/// Runs a source into a sink, and returns how many transactions had begun when
/// a batch was taken and when the commit was told.
fn begun_at_each_step(sink: TestSink) -> (Vec<u32>, Vec<u32>, Log) {
    let log = sink.log();
    let (mut at_batches, mut at_commit) = (Vec::new(), Vec::new());
    let mut observer = |event: &RunEvent<'_>| match event {
        RunEvent::PartitionDone { .. } => at_batches.push(seen(&log).begun),
        RunEvent::Committing(_) => at_commit.push(seen(&log).begun),
        _ => {}
    };
    let source = TestSource::new([good(3), good(0), good(2)]);
    let report = run_with(&pipeline(source, sink), CancelToken::never(), &mut observer);
    assert_eq!((report.status, report.row_count), (Status::Committed, 5));
    (at_batches, at_commit, seen(&log))
}

#[test]
fn a_transaction_that_shuts_others_out_begins_when_all_rows_are_there() {
    let (at_batches, at_commit, log) = begun_at_each_step(waiting());
    assert_eq!((at_batches, at_commit), (vec![0, 0, 0], vec![0]));
    assert_eq!((log.begun, log.committed, log.visible.len()), (1, 1, 5));
    let (at_batches, at_commit, _) = begun_at_each_step(TestSink::recording());
    assert_eq!((at_batches, at_commit), (vec![1, 1, 1], vec![1]));
}

#[test]
fn rows_that_come_faster_than_they_could_be_written_later_do_not_wait() {
    let (at_batches, at_commit, log) = begun_at_each_step(TestSink::recording().exclusive(1));
    assert_eq!((at_batches, at_commit), (vec![1, 1, 1], vec![1]));
    assert_eq!((log.begun, log.committed, log.visible.len()), (1, 1, 5));
}

#[test]
fn rows_go_where_they_are_sent_when_they_cannot_wait() {
    let nowhere = Exclusive {
        bytes_per_second: u64::MAX,
        folder: "/no/such/folder".into(),
    };
    let (calls, _) = written_by(&[Op::Announce(0), Op::Write(0)], Some(nowhere), None);
    assert_eq!(calls.len(), 4);
}

#[test]
fn what_a_sink_takes_for_rows_that_have_waited_is_told_of_their_partition() {
    let gate = Gate::closed();
    let opens = std::thread::spawn({
        let gate = gate.clone();
        move || {
            gate.wait_for_arrival();
            // At least so long, however busy the machine is.
            let since = Instant::now();
            while since.elapsed() < Duration::from_millis(5) {
                std::thread::yield_now();
            }
            gate.open();
        }
    });
    let source = TestSource::new([good(2), good(2)]).ordered(true);
    let (report, _) = run_default(source, waiting().blocking(At::Write(1), &gate));
    opens.join().expect("it opens");
    let took = report.partitions.iter().map(|p| {
        let timing = p.timing.as_ref().expect("it was read");
        timing.write_seconds >= 0.005
    });
    assert_eq!(took.skip(1).collect::<Vec<_>>(), [true]);
}

#[test]
fn a_run_without_rows_commits_all_the_same() {
    let (report, log) = run_default(TestSource::new([good(0), good(0)]), waiting());
    assert_eq!(report.status, Status::Committed);
    assert_eq!((log.committed, log.announced.len()), (1, 2));
}

#[test]
fn what_is_missing_is_named_when_the_others_have_waited() {
    let source = TestSource::new([good(3), failing_at(0), good(1)]);
    let (report, log) = run_options(source, waiting(), options(2, OnFailure::Keep));
    assert_eq!((report.status, report.row_count), (Status::Partial, 4));
    assert_eq!(
        (log.missing, log.announced.len()),
        (vec!["p1".to_owned()], 2)
    );
    assert_eq!(log.breaches, Vec::<String>::new());
}

#[test]
fn a_run_that_fails_while_rows_wait_has_begun_nothing() {
    let source = TestSource::new([good(3), failing_at(2)]).ordered(true);
    let (report, log) = run_default(source, waiting());
    assert_eq!(messages(&report), ["the body ends too early"]);
    assert_eq!((report.residue, log.begun), (Residue::None, 0));
}

#[test]
fn a_run_that_is_interrupted_while_rows_wait_has_begun_nothing() {
    let gate = Gate::closed();
    let source = TestSource::new([good(20), slow(2, &gate)]).ordered(true);
    let sink = waiting();
    let log = sink.log();
    let (guard, cancel) = cancellation();
    let report = watched("a run that is cancelled", move || {
        let mut guard = Some(guard);
        let mut observer = move |event: &RunEvent<'_>| {
            if matches!(event, RunEvent::PartitionDone { label: "p0", .. }) {
                drop(guard.take());
            }
        };
        run_with(&pipeline(source, sink), cancel, &mut observer)
    });
    assert_eq!(error_kind(&report), ErrorKind::Interrupted);
    assert_eq!((report.residue, seen(&log).begun), (Residue::None, 0));
}

#[test]
fn a_run_is_interrupted_while_it_writes_what_has_waited() {
    let gate = Gate::closed();
    let sink = waiting().blocking(At::Write(0), &gate);
    let log = sink.log();
    let (guard, cancel) = cancellation();
    let interrupts = std::thread::spawn(move || {
        gate.wait_for_arrival();
        drop(guard);
        gate.open();
    });
    let report = watched("a run that is cancelled", move || {
        let source = TestSource::new([good(20)]);
        run_with(&pipeline(source, sink), cancel, &mut Silent)
    });
    interrupts.join().expect("it interrupts");
    assert_eq!(error_kind(&report), ErrorKind::Interrupted);
    let log = seen(&log);
    assert_eq!((log.begun, log.aborted, log.written.len()), (1, 1, 2));
    assert_eq!(log.visible, []);
}

#[test]
fn what_fails_when_rows_have_waited_fails_as_it_would_have_at_once() {
    let faulty: [fn(TestSink) -> TestSink; 7] = [
        |sink| sink.failing(At::Begin),
        |sink| sink.panicking(At::Begin),
        |sink| sink.failing(At::Partition),
        |sink| sink.failing(At::Write(2)),
        |sink| sink.panicking(At::Write(2)),
        |sink| sink.closing(At::Write(2)),
        |sink| sink.in_doubt(At::Commit),
    ];
    for faulty in faulty {
        for transactional in [true, false] {
            let ended = |sink: TestSink| {
                let source = TestSource::new([good(3), good(0), good(4)]).ordered(true);
                let fates = source.fates();
                let (report, log) = run_default(source, faulty(sink.transactional(transactional)));
                let error = report.error.as_ref();
                (
                    error.map(|error| (error.kind(), messages(&report))),
                    (report.status, report.row_count, report.residue),
                    (log.begun, log.committed, log.aborted, log.dropped),
                    (log.announced.len(), log.visible, log.breaches),
                    seen(&fates),
                )
            };
            let at_once = ended(TestSink::recording());
            assert_eq!(ended(waiting()), at_once, "{at_once:?}");
        }
    }
}

#[test]
fn a_batch_of_another_schema_is_refused_though_others_wait() {
    let (_, wrong) = written_by(
        &[Op::Announce(0), Op::Write(0), Op::WriteOther(0)],
        Some(slowly()),
        None,
    );
    let (_, at_once) = written_by(
        &[Op::Announce(0), Op::Write(0), Op::WriteOther(0)],
        None,
        None,
    );
    assert_eq!(wrong, at_once);
    let message = wrong.expect("it is refused");
    assert_eq!(
        message,
        "a batch is not of the schema that the transaction began with"
    );
}

/// Takes a batch of these tests in half a minute.
fn slowly() -> Exclusive {
    Exclusive {
        bytes_per_second: 1,
        folder: std::env::temp_dir(),
    }
}

/// What a writer is asked to do with a partition.
#[derive(Clone, Copy, Debug)]
enum Op {
    Announce(u32),
    Write(u32),
    /// A batch of another schema.
    WriteOther(u32),
}

/// What a sink was asked to do.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Begin,
    Partition(u32),
    Write(u32, Vec<Row>),
    Commit(u64),
}

/// A sink that keeps every call, in order.
#[derive(Default)]
struct Calls {
    exclusive: Option<Exclusive>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Calls {
    fn note(&self, call: Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
    }
}

impl Sink for Calls {
    fn capabilities(&self) -> Capabilities {
        TestSink::recording().capabilities()
    }

    fn destination(&self, _: &DataKind) -> Destination {
        Destination::named("calls")
    }

    fn check_schema(&self, _: &arrow::datatypes::Schema) -> Result<()> {
        Ok(())
    }

    fn preview(&self, _: &TxnContext) -> Result<Preview> {
        Ok(Preview::default())
    }

    fn exclusive(&self) -> Option<Exclusive> {
        self.exclusive.clone()
    }

    fn begin(&self, _: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.note(Call::Begin);
        Ok(Box::new(CallsTxn(self)))
    }
}

struct CallsTxn<'s>(&'s Calls);

impl SinkTxn for CallsTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        self.0.note(Call::Partition(info.id.0));
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let rows = rows_of(&batch.records);
        self.0.note(Call::Write(batch.partition.0, rows));
        Ok(())
    }

    fn commit(self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.0.note(Call::Commit(outcome.rows));
        Ok(CommitSummary {
            rows: outcome.rows,
            ..CommitSummary::default()
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}

/// Has a writer do `ops` and commit, and returns what its sink was asked to do,
/// or why that failed. Up to op `fast_from` they take a day.
fn written_by(
    ops: &[Op],
    exclusive: Option<Exclusive>,
    fast_from: Option<usize>,
) -> (Vec<Call>, Option<String>) {
    let sink = Calls {
        exclusive,
        ..Calls::default()
    };
    let calls = Arc::clone(&sink.calls);
    let source = TestSource::new([(); 4].map(|()| good(0)));
    let units = source.outline(&Held::default()).units;
    let pipeline = pipeline(source, TestSink::recording());
    let cx = txn_context(&pipeline, "run-1".to_owned(), CancelToken::never());
    let named = NamedSink::new("calls", Box::new(sink));
    let mut writer = Writer::new(&named, cx, Duration::ZERO);
    let long_ago = Instant::now().checked_sub(Duration::from_secs(100_000));
    writer.reads_since(long_ago.expect("clocks go that far"));
    let rejects = Rejects::new(Box::new(CountRejects), 0);
    let (_notices, notices) = channel::unbounded();
    let counters = Arc::new(Counters::default());
    let mut silent = Silent;
    let mut books = Books::new(&mut silent, notices, counters, rejects);
    books.enter(&units);
    let done = (0..).zip(ops).try_for_each(|(n, op)| {
        if fast_from == Some(n) {
            writer.reads_since(Instant::now());
        }
        do_op(&mut writer, *op, n as i64, &mut books)
    });
    let outcomes = Outcomes {
        missing: Vec::new().into(),
        units: Vec::new().into(),
    };
    let done = done.and_then(|()| writer.begin(&mut books));
    let done = done.and_then(|()| writer.commit(&outcomes));
    (
        seen(&calls),
        done.err().map(|error| error.message().to_owned()),
    )
}

/// Does `op`, with rows that say that they are of the n-th.
fn do_op(writer: &mut Writer<'_>, op: Op, n: i64, books: &mut Books<'_>) -> Result<()> {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::record_batch::RecordBatch;
    let columns = |names: [&'static str; 2]| {
        let column = |values: [i64; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([(names[0], column([n, n])), (names[1], column([1, 2]))])
            .expect("columns of a length")
    };
    let batch = |id: u32, records| Batch {
        records,
        partition: PartitionId(id),
    };
    match op {
        Op::Announce(id) => writer.announce(
            &PartitionInfo {
                id: PartitionId(id),
                label: format!("p{id}"),
                extent: Extent::Whole,
            },
            books,
        ),
        Op::Write(id) => writer.write(&batch(id, columns(["partition", "row"])), books),
        Op::WriteOther(id) => writer.write(&batch(id, columns(["partition", "other"])), books),
    }
}

/// Announcements and batches of some partitions, each announced before its
/// batches, as often as it likes.
fn any_ops() -> impl Strategy<Value = Vec<Op>> {
    let touched = proptest::collection::vec((0..4_u32, any::<bool>()), 0..40);
    touched.prop_map(|touched| {
        let ops = touched.into_iter().flat_map(|(id, writes)| {
            let write = writes.then_some(Op::Write(id));
            std::iter::once(Op::Announce(id)).chain(write)
        });
        ops.collect()
    })
}

proptest! {
    #[test]
    fn a_sink_is_asked_the_same_whenever_the_transaction_begins(
        ops in any_ops(),
        fast_from in proptest::option::of(0..40_usize),
    ) {
        let at_once = written_by(&ops, None, None);
        prop_assert_eq!(written_by(&ops, Some(slowly()), fast_from), at_once);
    }
}
