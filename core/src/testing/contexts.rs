//! What a source or a transform is given, without a run.

use std::collections::BTreeMap;

use crossbeam::channel::Receiver;

use crate::cancel::CancelToken;
use crate::context::{Notice, RunContext, Tally, UnitContext};
use crate::report::Dropped;

/// Returns a context of a run that nobody cancels, and what is told through it.
pub fn run_context() -> (RunContext, Receiver<Notice>) {
    let (notices, told) = crossbeam::channel::unbounded();
    let cx = RunContext::without_run(CancelToken::never(), notices);
    (cx, told)
}

/// Returns a context of a unit of such a run.
pub fn unit_context() -> (UnitContext, Receiver<Notice>) {
    let (cx, told) = run_context();
    (cx.unit(), told)
}

/// What transforms have counted of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Rows that were left out as duplicates.
    pub duplicates: u64,
    /// Rows that were left out, by transform and reason.
    pub dropped: Dropped,
    /// What is told at the end of the run.
    pub warnings: BTreeMap<String, u64>,
    /// Bytes of records, if the source has said them.
    pub bytes: Option<u64>,
    /// The largest version among the records.
    pub latest_version: Option<i64>,
}

/// Returns what has been counted through `cx`.
pub fn counted(cx: &UnitContext) -> Counted {
    let Tally {
        duplicates,
        dropped,
        warnings,
    } = cx.tally().clone();
    let facts = cx.facts();
    Counted {
        duplicates,
        dropped,
        warnings,
        bytes: facts.bytes,
        latest_version: facts.latest_version,
    }
}
