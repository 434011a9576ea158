//! How many rows transforms have left out, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rows that transforms have left out, by the transform's type and then by the
/// reason in a word: `{"filter": {"false": 3, "null": 1}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dropped(BTreeMap<String, BTreeMap<String, u64>>);

impl Dropped {
    /// Returns whether there is no transform that leaves rows out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the types of the transforms, each with its reasons.
    pub fn by_transform(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, u64>)> {
        self.0
            .iter()
            .map(|(kind, reasons)| (kind.as_str(), reasons))
    }

    /// Returns how many rows they are, for all transforms or one type.
    pub fn rows(&self, kind: Option<&str>) -> u64 {
        let all = self.0.iter();
        let chosen = all.filter(|(known, _)| kind.is_none_or(|kind| kind == *known));
        chosen.flat_map(|(_, reasons)| reasons.values()).sum()
    }

    pub(crate) fn count(&mut self, kind: &str, reason: &str, rows: u64) {
        let reasons = self.0.entry(kind.to_owned()).or_default();
        *reasons.entry(reason.to_owned()).or_default() += rows;
    }

    pub(crate) fn add(&mut self, other: &Dropped) {
        for (kind, reasons) in &other.0 {
            for (reason, rows) in reasons {
                self.count(kind, reason, *rows);
            }
        }
    }
}
