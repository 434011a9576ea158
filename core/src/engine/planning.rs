//! A plan without a run.

use super::ending::contained;
use super::pipeline::Pipeline;
use crate::cancel::CancelToken;
use crate::context::RunContext;
use crate::error::Result;
use crate::ledger::Held;
use crate::source::{Fate, Plan};

/// Has the source of a pipeline plan, for a destination that holds `held`, and
/// reads nothing.
///
/// Where the source knows its units without asking it needs no secret; else it
/// makes the requests that a run would make before it reads. Blocks until then, or
/// until `cancel` is cancelled.
pub fn plan(pipeline: &Pipeline, held: Held, cancel: &CancelToken) -> Result<Plan> {
    let outline = pipeline.source.outline(&held);
    if !outline.units.is_empty() {
        return Ok(Plan {
            requests: outline.units.len() as u64,
            units: outline.units,
            max_workers: outline.max_workers,
            warnings: outline.notes,
            ..Plan::default()
        });
    }
    // Nobody is told of waits.
    let (notices, _) = crossbeam::channel::unbounded();
    let mut cx = RunContext::without_run(cancel.clone(), notices);
    cx.held = held;
    let planned = contained("the source", || {
        let session = pipeline.source.open(&cx)?;
        let plan = session.plan();
        // What was read for the plan is of use to whoever reads the units.
        session.finish(Fate::Unfinished);
        plan
    });
    // A request that is cancelled fails in its own way; what happened is this.
    cancel.check()?;
    planned
}
