//! What was not run, and the reports of that.

use std::path::PathBuf;

use mixflow::launch::run_id;
use mixflow_core::config::{Alarms, Known, Problems};
use mixflow_core::engine::Pipeline;
use mixflow_core::report::{RunReport, SinkReport, Status};
use mixflow_core::{Error, ErrorKind, clock};

use crate::remedies;

/// A pipeline that could not be built.
#[derive(Debug)]
pub(crate) struct Unbuilt {
    /// What its report says.
    pub(crate) report: RunReport,
    /// Where it may have been meant to write.
    pub(crate) places: Vec<PathBuf>,
    /// Who is to be told.
    pub(crate) alarms: Alarms,
}

impl Unbuilt {
    /// Says why the pipeline `name` could not be built; `known` is what its text
    /// says all the same.
    pub(crate) fn new(name: &str, known: Known, error: Error) -> Unbuilt {
        let now = clock::now();
        let report = RunReport {
            run_id: run_id(),
            pipeline: known.name.unwrap_or_else(|| name.to_owned()),
            status: Status::Aborted,
            started_at: now,
            completed_at: now,
            error: Some(remedies::as_typed(error)),
            ..RunReport::default()
        };
        Unbuilt {
            report,
            places: known.places,
            alarms: known.alarms,
        }
    }
}

/// Returns the error of a text that has problems, each as a cause.
pub(crate) fn of_problems(problems: &Problems) -> Error {
    let config = |message: String| Error::new(ErrorKind::Config, message);
    let innermost_first = problems.in_lines().into_iter().rev();
    let causes = innermost_first.fold(None, |cause: Option<Error>, line| {
        Some(match cause {
            Some(cause) => config(line).with_source(cause),
            None => config(line),
        })
    });
    let error = config(format!("cannot build the pipeline of {}", problems.origin));
    match causes {
        Some(causes) => error.with_source(causes),
        None => error,
    }
    .hint("correct it; `mixflow check FILE` shows where")
}

/// Returns the report of a pipeline that was not run: because of an error, or
/// because nothing was missing.
pub(crate) fn of_pipeline(pipeline: &Pipeline, error: Option<Error>) -> RunReport {
    let now = clock::now();
    let info = pipeline.source.info();
    let destination = pipeline.destination();
    let status = match error {
        Some(_) => Status::Aborted,
        None => Status::Committed,
    };
    let error = error.map(remedies::as_typed);
    RunReport {
        run_id: run_id(),
        pipeline: pipeline.name.clone(),
        source: pipeline.source_type.clone(),
        sink: pipeline.sinks.kinds(),
        sinks: sinks(pipeline, status, error.as_ref()),
        table: destination.table.clone(),
        destination,
        data_type: info.dataset.kind,
        from_date: info.from_date,
        to_date: info.to_date,
        status,
        started_at: now,
        completed_at: now,
        error,
        ..RunReport::default()
    }
}

/// Returns the reports of several sinks, which all ended as the run.
fn sinks(pipeline: &Pipeline, status: Status, error: Option<&Error>) -> Vec<SinkReport> {
    if !pipeline.sinks.are_several() {
        return Vec::new();
    }
    let sinks = pipeline.sinks.iter().zip(pipeline.destinations());
    sinks
        .map(|(named, destination)| SinkReport {
            sink: named.kind.clone(),
            table: destination.table.clone(),
            destination,
            status,
            error: error.cloned(),
            ..SinkReport::default()
        })
        .collect()
}
