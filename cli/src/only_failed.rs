//! `mixflow run --only-failed`: the windows that the last run lacks.

use std::path::{Path, PathBuf};

use mixflow_core::engine::Pipeline;
use mixflow_core::report::{PartitionReport, PartitionStatus, Status};
use mixflow_core::sink::{Residue, WriteMode};
use mixflow_core::unit::Unit;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::{PastRun, State};

/// What `--only-failed` makes of a pipeline.
pub(crate) enum Remainder {
    /// The last run lacks nothing.
    Nothing { completed_at: String },
    /// These units, with this write mode instead of the file's.
    Units {
        of: String,
        units: Vec<Unit>,
        mode: Option<WriteMode>,
    },
    /// Everything, for this reason.
    All {
        of: String,
        reason: &'static str,
        mode: Option<WriteMode>,
    },
}

/// Runs that are looked through, of those that stored nothing.
const LOOKED_THROUGH: usize = 1_000;

/// Returns what a pipeline's file is known by in the history.
pub(crate) fn canonical(file: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(file).ok()
}

/// Looks up what the last run of the pipeline in `file` lacks.
pub(crate) fn remainder(
    state: Option<&State>,
    file: &Path,
    pipeline: &Pipeline,
) -> Result<Remainder> {
    let cannot = |cause: String| {
        Error::new(
            ErrorKind::Config,
            format!("cannot tell what failed in `{}`", pipeline.name),
        )
        .because(cause)
        .hint("run it without `--only-failed`")
    };
    let state = state.ok_or_else(|| cannot("there is no state folder".to_owned()))?;
    let destination = pipeline.destination();
    let file = canonical(file).unwrap_or_else(|| file.to_owned());
    let last = state
        .last_runs(&file, &destination, LOOKED_THROUGH)
        .map_err(|error| cannot(format!("the history cannot be read: {error}")))?;
    if let Some(missing) = last.missing {
        return Err(cannot(missing));
    }
    let run = last_that_stored(last.runs)
        .ok_or_else(|| cannot("no run of it to this destination is in the history".to_owned()))?;
    let run_id = run.run_id;
    let run = run
        .report
        .ok_or_else(|| cannot(format!("it is not known how the run {run_id} ended")))?;
    let stored_nothing = run.status == Status::Aborted;
    if !stored_nothing && run.failed_partitions.is_empty() {
        return Ok(Remainder::Nothing {
            completed_at: run.completed_at.to_string(),
        });
    }
    let stays = destination.path.is_some() && !pipeline.sink.capabilities().replaces_days;
    if stays && run.residue != Residue::None {
        return Err(cannot(format!(
            "it is not known what the run {run_id} left there, so days might come twice"
        )));
    }
    // What was stored stays: the rest is added to it.
    let mode = |mode| (stays && !stored_nothing).then_some(mode);
    if !pipeline.source.info().partitions_are_days {
        return Ok(Remainder::All {
            of: run.run_id,
            reason: "profiles are a snapshot, whose pages fit no other: all of them are fetched again",
            mode: mode(WriteMode::Replace),
        });
    }
    let wanted =
        |partition: &PartitionReport| stored_nothing || partition.status == PartitionStatus::Failed;
    let lacking = run.partitions.into_iter().filter(wanted);
    let units = lacking
        .map(|partition| partition.unit)
        .collect::<Option<Vec<_>>>()
        .filter(|units| !units.is_empty())
        .ok_or_else(|| cannot("the history does not say which days they are".to_owned()))?;
    let dataset = pipeline.source.info().dataset;
    if !units.iter().all(|unit| unit.is_of(&dataset)) {
        return Err(cannot(
            "the pipeline asks for other data than that run did".to_owned(),
        ));
    }
    Ok(Remainder::Units {
        of: run.run_id,
        units,
        mode: mode(WriteMode::Append),
    })
}

/// Returns the last run, or the one whose rest it was to fetch if it stored
/// nothing: that leaves the other one as it was.
fn last_that_stored(runs: Vec<PastRun>) -> Option<PastRun> {
    let mut runs = runs.into_iter();
    let mut last = runs.next();
    while let Some(PastRun {
        report: Some(report),
        ..
    }) = &last
        && report.status == Status::Aborted
        && let Some(id) = report.only_failed_of.clone()
    {
        last = runs.find(|run| run.run_id == id);
    }
    last
}
