//! A look at a source's server, without a run.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::ending::contained;
use super::pipeline::Pipeline;
use crate::cancel::CancelToken;
use crate::context::{Delivery, RunContext};
use crate::error::Result;
use crate::ledger::Held;
use crate::reject::{CountRejects, Rejects};
use crate::source::Probe;
use crate::stand_in::StandIns;

/// Asks the server of a pipeline's source as little as can be to learn whether
/// a run could read; `None` if there is none.
///
/// Fails as a run would. Blocks until then, or until `cancel` is cancelled.
pub fn probe(pipeline: &Pipeline, cancel: &CancelToken) -> Result<Option<Probe>> {
    // Nobody is told of waits.
    let (notices, _) = crossbeam::channel::unbounded();
    let cx = RunContext {
        cancel: cancel.clone(),
        delivery: Delivery::Verified,
        held: Held::default(),
        most_requests: None,
        zone: TimeZone::UTC,
        counters: Arc::default(),
        notices,
        rejects: Arc::new(Rejects::new(Box::new(CountRejects), 0)),
        stand_ins: StandIns::default(),
    };
    let probed = contained("the source", || pipeline.source.probe(&cx));
    // A request that is cancelled fails in its own way; what happened is this.
    cancel.check()?;
    probed
}
