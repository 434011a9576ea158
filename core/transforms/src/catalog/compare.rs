//! What is different between two catalogues.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::extract::ColumnType;
use super::Catalog;

/// A property as an earlier catalogue has it, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KnownProperty {
    /// Its key.
    pub property: String,
    /// The types of its values.
    pub types: Vec<ColumnType>,
}

/// A property that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its key.
    pub property: String,
    /// What has become of it.
    pub change: Change,
    /// The types that it had; none if it is new.
    pub before: Option<Vec<ColumnType>>,
    /// The types that it has; none if it is gone.
    pub after: Option<Vec<ColumnType>>,
}

/// What has become of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// Its values are of other types.
    Type,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::New => "new",
            Change::Gone => "gone",
            Change::Type => "type",
        })
    }
}

impl Catalog {
    /// Returns what is different from an earlier catalogue, by property.
    pub fn differences(&self, earlier: &[KnownProperty]) -> Vec<Difference> {
        let mut pairs: BTreeMap<&str, [Option<&Vec<ColumnType>>; 2]> = BTreeMap::new();
        for known in earlier {
            pairs.entry(&known.property).or_default()[0] = Some(&known.types);
        }
        for property in &self.properties {
            pairs.entry(&property.property).or_default()[1] = Some(&property.types);
        }
        let differences = pairs.into_iter().filter_map(|(property, [before, after])| {
            let change = match (before, after) {
                (None, _) => Change::New,
                (_, None) => Change::Gone,
                (before, after) if before != after => Change::Type,
                _ => return None,
            };
            Some(Difference {
                property: property.to_owned(),
                change,
                before: before.cloned(),
                after: after.cloned(),
            })
        });
        differences.collect()
    }
}
