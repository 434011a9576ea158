//! What a stage says of a unit that was read, and of what was committed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mixflow_core::carried::Carried;
use mixflow_core::fit::Provenance;
use mixflow_core::ledger::{Ledger, days};
use mixflow_core::unit::UnitKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The rows of a unit, as an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, relative to the plan's folder on the stage.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// What the service of a bucket changes whenever the object does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// What the pipeline's sink is to know of it to take it as it is; none if it could
    /// not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Value>,
}

/// A unit that was read whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The plan.
    pub plan_id: String,
    /// The unit.
    pub key: UnitKey,
    /// Rows of the part.
    pub rows: u64,
    /// Records that could not be read.
    pub rejected: u64,
    /// Rows that were left out as duplicates.
    pub duplicates: u64,
    /// Bytes that came over the wire.
    pub bytes: u64,
    /// Requests that were made, tries included.
    pub requests: u64,
    /// Where the rows are.
    pub part: Part,
    /// When the rows were asked for.
    pub fetched_at: Timestamp,
    /// The version that did it.
    pub mixflow_version: String,
    /// Where the records are that could not be read, on the machine that read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_file: Option<String>,
    /// What was counted, for the run that commits.
    pub counted: Carried,
    /// How the rows were made, where others would have to share it.
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,
}

impl Receipt {
    /// Returns whether a destination with this ledger has the days of the unit
    /// already, as they were fetched then or later. Of what stands for no days nobody
    /// can tell.
    pub fn is_held_by(&self, ledger: &Ledger) -> bool {
        let range = self.counted.record.days;
        range.is_some_and(|range| {
            days(range.first, range.last).all(|day| {
                let held = ledger.get(day);
                held.is_some_and(|held| held.fetched_at >= self.fetched_at)
            })
        })
    }
}

/// What was committed of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The run that did it last.
    pub run_id: String,
    /// Where the rows are, for people.
    pub destination: String,
    /// When.
    pub committed_at: Timestamp,
    /// Rows of all units.
    pub rows: u64,
    /// The units.
    pub units: BTreeSet<UnitKey>,
    /// Whether a run has only announced it so far: then nobody knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun_only: bool,
}
