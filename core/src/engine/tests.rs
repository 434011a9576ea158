//! What the engine does, shown with the doubles of [`crate::testing`].

mod backlog;
mod cancel;
mod failures;
mod faults;
mod files;
mod late;
mod ledgers;
mod runs;
mod screens;
mod several;
mod transforms;
mod waiting;
mod whole;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel;

use super::*;
use crate::report::{PartitionStatus, Status};
use crate::sink::Residue;
use crate::source::Fate;
use crate::testing::{Log, TestSink, TestSource, pipeline, run};
use crate::transform::NamedTransform;

/// How long a run of a few rows may take on a busy machine before it hangs.
const WATCHDOG: Duration = Duration::from_secs(20);

/// Runs `work` in a thread of its own and fails the test when it hangs.
fn watched<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = channel::bounded(1);
    let thread = std::thread::spawn(move || {
        let outcome = work();
        let _ = done.send(outcome);
    });
    match outcome.recv_timeout(WATCHDOG) {
        Ok(outcome) => outcome,
        Err(channel::RecvTimeoutError::Timeout) => panic!("{what}: the run hangs"),
        Err(channel::RecvTimeoutError::Disconnected) => {
            let payload = thread.join().expect_err("it sent nothing");
            let error = Error::panicked(what, &*payload);
            panic!("{error:?}");
        }
    }
}

/// Runs a source into a sink and returns the report and what the sink saw.
fn run_options(source: TestSource, sink: TestSink, options: RunOptions) -> (RunReport, Log) {
    let log = sink.log();
    let report = watched("a run", move || {
        let mut pipeline = pipeline(source, sink);
        pipeline.options = options;
        run(&pipeline)
    });
    (report, seen(&log))
}

fn run_default(source: TestSource, sink: TestSink) -> (RunReport, Log) {
    run_options(source, sink, RunOptions::default())
}

fn options(workers: usize, on_failure: OnFailure) -> RunOptions {
    RunOptions {
        workers: NonZeroUsize::new(workers).expect("a test has workers"),
        on_failure,
        ..RunOptions::default()
    }
}

fn seen<T: Clone>(log: &Arc<Mutex<T>>) -> T {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn statuses(report: &RunReport) -> Vec<PartitionStatus> {
    report.partitions.iter().map(|p| p.status).collect()
}

fn error_kind(report: &RunReport) -> ErrorKind {
    report.error_kind().expect("the run has an error")
}

fn messages(report: &RunReport) -> Vec<String> {
    let error = report.error.as_ref().expect("the run has an error");
    let mut messages = vec![error.message().to_owned()];
    messages.extend(error.causes());
    messages
}
