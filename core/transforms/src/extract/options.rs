//! The options of `extract`.

use std::fmt;

use mixflow_core::written_as;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::super::json::PathText;
use super::super::scrub::PROPERTIES;
use super::column::ColumnType;

/// The options of `extract`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractOptions {
    /// The JSON column that the values stand in.
    #[serde(default = "properties")]
    pub from: String,
    /// The columns to make.
    pub columns: ExtractColumns,
    /// What happens to a value of another type.
    #[serde(default)]
    pub on_mismatch: OnMismatch,
    /// Whether the values are taken out of the JSON.
    #[serde(default)]
    pub remove: bool,
    /// The most columns that make themselves, those of the destination included;
    /// 100 unless it is given.
    pub max_columns: Option<usize>,
    /// The share of rows that have a property of which a column makes itself; 0.01
    /// unless it is given.
    pub min_fill: Option<f64>,
}

impl ExtractOptions {
    /// Returns the options for these columns, the others as they are by default.
    pub fn new(columns: impl Into<ExtractColumns>) -> ExtractOptions {
        ExtractOptions {
            from: properties(),
            columns: columns.into(),
            on_mismatch: OnMismatch::default(),
            remove: false,
            max_columns: None,
            min_fill: None,
        }
    }
}

fn properties() -> String {
    PROPERTIES.to_owned()
}

/// The columns to make.
#[derive(Clone, Debug)]
pub enum ExtractColumns {
    /// `"auto"`: those that the destination has, and one for each other property
    /// of the first unit that has rows.
    Auto,
    /// These, in their order.
    These(Vec<ExtractColumn>),
}

impl From<Vec<ExtractColumn>> for ExtractColumns {
    fn from(columns: Vec<ExtractColumn>) -> ExtractColumns {
        ExtractColumns::These(columns)
    }
}

written_as!(ExtractColumns, |generator| {
    let columns = generator.subschema_for::<Vec<ExtractColumn>>();
    json_schema!({ "anyOf": [{ "type": "string", "const": "auto" }, columns] })
});

impl<'de> Deserialize<'de> for ExtractColumns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ExtractColumns, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = ExtractColumns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`\"auto\"`, or a list of columns")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ExtractColumns, E> {
                match text {
                    "auto" => Ok(ExtractColumns::Auto),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<ExtractColumns, A::Error> {
                let columns = Vec::deserialize(SeqAccessDeserializer::new(items))?;
                Ok(ExtractColumns::These(columns))
            }
        }
        from.deserialize_any(Written)
    }
}

/// A column to make.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractColumn {
    /// The column's name.
    pub name: String,
    /// Where its values stand; the name, as one key, unless it is given.
    pub path: Option<PathText>,
    /// The column's type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// What happens to a value that is not of its column's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// It is null in the column, and stays where it is.
    #[default]
    Null,
    /// It fails its partition.
    Fail,
}
