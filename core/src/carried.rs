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
    /// What stands for who the rows are of, where nobody may be in two units.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "as_digits")]
    pub ids: Vec<u64>,
    /// Rows of these that transforms have left out.
    #[serde(default, skip_serializing_if = "Dropped::is_empty")]
    pub dropped: Dropped,
    /// What deserves a warning at the end of a run, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, u64>,
}

/// Numbers as one text of 16 digits for each, for a list of a thousand is long.
mod as_digits {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(ids: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let digits = ids.iter().map(|id| format!("{id:016x}"));
        to.serialize_str(&digits.collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let digits = text.as_bytes().chunks(16);
        let ids = digits.map(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|it| it.len() == 16);
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        });
        let ids: Option<Vec<u64>> = ids.collect();
        ids.ok_or_else(|| D::Error::custom("these are no numbers of 16 digits"))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ids(#[serde(with = "super::as_digits")] Vec<u64>);

    #[test]
    fn numbers_are_digits_and_come_back() {
        let ids = Ids(vec![0, 1, u64::MAX, 0x0123_4567_89ab_cdef]);
        let text = serde_json::to_string(&ids).expect("it is JSON");
        assert_eq!(text.len(), 2 + 4 * 16);
        assert_eq!(serde_json::from_str::<Ids>(&text).expect("they are"), ids);
        for other in [
            "\"0\"",
            "\"zzzzzzzzzzzzzzzz\"",
            "\"00000000000000001\"",
            "\"ééééééé\"",
        ] {
            assert!(serde_json::from_str::<Ids>(other).is_err(), "{other}");
        }
    }
}
