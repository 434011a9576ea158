//! What was counted of a unit where it was read, for a run that commits its rows
//! later, maybe on another machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dropped::Dropped;
use crate::ledger::{DayRecord, UnitRecord};

/// What was counted of one unit. What a run commits of it says the same as if the
/// run had read it itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What a ledger says of the unit.
    pub record: UnitRecord,
    /// What it says of its days.
    pub days: Vec<DayRecord>,
    /// Rows that the source gave, before any transform.
    pub read: u64,
    /// Rows by the name of the event, as a report has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows_by_event: BTreeMap<String, u64>,
    /// Rows of these that transforms have left out.
    #[serde(default, skip_serializing_if = "Dropped::is_empty")]
    pub dropped: Dropped,
    /// What deserves a warning at the end of a run, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, u64>,
}
