//! Ledgers of destinations that keep none themselves.

use std::sync::Arc;

use super::record::{FetchedUnit, Ledger};
use crate::destination::Destination;
use crate::error::Result;
use crate::unit::Dataset;

/// Keeps the ledgers of destinations whose sinks cannot, such as a stream.
///
/// A ledger that cannot be read or written stops no run. It is written after
/// the commit, so a process that dies between the two leaves rows that are in
/// no ledger: they are fetched again, not lost.
pub trait LedgerStore {
    /// Returns what `destination` holds of `dataset`, for a run that begins.
    fn read(&self, destination: &Destination, dataset: &Dataset) -> Result<Ledger>;

    /// Records what a run has committed.
    fn record(
        &self,
        destination: &Destination,
        dataset: &Dataset,
        done: &Recorded<'_>,
    ) -> Result<()>;
}

/// What a run has committed to a destination.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The units.
    pub units: &'a [FetchedUnit],
    /// What became of the rows that were there.
    pub earlier: Earlier,
}

/// What a source may know of the destination when it plans.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// What is held of the source's dataset.
    pub ledger: Arc<Ledger>,
    /// What becomes of it when the run commits.
    pub earlier: Earlier,
}

/// What becomes of earlier rows when a run commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Earlier {
    /// They stay.
    #[default]
    Stay,
    /// Those of the days that were fetched go.
    GoByDay,
    /// All of them go, or there were none.
    Go,
}
