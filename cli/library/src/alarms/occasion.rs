//! Which end of a run is told.

use std::path::Path;

use mixflow_core::ErrorKind;
use mixflow_core::config::Occasion;
use mixflow_core::report::{RunReport, Status};
use mixflow_state::State;

/// A run that is over, and what is known of its pipeline.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// How it ended.
    pub report: &'a RunReport,
    /// The canonical path of the pipeline's file, if it has one.
    pub pipeline_path: Option<&'a Path>,
    /// The days that the destination lacks now, if that is known.
    pub missing_days: Option<u64>,
}

/// Returns as what the end of a run is told to somebody who wants to hear `on`.
pub(super) fn told_as(on: &[Occasion], news: &News<'_>, state: Option<&State>) -> Option<Occasion> {
    let wants = |occasion: Occasion| on.contains(&occasion).then_some(occasion);
    match end_of(news.report)? {
        Occasion::Committed => {
            let recovered = wants(Occasion::Recovered).filter(|_| was_not_well(news, state));
            recovered.or_else(|| wants(Occasion::Committed))
        }
        end => wants(end),
    }
}

/// Returns how a run ended; none if that is nobody's business: who interrupts a
/// run knows it, and so does a reader that goes away. Nothing has failed where
/// the command or the pipeline file is wrong: nothing was attempted.
fn end_of(report: &RunReport) -> Option<Occasion> {
    match report.status {
        Status::Committed => Some(Occasion::Committed),
        Status::Partial => Some(Occasion::Partial),
        Status::Stopped => None,
        Status::Aborted => match report.error_kind() {
            Some(ErrorKind::Interrupted | ErrorKind::Closed | ErrorKind::Config) => None,
            _ => Some(Occasion::Failed),
        },
    }
}

/// Whether the last run of the pipeline before this one, of those whose end
/// was somebody's business, had failed or was partial.
fn was_not_well(news: &News<'_>, state: Option<&State>) -> bool {
    let is_earlier = |run: &RunReport| {
        // Without a file it is known by its name alone.
        let is_its = news.pipeline_path.is_some() || run.pipeline == news.report.pipeline;
        is_its && run.run_id != news.report.run_id && end_of(run).is_some()
    };
    let last = state.and_then(|state| {
        let found = state.last_run_that(news.pipeline_path, is_earlier);
        found
            .inspect_err(|error| log::info!("it is not known how the last run ended: {error}"))
            .ok()?
    });
    last.as_ref()
        .and_then(end_of)
        .is_some_and(|end| end != Occasion::Committed)
}
