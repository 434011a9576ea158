//! The `[run]` table.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

use super::document::Document;
use crate::context::Delivery;
use crate::engine::{OnFailure, RunOptions};
use crate::registry::{ComponentDoc, OptionDoc};

/// The `[run]` table.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTable {
    /// The number of threads that read.
    pub workers: Option<NonZeroUsize>,
    /// What happens when a partition fails for good.
    pub on_failure: Option<OnFailure>,
    /// When rows may leave a partition.
    pub delivery: Option<DeliveryName>,
    /// Fewer rows than this fail the run.
    pub min_rows: Option<u64>,
    /// The file with the numbers of the last run.
    pub metrics: Option<PathBuf>,
}

/// Where `metrics` stands.
pub(super) const METRICS: &str = "run.metrics";

/// What `mixflow components` shows of the `[run]` table.
pub const RUN_DOC: ComponentDoc = ComponentDoc {
    name: "run",
    about: "how many workers read, and what a failure means; every key may be left out",
    options: &[
        OptionDoc::new(
            "workers",
            "number, default 1",
            "how many windows or pages are read at the same time; 1 reads one after the other",
        ),
        OptionDoc::new(
            "on_failure",
            "abort | keep, default abort with one worker, keep with more",
            "when a window or page cannot be fetched: abort leaves the destination as it was (exit 1), keep commits the others and names the missing ones (exit 3)",
        ),
        OptionDoc::new(
            "delivery",
            "verified | direct, default direct with one worker into a sink that is not transactional, else verified",
            "when the sink gets rows: once their window is known to be whole, or as they arrive; a transactional sink takes verified only",
        ),
        OptionDoc::new(
            "min_rows",
            "number, default 0",
            "fewer rows than this fail the run, and nothing is committed",
        ),
        OptionDoc::new(
            "metrics",
            "path",
            "a Prometheus text file that is written after each run, also when nothing could be done: the time of the last success, rows, missing days, by pipeline; several pipelines may share it",
        ),
    ],
};

/// How TOML spells a [`Delivery`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryName {
    /// When the partition is known to be complete.
    Verified,
    /// As the rows arrive.
    Direct,
}

impl RunTable {
    /// Returns the options with their defaults: with several workers, what
    /// could be had is kept when some cannot.
    pub fn options(&self) -> RunOptions {
        let workers = self.workers.unwrap_or(NonZeroUsize::MIN);
        let by_default = if workers.get() == 1 {
            OnFailure::Abort
        } else {
            OnFailure::Keep
        };
        RunOptions {
            workers,
            on_failure: self.on_failure.unwrap_or(by_default),
            delivery: self.delivery.map(Delivery::from),
            min_rows: self.min_rows.unwrap_or(0),
        }
    }
}

impl From<DeliveryName> for Delivery {
    fn from(name: DeliveryName) -> Delivery {
        match name {
            DeliveryName::Verified => Delivery::Verified,
            DeliveryName::Direct => Delivery::Direct,
        }
    }
}

/// Reads the table; `source` is the source's, if there is one.
///
/// `workers` is accepted beside the source's options too, because that is
/// where people who think of the API's limits look for it.
pub(super) fn run_table<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    source: Option<&DeTable<'t>>,
) -> Option<RunTable> {
    let mut run: RunTable = match root.get("run") {
        Some(value) => document.read("run", value.clone())?,
        None => RunTable::default(),
    };
    let beside: Option<NonZeroUsize> = match source.and_then(|table| table.get("workers")) {
        Some(value) => Some(document.read("source.workers", value.clone())?),
        None => None,
    };
    run.workers = beside.or(run.workers);
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_described;

    #[test]
    fn every_key_is_described() {
        assert_described::<RunTable>(&RUN_DOC);
    }
}
