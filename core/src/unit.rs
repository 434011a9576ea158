//! Units of work: what is fetched, retried, reported and recorded as a whole.
//!
//! A unit is plain data. Whoever has a [`Unit`] and the recipe of its source
//! can read it, in this process, in another one, or on another machine, and its
//! [`UnitKey`] is the same on all of them.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::text::hex;

/// What rows are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum DataKind {
    /// Something that somebody did, at a time.
    #[default]
    Events,
    /// What is known of somebody now.
    Profiles,
    /// What a source of somebody else's calls it, in a word.
    Other(String),
}

impl DataKind {
    /// Returns the word that reports, tables and metadata use: `events`.
    pub fn as_str(&self) -> &str {
        match self {
            DataKind::Events => "events",
            DataKind::Profiles => "profiles",
            DataKind::Other(word) => word,
        }
    }
}

impl From<String> for DataKind {
    fn from(word: String) -> DataKind {
        match word.as_str() {
            "events" => DataKind::Events,
            "profiles" => DataKind::Profiles,
            _ => DataKind::Other(word),
        }
    }
}

impl From<DataKind> for String {
    fn from(kind: DataKind) -> String {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which data: what stays the same from day to day and from page to page.
///
/// Two pipelines with an equal dataset fetch parts of the same whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The project, or what else it is one of many of.
    pub project: String,
    /// What the rows are.
    pub kind: DataKind,
    /// Whose midnight a day begins at: `UTC`, `US/Pacific`.
    pub zone: String,
    /// What of the project is wanted, by the names of the options and as they
    /// were written. For the key the order of the options does not count, nor
    /// that of a list of texts, which is a set of names.
    pub filters: Map<String, Value>,
}

impl Dataset {
    /// Returns the key, the same on every machine.
    pub fn key(&self) -> DatasetKey {
        let Dataset {
            project,
            kind,
            zone,
            filters,
        } = self;
        let mut hash = Hash::new("mixflow dataset 1");
        hash.text(project).text(kind.as_str()).text(zone);
        let filters = filters
            .iter()
            .map(|(name, value)| (name.clone(), as_a_set(value)));
        hash.object(&filters.collect());
        DatasetKey(hash.finish())
    }
}

/// The identity of a [`Dataset`]: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatasetKey(String);

/// The identity of a [`Unit`]: 32 hexadecimal digits.
///
/// A hash of the dataset and the request. Credentials, host and the order of
/// options have no part in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitKey(String);

impl DatasetKey {
    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UnitKey {
    /// Returns the key that was kept as these digits.
    pub fn of_digits(digits: impl Into<String>) -> UnitKey {
        UnitKey(digits.into())
    }

    /// Returns the key of the unit of `dataset` that is had by `request`.
    ///
    /// Of a plan's units there may be 100,000, and a dataset may name as many
    /// people, so its own key is made once for all of them.
    pub fn of(dataset: &DatasetKey, request: &Value) -> UnitKey {
        let mut hash = Hash::new("mixflow unit 1");
        hash.text(dataset.as_str());
        hash.value(request);
        UnitKey(hash.finish())
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatasetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of the work that succeeds or fails as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The same on every machine.
    pub key: UnitKey,
    /// What part of the destination its rows stand for.
    pub extent: Extent,
    /// What people call it: `2024-01-01..2024-01-07`, `page 17`. Never read by
    /// a program.
    pub label: String,
    /// What the source needs to read it, in the source's own terms. Has no
    /// secret.
    pub request: Value,
}

impl Unit {
    /// Creates the unit of `dataset` that is had by `request`.
    pub fn new(
        dataset: &DatasetKey,
        extent: Extent,
        label: impl Into<String>,
        request: Value,
    ) -> Unit {
        Unit {
            key: UnitKey::of(dataset, &request),
            extent,
            label: label.into(),
            request,
        }
    }

    /// Returns whether this is a unit of `dataset`.
    pub fn is_of(&self, dataset: &DatasetKey) -> bool {
        self.key == UnitKey::of(dataset, &self.request)
    }
}

/// What part of the destination a unit stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Whole days.
    Days(DayRange),
    /// A page of a snapshot, counted from 0. Pages of two snapshots have
    /// nothing to do with each other.
    Page(u64),
    /// Nothing less than all there is.
    Whole,
}

/// A range of whole days, with the instants at which it starts and ends.
///
/// In a project's own zone a day does not start at midnight UTC, hence both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRange {
    /// The first day.
    pub first: Date,
    /// The last day, inclusive.
    pub last: Date,
    /// The first instant of the first day, in microseconds since 1970 (UTC).
    pub start_us: i64,
    /// The first instant after the last day, in microseconds since 1970 (UTC).
    pub end_us: i64,
}

/// Returns the value with its texts in order and once each, if it is a list of
/// texts.
fn as_a_set(value: &Value) -> Value {
    let texts = || value.as_array()?.iter().map(Value::as_str).collect();
    let texts: Option<BTreeSet<&str>> = texts();
    texts.map_or_else(|| value.clone(), |texts| texts.into_iter().collect())
}

/// A hash of values that takes no account of the order of keys.
struct Hash(Sha256);

impl Hash {
    fn new(purpose: &str) -> Hash {
        let mut hash = Hash(Sha256::new());
        hash.text(purpose);
        hash
    }

    /// Adds a text with its length, so that no two lists of texts are alike.
    fn text(&mut self, text: &str) -> &mut Hash {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(object) => self.object(object),
            Value::Array(values) => {
                self.0.update([b'[']);
                self.0.update((values.len() as u64).to_le_bytes());
                for value in values {
                    self.value(value);
                }
            }
            // A text that looks like a number is none.
            Value::String(text) => {
                self.0.update([b'"']);
                self.text(text);
            }
            scalar => {
                self.0.update([b'=']);
                self.text(&scalar.to_string());
            }
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        self.0.update([b'{']);
        self.0.update((object.len() as u64).to_le_bytes());
        let mut keys: Vec<&String> = object.keys().collect();
        keys.sort_unstable();
        for key in keys {
            self.text(key);
            self.value(&object[key]);
        }
    }

    /// Returns half of the hash, in hexadecimal.
    fn finish(self) -> String {
        hex(&self.0.finalize()[..16])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn dataset(filters: Value) -> Dataset {
        let Value::Object(filters) = filters else {
            panic!("filters are an object");
        };
        Dataset {
            project: "12345".to_owned(),
            kind: DataKind::Events,
            zone: "UTC".to_owned(),
            filters,
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z0-9\"{}:,]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c]{1,2}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    /// Returns the value with the keys of its objects the other way round.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                let pairs = object.iter().rev();
                Value::Object(pairs.map(|(k, v)| (k.clone(), reversed(v))).collect())
            }
            Value::Array(values) => values.iter().map(reversed).collect(),
            scalar => scalar.clone(),
        }
    }

    proptest! {
        #[test]
        fn keys_are_equal_just_when_requests_are(one in json_value(), other in json_value()) {
            let dataset = dataset(json!({})).key();
            let key = |request: &Value| UnitKey::of(&dataset, request);
            prop_assert_eq!(key(&one), key(&reversed(&one)));
            // `serde_json` compares objects without their order, too.
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn keys_differ_when_a_filter_does(one in json_value(), other in json_value()) {
            let key = |where_: &Value| dataset(json!({ "where": where_ })).key();
            let same = as_a_set(&one) == as_a_set(&other);
            prop_assert_eq!(key(&one) == key(&other), same);
        }

        #[test]
        fn a_list_of_names_is_a_set(
            names in prop::collection::vec("[a-d]{1,2}", 0..6),
            other in prop::collection::vec("[a-d]{1,2}", 0..6),
        ) {
            let key = |names: &[String]| dataset(json!({ "events": names })).key();
            let reversed: Vec<String> = names.iter().rev().chain(names.first()).cloned().collect();
            prop_assert_eq!(key(&names), key(&reversed));
            let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
            prop_assert_eq!(key(&names) == key(&other), set(&names) == set(&other));
        }

        #[test]
        fn a_unit_survives_serde(request in json_value(), page in any::<u64>()) {
            let unit = Unit::new(&dataset(json!({})).key(), Extent::Page(page), "page", request);
            let text = serde_json::to_string(&unit).expect("a unit is JSON");
            prop_assert_eq!(serde_json::from_str::<Unit>(&text).expect("it is a unit"), unit);
        }
    }

    #[test]
    fn project_kind_and_zone_are_part_of_the_key() {
        let base = dataset(json!({}));
        let others = [
            Dataset {
                project: "1234".to_owned(),
                ..base.clone()
            },
            Dataset {
                kind: DataKind::Profiles,
                ..base.clone()
            },
            Dataset {
                zone: "US/Pacific".to_owned(),
                ..base.clone()
            },
        ];
        for other in others {
            assert_ne!(base.key(), other.key());
            let request = json!({ "from_date": "2024-01-01" });
            let unit = Unit::new(&base.key(), Extent::Whole, "all", request);
            assert!(unit.is_of(&base.key()) && !unit.is_of(&other.key()));
        }
    }

    #[test]
    fn a_key_is_the_same_in_every_version() {
        let dataset = dataset(json!({ "events": ["a"], "where": "x" }));
        let key = UnitKey::of(&dataset.key(), &json!({ "from_date": "2024-01-01" }));
        assert_eq!(key.as_str(), "5b054a1f11234e84b970626e8a191ec2");
    }

    #[test]
    fn a_kind_is_its_word() {
        for word in ["events", "profiles", "groups"] {
            assert_eq!(DataKind::from(word.to_owned()).as_str(), word);
            assert_eq!(json!(DataKind::from(word.to_owned())), json!(word));
        }
    }
}
