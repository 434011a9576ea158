//! A look at a source's server, without a run.

use super::ending::contained;
use super::pipeline::Pipeline;
use crate::cancel::CancelToken;
use crate::context::RunContext;
use crate::error::Result;
use crate::source::Probe;

/// Asks the server of a pipeline's source as little as can be to learn whether
/// a run could read; `None` if there is none.
///
/// Fails as a run would. Blocks until then, or until `cancel` is cancelled.
pub fn probe(pipeline: &Pipeline, cancel: &CancelToken) -> Result<Option<Probe>> {
    // Nobody is told of waits.
    let (notices, _) = crossbeam::channel::unbounded();
    let cx = RunContext::without_run(cancel.clone(), notices);
    let probed = contained("the source", || pipeline.source.probe(&cx));
    // A request that is cancelled fails in its own way; what happened is this.
    cancel.check()?;
    probed
}
