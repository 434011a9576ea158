//! `extract`: makes columns of what stands in JSON.

mod auto;
mod choice;
mod column;
mod given;
mod observed;

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::Schema;
use mixflow_core::config::Invalid;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::transform::Transform;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::json::PathText;
use super::scrub::PROPERTIES;
use auto::Auto;
pub use column::ColumnType;
use given::Extract;
pub(crate) use observed::Observed;

const DOC: ComponentDoc = ComponentDoc {
    name: "extract",
    about: "makes typed columns, behind the others, of values inside a JSON column; a missing value and JSON's null are null, and so is one in a list on the way",
    options: &[
        OptionDoc::new(
            "from",
            "JSON column, default \"properties\"",
            "where the values stand",
        ),
        OptionDoc::new(
            "columns",
            "list of { name = \"…\", type = \"text | int | float | bool | timestamp | date | json\", path = \"cart.amount\" or a list of keys, default the name } | \"auto\", required",
            "the columns; text takes numbers and true/false as written, int is a whole number of 64 bits without fraction or exponent, timestamp is ISO 8601, in UTC unless it says otherwise; no type is made of a text but timestamp and date; \"auto\", in the last transform only, keeps those that the destination has, and adds one for each other property of the first partition that has rows",
        ),
        OptionDoc::new(
            "on_mismatch",
            "\"null\" | \"fail\", default \"null\"",
            "what to do with a value of another type: null in the column, counted in a warning and left where it stands, or the end of its partition",
        ),
        OptionDoc::new(
            "remove",
            "true | false, default false",
            "takes the values out of the JSON; one of another type stays there",
        ),
        OptionDoc::new(
            "max_columns",
            "number, default 100",
            "with columns = \"auto\": the most columns, those that are there included; the fullest first",
        ),
        OptionDoc::new(
            "min_fill",
            "number from 0 to 1, default 0.01",
            "with columns = \"auto\": a property that fewer rows have than this share stays in the JSON only",
        ),
    ],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: ExtractOptions, input, _| {
            options.build(input)
        })
        .takes::<ExtractOptions>();
}

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

    /// Builds the transform against the schema of its input.
    ///
    /// Fails if `from` is not a JSON column, for a name that is taken, also in
    /// another case, for options that do not go together, and, if values are
    /// removed, for paths of which one is inside another.
    pub fn build(self, input: &Schema) -> Result<Box<dyn Transform>, Vec<Invalid>> {
        let ExtractColumns::These(columns) = &self.columns else {
            return Ok(Box::new(Auto::new(self, input)?));
        };
        let of_auto = [
            ("max_columns", self.max_columns.is_some()),
            ("min_fill", self.min_fill.is_some()),
        ];
        let stray = of_auto.into_iter().filter(|(_, given)| *given);
        let stray: Vec<Invalid> = stray
            .map(|(key, _)| Invalid::new(key, "this goes with `columns = \"auto\"` alone"))
            .collect();
        if !stray.is_empty() {
            return Err(stray);
        }
        Ok(Box::new(Extract::new(&self, columns, input)?))
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

impl JsonSchema for ExtractColumns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ExtractColumns".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        let columns = generator.subschema_for::<Vec<ExtractColumn>>();
        json_schema!({ "anyOf": [{ "type": "string", "const": "auto" }, columns] })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<ExtractOptions>(&DOC);
    }
}
