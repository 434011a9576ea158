//! What a source or a transform is given, without a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam::channel::Receiver;

use crate::cancel::CancelToken;
use crate::context::{Delivery, Notice, Tally, TaskContext};
use crate::reject::{CountRejects, Rejects};
use crate::report::Dropped;
use crate::stand_in::StandIns;

/// Returns a context of a partition that nobody cancels, and what is told
/// through it.
pub fn task() -> (TaskContext, Receiver<Notice>) {
    let (notices, told) = crossbeam::channel::unbounded();
    let task = TaskContext {
        cancel: CancelToken::never(),
        delivery: Delivery::Verified,
        counters: Arc::default(),
        attempts: Arc::default(),
        rejected: Arc::default(),
        tally: Arc::default(),
        notices,
        rejects: Arc::new(Rejects::new(Box::new(CountRejects), 0)),
        stand_ins: StandIns::default(),
    };
    (task, told)
}

/// What transforms have counted of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Rows that were left out as duplicates.
    pub duplicates: u64,
    /// Rows that were left out, by transform and reason.
    pub dropped: Dropped,
    /// What is told at the end of the run.
    pub warnings: BTreeMap<String, u64>,
}

/// Returns what has been counted through `task`.
pub fn counted(task: &TaskContext) -> Counted {
    let Tally {
        duplicates,
        dropped,
        warnings,
    } = task.tally().clone();
    Counted {
        duplicates,
        dropped,
        warnings,
    }
}
