//! `select`: keeps or drops columns.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::error::Result;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::transform::Stateless;
use schemars::JsonSchema;
use serde::Deserialize;

use super::columns::positions;

const DOC: ComponentDoc = ComponentDoc {
    name: "select",
    about: "keeps or drops columns; exactly one of the options is given",
    options: &[
        OptionDoc::new(
            "keep",
            "list of columns",
            "the columns to keep, in the order wanted",
        ),
        OptionDoc::new("drop", "list of columns", "the columns to leave out"),
    ],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: SelectOptions, input, _| {
            let select = Select::new(&options, input)?;
            Ok(Box::new(select))
        })
        .takes::<SelectOptions>();
}

/// The options of `select`; exactly one of them is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectOptions {
    /// The columns to keep, in the order wanted.
    pub keep: Option<Vec<String>>,
    /// The columns to leave out.
    pub drop: Option<Vec<String>>,
}

/// Keeps or drops columns.
#[derive(Clone, Debug)]
pub struct Select {
    schema: SchemaRef,
    columns: Vec<usize>,
}

impl Select {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for a column that the input does not have, for a column that is
    /// named twice, and when no column would be left.
    pub fn new(options: &SelectOptions, input: &Schema) -> Result<Select, Vec<Invalid>> {
        let (key, columns) = match (&options.keep, &options.drop) {
            (Some(keep), None) => ("keep", positions("keep", keep, input)?),
            (None, Some(drop)) => {
                let dropped = positions("drop", drop, input)?;
                let dropped: HashSet<usize> = dropped.into_iter().collect();
                let columns = 0..input.fields().len();
                ("drop", columns.filter(|n| !dropped.contains(n)).collect())
            }
            _ => {
                let message = "`select` takes either `keep` or `drop`";
                return Err(vec![Invalid::new("", message)]);
            }
        };
        if columns.is_empty() {
            let message = "`select` would leave no column";
            return Err(vec![Invalid::new(key, message)]);
        }
        let schema = input.project(&columns);
        let schema = schema.expect("the positions are the schema's own");
        Ok(Select {
            schema: Arc::new(schema),
            columns,
        })
    }
}

impl Stateless for Select {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        Ok(records.project(&self.columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn input() -> RecordBatch {
        let fields = ["event_name", "event_time", "properties"]
            .map(|name| Field::new(name, DataType::Int64, false));
        let columns = [1, 2, 3].map(|n| Arc::new(Int64Array::from(vec![n])) as ArrayRef);
        RecordBatch::try_new(
            Arc::new(Schema::new(fields.to_vec())),
            columns.into_iter().collect(),
        )
        .expect("columns fit")
    }

    fn names(select: &Select) -> Vec<String> {
        select
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect()
    }

    fn options(keep: Option<&[&str]>, drop: Option<&[&str]>) -> SelectOptions {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SelectOptions {
            keep: keep.map(own),
            drop: drop.map(own),
        }
    }

    #[test]
    fn keep_gives_the_columns_in_the_order_wanted() {
        let input = input();
        let select = Select::new(
            &options(Some(&["properties", "event_name"]), None),
            &input.schema(),
        )
        .expect("columns exist");
        assert_eq!(names(&select), ["properties", "event_name"]);
        let output = select.apply(input).expect("schema fits");
        assert_eq!(output.schema(), select.schema);
    }

    #[test]
    fn drop_leaves_the_others_in_their_order() {
        let select = Select::new(&options(None, Some(&["event_time"])), &input().schema())
            .expect("columns exist");
        assert_eq!(names(&select), ["event_name", "properties"]);
    }

    #[test]
    fn wrong_columns_are_errors_when_the_pipeline_is_built() {
        let schema = input().schema();
        let message = |options: SelectOptions| {
            Select::new(&options, &schema)
                .expect_err("the options are wrong")
                .into_iter()
                .map(|problem| format!("{}: {}", problem.key, problem.message))
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(
            message(options(Some(&["event_nam"]), None)),
            "keep.0: there is no column `event_nam`, did you mean `event_name`?"
        );
        assert_eq!(
            message(options(None, Some(&["event_name", "event_name"]))),
            "drop.1: the column `event_name` is named twice"
        );
        assert_eq!(
            message(options(None, None)),
            ": `select` takes either `keep` or `drop`"
        );
        assert_eq!(
            message(options(Some(&[]), None)),
            "keep: `select` would leave no column"
        );
    }

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<SelectOptions>(&DOC);
    }
}
