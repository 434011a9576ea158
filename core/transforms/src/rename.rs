//! `rename`: gives columns other names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::error::Result;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::transform::Stateless;
use schemars::JsonSchema;
use serde::Deserialize;

use super::columns::{none_or, position};

const DOC: ComponentDoc = ComponentDoc {
    name: "rename",
    about: "gives columns other names; their order stays",
    options: &[OptionDoc::new(
        "columns",
        "{ old = \"new\", … }",
        "the columns, each with its new name",
    )],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: RenameOptions, input, _| {
            let rename = Rename::new(&options, input)?;
            Ok(Box::new(rename))
        })
        .takes::<RenameOptions>();
}

/// The options of `rename`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameOptions {
    /// The new name of each column that gets one.
    pub columns: BTreeMap<String, String>,
}

/// Gives columns other names.
#[derive(Clone, Debug)]
pub struct Rename {
    schema: SchemaRef,
}

impl Rename {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for a column that the input does not have, and for a name that
    /// two columns would have.
    pub fn new(options: &RenameOptions, input: &Schema) -> Result<Rename, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut fields: Vec<Field> = input.fields().iter().map(|f| (**f).clone()).collect();
        for (old, new) in &options.columns {
            let key = format!("columns.{old}");
            match position(&key, old, input) {
                Ok(_) if new.is_empty() => invalid.push(Invalid::new(key, "a name is not empty")),
                Ok(at) => fields[at].set_name(new),
                Err(problem) => invalid.push(problem),
            }
        }
        let mut called: HashMap<String, Vec<&str>> = HashMap::new();
        for field in &fields {
            let name = field.name();
            called.entry(name.to_lowercase()).or_default().push(name);
        }
        for (old, new) in &options.columns {
            let same = called
                .get(&new.to_lowercase())
                .map_or(&[][..], Vec::as_slice);
            let message = match same {
                [] | [_] => continue,
                names if names.iter().all(|name| name == new) => {
                    format!("two columns would be called `{new}`")
                }
                names => format!(
                    "the columns {} would differ only in case, and a database takes them for one",
                    names
                        .iter()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            invalid.push(Invalid::new(format!("columns.{old}"), message));
        }
        if options.columns.is_empty() {
            invalid.push(Invalid::new("columns", "this names no column"));
        }
        let schema = Schema::new_with_metadata(fields, input.metadata().clone());
        none_or(
            invalid,
            Rename {
                schema: Arc::new(schema),
            },
        )
    }
}

impl Stateless for Rename {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        let columns = records.columns().to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::batch::is_json;

    use super::super::tests::{events, rejected};
    use super::*;

    fn options(columns: &[(&str, &str)]) -> RenameOptions {
        let own = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
        RenameOptions {
            columns: columns.iter().map(own).collect(),
        }
    }

    #[test]
    fn columns_get_new_names_and_stay_what_they_are() {
        let input = events(&["{}"]);
        let options = options(&[
            ("properties", "props"),
            ("event_name", "distinct_id"),
            ("distinct_id", "event_name"),
        ]);
        let rename = Rename::new(&options, &input.schema()).expect("the columns exist");
        let output = rename.apply(input.clone()).expect("the schema fits");
        let names: Vec<&str> = rename
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        assert_eq!(
            names,
            [
                "distinct_id",
                "event_time",
                "event_name",
                "insert_id",
                "props"
            ]
        );
        assert_eq!(output.columns(), input.columns());
        assert!(is_json(rename.schema.field(4)));
    }

    #[test]
    fn wrong_names_are_errors_when_the_pipeline_is_built() {
        let input = events(&[]);
        let message = |columns| rejected(Rename::new(&options(columns), &input.schema()));
        assert_eq!(
            message(&[("event_nam", "event")]),
            "columns.event_nam: there is no column `event_nam`, did you mean `event_name`?"
        );
        assert_eq!(
            message(&[("event_name", "insert_id")]),
            "columns.event_name: two columns would be called `insert_id`"
        );
        assert_eq!(
            message(&[("event_name", "x"), ("insert_id", "x")]),
            "columns.event_name: two columns would be called `x`; columns.insert_id: two columns would be called `x`"
        );
        // DuckDB would refuse the table, after everything was fetched.
        assert_eq!(
            message(&[("event_name", "Insert_ID")]),
            "columns.event_name: the columns `Insert_ID`, `insert_id` would differ only in case, and a database takes them for one"
        );
        assert_eq!(
            message(&[("event_name", "")]),
            "columns.event_name: a name is not empty"
        );
        assert_eq!(message(&[]), "columns: this names no column");
    }

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<RenameOptions>(&DOC);
    }
}
