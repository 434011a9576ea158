//! Pages as units.

use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::{Extent, Unit};
use mixflow_core::unit::DatasetKey;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::snapshot::Snapshot;

/// What tells a page from all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageRequest {
    pub(super) page: u64,
    pub(super) snapshot: Snapshot,
}

impl PageRequest {
    /// Returns the page that is a unit; `None` if it is none.
    pub(super) fn of(unit: &Unit) -> Option<PageRequest> {
        PageRequest::read(unit).ok()
    }

    /// Reads the page that is a unit.
    pub(super) fn read(unit: &Unit) -> Result<PageRequest> {
        PageRequest::deserialize(&unit.request).map_err(|error| {
            let message = format!("`{}` is not a page of profiles", unit.label);
            Error::new(ErrorKind::Other, message).with_source(error)
        })
    }
}

impl Snapshot {
    /// Returns page `n` as a unit of `dataset`.
    pub(super) fn unit(&self, dataset: &DatasetKey, n: u64) -> Unit {
        let request = json!(PageRequest {
            page: n,
            snapshot: self.clone(),
        });
        Unit::new(dataset, Extent::Page(n), format!("page {n}"), request)
    }
}
