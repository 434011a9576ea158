//! The sink with small programs that behave and misbehave.

mod aborts;
mod commits;
mod conformance;
mod failures;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use mixflow_core::Error;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::config::Seconds;
use mixflow_core::sink::{Outcome, PartitionInfo, Sink, SinkTxn, TxnContext, guarded};
use mixflow_core::source::{Dataset, Extent, SourceInfo};

use crate::{ExecFormat, ExecOptions, ExecSink};

/// Longer than any test should wait.
const LONG: Duration = Duration::from_secs(30);

const ALL: Outcome<'static> = Outcome {
    missing: &[],
    rows: 0,
    units: &[],
};

/// A folder that the program knows as `$0`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temp folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it is there")
    }

    /// Returns the options of a sink whose program is a shell script.
    fn script(&self, script: &str) -> ExecOptions {
        let folder = self.0.path().to_str().expect("UTF-8");
        let command = ["sh", "-c", script, folder].map(str::to_owned);
        ExecOptions {
            command: command.into(),
            format: Some(ExecFormat::Jsonl),
            transactional: None,
            timeout: Some(Seconds(LONG)),
            env: Default::default(),
        }
    }

    fn sink(&self, script: &str) -> ExecSink {
        sink(self.script(script))
    }

    /// Returns a sink whose program may not take long.
    fn hasty(&self, script: &str) -> ExecSink {
        sink(ExecOptions {
            timeout: Some(Seconds(Duration::from_millis(100))),
            ..self.script(script)
        })
    }

    /// Waits until the program has written a file, and returns its first line.
    fn line(&self, name: &str) -> String {
        let path = self.path(name);
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        until(|| read().ends_with('\n'));
        read().trim_end().to_owned()
    }
}

fn sink(options: ExecOptions) -> ExecSink {
    ExecSink::new(options).expect("the options are fine")
}

fn begun<'s>(sink: &'s ExecSink, batch: &Batch) -> Box<dyn SinkTxn + 's> {
    let cx = TxnContext {
        run_id: "run-1".to_owned(),
        schema: batch.records.schema(),
        source: SourceInfo {
            dataset: Dataset::default(),
            from_date: Some(jiff::civil::date(2024, 1, 1)),
            ..SourceInfo::default()
        },
        started_at: jiff::Timestamp::UNIX_EPOCH,
        cancel: mixflow_core::cancel::CancelToken::never(),
    };
    let txn = sink.begin(&cx).expect("it starts");
    let mut txn = guarded(&cx, txn);
    let info = PartitionInfo {
        id: batch.partition,
        label: "a part".to_owned(),
        extent: Extent::Whole,
    };
    txn.partition(&info).expect("it starts");
    txn
}

/// Writes batches and commits; the first error ends it.
fn run(sink: &ExecSink, batches: &[Batch]) -> Result<u64, Error> {
    let mut txn = begun(sink, &few());
    for batch in batches {
        txn.write(batch)?;
    }
    txn.commit(&ALL).map(|summary| summary.rows)
}

fn batch(rows: std::ops::Range<i64>, width: usize) -> Batch {
    let text = "x".repeat(width);
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone()));
    let t: ArrayRef = Arc::new(StringArray::from_iter_values(rows.map(|_| &text)));
    Batch {
        records: RecordBatch::try_from_iter([("n", n), ("t", t)]).expect("it fits"),
        partition: PartitionId(0),
    }
}

/// So little that a pipe takes it without a reader.
fn few() -> Batch {
    batch(0..3, 1)
}

/// More than a pipe takes, many times.
fn many() -> Batch {
    batch(0..4_000, 1_000)
}

/// Waits for a condition; a test that would wait for ever fails.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < LONG, "it does not come");
        std::thread::yield_now();
    }
}

/// Whether a process runs: one that is dead may wait for its parent.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| {
        let (_, state) = stat.rsplit_once(") ").expect("a state");
        !state.starts_with(['Z', 'X'])
    })
}

/// Whether nobody has waited for a process, or it runs.
fn known(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}
