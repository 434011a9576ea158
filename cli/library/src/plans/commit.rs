//! The commit of a plan.

use std::collections::HashSet;
use std::path::PathBuf;

use mixflow_core::engine::{OnFailure, Pipeline, RunOptions};
use mixflow_core::ledger::Earlier;
use mixflow_core::report::RunReport;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_source_stage::{Committed, Receipt, Stage, StageSource, Staged};

use super::file::Planned;
use super::unit::unit_schema;
use crate::days::ledger_of;

/// What there is to commit of a pipeline.
pub enum CommitWork {
    /// Nothing: it is where it should be.
    Done {
        /// What was committed, and where.
        committed: Committed,
    },
    /// Units that nobody has left, without which nothing is committed.
    Missing {
        /// What they are called.
        labels: Vec<String>,
    },
    /// A run.
    Run {
        /// The pipeline with the stage as its source.
        pipeline: Box<Pipeline>,
        /// What is noted when it has committed.
        committed: Committed,
        /// The units that nobody has left.
        labels: Vec<String>,
    },
}

/// What a commit may do.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Commit what is there although units are missing.
    pub allow_missing: bool,
    /// Where the ledgers of sinks are that keep none.
    pub state: Option<PathBuf>,
    /// A folder for files without a name.
    pub scratch: PathBuf,
}

/// Looks at what was left of the units of `planned`, and returns what is to be
/// done.
///
/// Fails when the stage or the destination cannot be looked at, and with
/// [`ErrorKind::Config`] when missing units are allowed for a destination whose
/// days cannot be replaced.
pub fn commit_work(
    pipeline: Pipeline,
    planned: &Planned,
    stage: &Stage,
    options: &CommitOptions,
) -> Result<CommitWork> {
    let before = stage.committed()?;
    let has_all = |committed: &Committed| {
        let mut units = planned.units.iter();
        !committed.begun_only && units.all(|unit| committed.units.contains(&unit.key))
    };
    if let Some(committed) = before.as_ref().filter(|before| has_all(before)) {
        return Ok(CommitWork::Done {
            committed: committed.clone(),
        });
    }
    let mut receipts = stage.receipts()?;
    let keys: HashSet<_> = planned.units.iter().map(|unit| &unit.key).collect();
    receipts.retain(|key, _| keys.contains(key));
    let missing = planned.without(&receipts);
    let labels: Vec<String> = missing.map(|unit| unit.label.clone()).collect();
    if !labels.is_empty() && !options.allow_missing {
        return Ok(CommitWork::Missing { labels });
    }
    if options.allow_missing {
        check_replaces_days(&pipeline)?;
    }
    if let Some(before) = before.as_ref().filter(|before| before.begun_only) {
        check_again(&pipeline, before)?;
    }
    let committed = Committed {
        run_id: String::new(),
        destination: pipeline.destination().to_string(),
        committed_at: mixflow_core::clock::now(),
        rows: receipts.values().map(|receipt| receipt.rows).sum(),
        units: receipts.keys().cloned().collect(),
        begun_only: false,
    };
    if labels.is_empty() && is_held(&pipeline, planned, &receipts, options)? {
        stage.note(&committed)?;
        return Ok(CommitWork::Done { committed });
    }
    Ok(CommitWork::Run {
        pipeline: Box::new(for_commit(pipeline, planned, stage, receipts, options)?),
        committed,
        labels,
    })
}

/// Returns what is noted of a commit by what its run says; `None` if it has
/// committed nothing.
pub fn committed_by(report: &RunReport, committed: Committed) -> Option<Committed> {
    use mixflow_core::report::Status;
    matches!(report.status, Status::Committed | Status::Partial).then(|| Committed {
        run_id: report.run_id.clone(),
        committed_at: report.completed_at,
        ..committed
    })
}

/// Returns whether nobody could tell, after a run that died, if its rows are there:
/// where rows are added that no ledger knows by their days.
pub fn is_blind(pipeline: &Pipeline) -> bool {
    let mut sinks = pipeline.sinks.iter();
    !pipeline.source.info().partitions_are_days
        && sinks.any(|named| named.sink.earlier() == Earlier::Stay)
}

fn check_again(pipeline: &Pipeline, before: &Committed) -> Result<()> {
    if !is_blind(pipeline) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Destination,
        format!("nobody knows whether `{}` was committed", pipeline.name),
    )
    .because(format!(
        "a run began to, {} ago, and did not say how it ended; if it has, another one would add the rows once more",
        ago(before)
    ))
    .hint(format!(
        "look for the rows in {}; then remove `commit.json` from the stage, or plan anew with `--fresh`",
        before.destination
    )))
}

fn ago(before: &Committed) -> String {
    let since = mixflow_core::clock::now().duration_since(before.committed_at);
    format!("{} min", since.as_mins().max(0))
}

fn check_replaces_days(pipeline: &Pipeline) -> Result<()> {
    let mut sinks = pipeline.sinks.iter();
    if sinks.all(|named| named.sink.capabilities().replaces_days) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("`{}` can be committed only as a whole", pipeline.name),
    )
    .because("what is missing could not be added later without the rest")
    .hint("set `mode = \"replace_window\"` and plan anew, or leave `--allow-missing` out"))
}

/// Returns whether the destination has all units already, as they were fetched or
/// later: a run that could not note it has committed them.
fn is_held(
    pipeline: &Pipeline,
    planned: &Planned,
    receipts: &std::collections::BTreeMap<mixflow_core::unit::UnitKey, Receipt>,
    options: &CommitOptions,
) -> Result<bool> {
    if planned.units.is_empty() || !pipeline.source.info().partitions_are_days {
        return Ok(false);
    }
    let ledger = ledger_of(pipeline, options.state.as_deref())?;
    let mut units = planned.units.iter();
    Ok(units.all(|unit| {
        let receipt = receipts.get(&unit.key);
        receipt.is_some_and(|receipt| receipt.is_held_by(&ledger))
    }))
}

/// Returns the run that commits: the stage in the place of the source, and only the
/// transform whose columns go by the rows.
fn for_commit(
    pipeline: Pipeline,
    planned: &Planned,
    stage: &Stage,
    receipts: std::collections::BTreeMap<mixflow_core::unit::UnitKey, Receipt>,
    options: &CommitOptions,
) -> Result<Pipeline> {
    let schema = unit_schema(&pipeline);
    let mut transforms = pipeline.transforms;
    let late = transforms.pop_if(|last| last.transform.late().is_some());
    let source = StageSource::new(Staged {
        stage: stage.clone(),
        plan: planned.plan(),
        receipts,
        schema,
        info: pipeline.source.info(),
        accepts_short: pipeline.source.accepts_short(),
        max_rejects: pipeline.source.max_rejects(),
        scratch: options.scratch.clone(),
    })?;
    let on_failure = match options.allow_missing {
        true => OnFailure::Keep,
        false => OnFailure::Abort,
    };
    Ok(Pipeline {
        source_type: "stage".to_owned(),
        source: Box::new(source),
        transforms: late.into_iter().collect(),
        options: RunOptions {
            on_failure,
            ..pipeline.options
        },
        ..pipeline
    })
}
