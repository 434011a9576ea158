//! Short ways to a run.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{TestSink, TestSource};
use crate::cancel::CancelToken;
use crate::config::Alarms;
use crate::engine::{self, NamedSink, Pipeline, RunOptions, RunSetup, Sinks};
use crate::observer::{Observer, Silent};
use crate::reject::CountRejects;
use crate::report::RunReport;

/// Joins a source and a sink with the default options and no transforms.
pub fn pipeline(source: TestSource, sink: TestSink) -> Pipeline {
    pipeline_into(source, [sink])
}

/// As [`pipeline`], with several sinks.
///
/// # Panics
///
/// Panics if there is no sink.
pub fn pipeline_into(source: TestSource, sinks: impl IntoIterator<Item = TestSink>) -> Pipeline {
    let sinks = sinks.into_iter();
    let sinks = sinks.map(|sink| NamedSink::new("test_sink", Box::new(sink)));
    Pipeline {
        name: "test".to_owned(),
        source_type: "test_source".to_owned(),
        source: Box::new(source),
        transforms: Vec::new(),
        sinks: Sinks::new(sinks).expect("there is a sink"),
        options: RunOptions::default(),
        alarms: Alarms::default(),
    }
}

/// Runs a pipeline that nobody cancels or observes.
pub fn run(pipeline: &Pipeline) -> RunReport {
    run_with(pipeline, CancelToken::never(), &mut Silent)
}

/// Runs a pipeline with a queue of one batch, so that everything that can
/// block on the sink does.
pub fn run_with(
    pipeline: &Pipeline,
    cancel: CancelToken,
    observer: &mut dyn Observer,
) -> RunReport {
    engine::run(pipeline, test_setup(cancel, observer))
}

/// Returns what [`run_with`] runs with.
pub fn test_setup(cancel: CancelToken, observer: &mut dyn Observer) -> RunSetup<'_> {
    RunSetup {
        run_id: "run-1".to_owned(),
        cancel,
        observer,
        rejects: Box::new(CountRejects),
        hold: None,
        patience: Duration::ZERO,
        patience_at_start: Duration::ZERO,
        queue: Some(NonZeroUsize::MIN),
        units: None,
        most_requests: None,
        scratch: std::env::temp_dir(),
        ledgers: None,
    }
}
