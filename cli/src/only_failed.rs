//! `mixflow run --only-failed`: the windows that the last run lacks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mixflow_core::destination::Destination;
use mixflow_core::engine::Pipeline;
use mixflow_core::report::{PartitionReport, PartitionStatus, RunReport, Status};
use mixflow_core::sink::{Residue, Sink, WriteMode};
use mixflow_core::source::SourceInfo;
use mixflow_core::unit::{Dataset, Unit, UnitKey};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::{PastRun, State};

/// What `--only-failed` makes of a pipeline.
pub(crate) enum Remainder {
    /// The last run lacks nothing.
    Nothing { completed_at: String },
    /// What is lacking.
    Rest(Rest),
}

/// What is lacking after the last run.
pub(crate) struct Rest {
    /// The run.
    pub(crate) of: String,
    /// The units to fetch; `None` is everything, for this reason.
    pub(crate) units: Result<Vec<Unit>, &'static str>,
    /// What each sink is to get, in their order; `None` is nothing.
    pub(crate) shares: Vec<Option<Share>>,
}

/// What a sink is to get.
pub(crate) struct Share {
    /// The units, if these are not all that are fetched.
    pub(crate) units: Option<BTreeSet<UnitKey>>,
    /// The write mode that takes the place of the file's.
    pub(crate) mode: Option<WriteMode>,
}

/// What a sink lacks.
struct Lack {
    /// How many runs came after the one that it was left by.
    age: usize,
    units: Vec<Unit>,
    mode: Option<WriteMode>,
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
    let destinations = pipeline.destinations();
    let runs = last_runs(state, file, &destinations)?;
    let source = pipeline.source.info();
    let mut lacks = Vec::new();
    let mut newest = usize::MAX;
    for (named, destination) in pipeline.sinks.iter().zip(&destinations) {
        let is_alone = !pipeline.sinks.are_several();
        let last = last_that_stored(&runs, |run| stored_at(run, destination, is_alone))?;
        newest = newest.min(last.age);
        lacks.push(lack(&last, &*named.sink, destination, &source)?);
    }
    let Some(age) = lacks.iter().flatten().map(|lack| lack.age).min() else {
        let last = runs.get(newest).and_then(|run| run.report.as_ref());
        let completed_at = last.map(|run| run.completed_at.to_string());
        return Ok(Remainder::Nothing {
            completed_at: completed_at.unwrap_or_default(),
        });
    };
    let all = union(&lacks);
    let keys = |units: &[Unit]| units.iter().map(|unit| unit.key.clone()).collect();
    let share = |lack: Lack| Share {
        units: (lack.units.len() < all.len()).then(|| keys(&lack.units)),
        mode: lack.mode,
    };
    let shares = lacks.into_iter().map(|lack| lack.map(share)).collect();
    Ok(Remainder::Rest(Rest {
        of: runs[age].run_id.clone(),
        units: if source.partitions_are_days {
            Ok(all)
        } else {
            Err("profiles are a snapshot, whose pages fit no other: all of them are fetched again")
        },
        shares,
    }))
}

/// Returns the units that some sink lacks, once each.
fn union(lacks: &[Option<Lack>]) -> Vec<Unit> {
    let mut seen = BTreeSet::new();
    let units = lacks.iter().flatten().flat_map(|lack| &lack.units);
    let units = units.filter(|unit| seen.insert(unit.key.clone()));
    units.cloned().collect()
}

/// Returns what a sink lacks after the run that stored something there last.
fn lack(
    last: &Stored<'_>,
    sink: &dyn Sink,
    destination: &Destination,
    source: &SourceInfo,
) -> Result<Option<Lack>, String> {
    let stored_nothing = last.status == Status::Aborted;
    let lacking = last.lacking();
    if !stored_nothing && lacking.is_empty() {
        return Ok(None);
    }
    // What was stored stays, and the rest is added to it, where days cannot
    // simply be replaced.
    let stays = destination.path.is_some() && !sink.capabilities().replaces_days;
    if stays && last.residue != Residue::None {
        let id = &last.run.run_id;
        return Err(format!(
            "it is not known what the run {id} left there, so days might come twice"
        ));
    }
    let (units, mode) = if source.partitions_are_days {
        (units_to_fetch(lacking, &source.dataset)?, WriteMode::Append)
    } else {
        (Vec::new(), WriteMode::Replace)
    };
    Ok(Some(Lack {
        age: last.age,
        units,
        mode: (stays && !stored_nothing).then_some(mode),
    }))
}

/// Returns the runs into these destinations, the last one first.
fn last_runs(
    state: Option<&State>,
    file: &Path,
    destinations: &[Destination],
) -> Result<Vec<PastRun>, String> {
    let state = state.ok_or("there is no state folder")?;
    let file = canonical(file).unwrap_or_else(|| file.to_owned());
    let last = state
        .last_runs(&file, destinations, LOOKED_THROUGH)
        .map_err(|error| format!("the history cannot be read: {error}"))?;
    match last.missing {
        Some(missing) => Err(missing),
        None => Ok(last.runs),
    }
}

/// How a run ended for one sink.
struct Stored<'r> {
    age: usize,
    run: &'r RunReport,
    status: Status,
    residue: Residue,
    /// The units that the sink was given; `None` is all of them.
    units: Option<&'r BTreeSet<UnitKey>>,
}

impl<'r> Stored<'r> {
    /// Returns what the sink was to be given and lacks.
    fn lacking(&self) -> Vec<&'r PartitionReport> {
        let stored_nothing = self.status == Status::Aborted;
        let is_its = |partition: &PartitionReport| match (self.units, &partition.unit) {
            (Some(own), Some(unit)) => own.contains(&unit.key),
            _ => true,
        };
        let partitions = self.run.partitions.iter();
        partitions
            .filter(|partition| is_its(partition))
            .filter(|partition| stored_nothing || partition.status == PartitionStatus::Failed)
            .collect()
    }
}

/// Returns how a run ended for the sink that writes to a destination; `None` if
/// the sink was not run. The sink of a pipeline that has one is always its own.
fn stored_at<'r>(
    run: &'r RunReport,
    destination: &Destination,
    is_alone: bool,
) -> Option<Stored<'r>> {
    let is_it =
        |one: &Destination| (&one.uri, &one.table) == (&destination.uri, &destination.table);
    if run.sinks.is_empty() {
        return (is_alone || is_it(&run.destination)).then_some(Stored {
            age: 0,
            run,
            status: run.status,
            residue: run.residue,
            units: None,
        });
    }
    let sink = run.sinks.iter().find(|sink| is_it(&sink.destination))?;
    Some(Stored {
        age: 0,
        run,
        status: sink.status,
        residue: sink.residue,
        units: sink.units.as_ref(),
    })
}

/// Returns the units of what is lacking, or why they are not known.
fn units_to_fetch(lacking: Vec<&PartitionReport>, dataset: &Dataset) -> Result<Vec<Unit>, String> {
    let units = lacking
        .into_iter()
        .map(|partition| partition.unit.clone())
        .collect::<Option<Vec<_>>>()
        .filter(|units| !units.is_empty())
        .ok_or("the history does not say which days they are")?;
    let dataset = dataset.key();
    if !units.iter().all(|unit| unit.is_of(&dataset)) {
        return Err("the pipeline asks for other data than that run did".to_owned());
    }
    Ok(units)
}

/// Returns how the last run of a sink ended for it, or the one whose rest it was
/// to fetch if it stored nothing: that leaves the other one as it was.
fn last_that_stored<'r>(
    runs: &'r [PastRun],
    of: impl Fn(&'r RunReport) -> Option<Stored<'r>>,
) -> Result<Stored<'r>, String> {
    for (age, run) in runs.iter().enumerate() {
        let PastRun { run_id, report, .. } = run;
        let report = report.as_ref();
        let report = report.ok_or_else(|| format!("it is not known how the run {run_id} ended"))?;
        let Some(stored) = of(report) else { continue };
        if stored.status != Status::Aborted || report.only_failed_of.is_none() {
            return Ok(Stored { age, ..stored });
        }
    }
    Err("no run of it to this destination is in the history".to_owned())
}
