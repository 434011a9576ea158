//! `mixflow run --only-failed`: the windows that the last run lacks.

use std::path::{Path, PathBuf};

use mixflow_core::destination::Destination;
use mixflow_core::engine::Pipeline;
use mixflow_core::report::{PartitionReport, PartitionStatus, RunReport, Status};
use mixflow_core::sink::{Residue, WriteMode};
use mixflow_core::unit::{Dataset, Unit};
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
///
/// Fails when that cannot be told, whatever the reason: then all of it is to be
/// run, since a day that is missing would be called whole, or come twice.
pub(crate) fn remainder(
    state: Option<&State>,
    file: &Path,
    pipeline: &Pipeline,
) -> Result<Remainder> {
    look_up(state, file, pipeline).map_err(|cause| {
        Error::new(
            ErrorKind::Config,
            format!("cannot tell what failed in `{}`", pipeline.name),
        )
        .because(cause)
        .hint("run it without `--only-failed`")
    })
}

fn look_up(state: Option<&State>, file: &Path, pipeline: &Pipeline) -> Result<Remainder, String> {
    let destination = pipeline.destination();
    let run = last_run(state, file, &destination)?;
    let stored_nothing = run.status == Status::Aborted;
    if !stored_nothing && run.failed_partitions.is_empty() {
        return Ok(Remainder::Nothing {
            completed_at: run.completed_at.to_string(),
        });
    }
    // What was stored stays, and the rest is added to it, where days cannot
    // simply be replaced.
    let stays =
        destination.path.is_some() && !pipeline.sinks.first().sink.capabilities().replaces_days;
    if stays && run.residue != Residue::None {
        let id = &run.run_id;
        return Err(format!(
            "it is not known what the run {id} left there, so days might come twice"
        ));
    }
    let mode = |mode| (stays && !stored_nothing).then_some(mode);
    let source = pipeline.source.info();
    if !source.partitions_are_days {
        return Ok(Remainder::All {
            of: run.run_id,
            reason: "profiles are a snapshot, whose pages fit no other: all of them are fetched again",
            mode: mode(WriteMode::Replace),
        });
    }
    let units = units_to_fetch(run.partitions, stored_nothing, &source.dataset)?;
    Ok(Remainder::Units {
        of: run.run_id,
        units,
        mode: mode(WriteMode::Append),
    })
}

/// Returns the report of the run that stored something last, or of the last
/// one if none did; or why that is not known.
fn last_run(
    state: Option<&State>,
    file: &Path,
    destination: &Destination,
) -> Result<RunReport, String> {
    let state = state.ok_or("there is no state folder")?;
    let file = canonical(file).unwrap_or_else(|| file.to_owned());
    let last = state
        .last_runs(&file, destination, LOOKED_THROUGH)
        .map_err(|error| format!("the history cannot be read: {error}"))?;
    if let Some(missing) = last.missing {
        return Err(missing);
    }
    let run =
        last_that_stored(last.runs).ok_or("no run of it to this destination is in the history")?;
    let PastRun { run_id, report, .. } = run;
    report.ok_or_else(|| format!("it is not known how the run {run_id} ended"))
}

/// Returns the units that a run lacks, or why they are not known.
fn units_to_fetch(
    partitions: Vec<PartitionReport>,
    stored_nothing: bool,
    dataset: &Dataset,
) -> Result<Vec<Unit>, String> {
    let lacking = partitions
        .into_iter()
        .filter(|partition| stored_nothing || partition.status == PartitionStatus::Failed);
    let units = lacking
        .map(|partition| partition.unit)
        .collect::<Option<Vec<_>>>()
        .filter(|units| !units.is_empty())
        .ok_or("the history does not say which days they are")?;
    let dataset = dataset.key();
    if !units.iter().all(|unit| unit.is_of(&dataset)) {
        return Err("the pipeline asks for other data than that run did".to_owned());
    }
    Ok(units)
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
