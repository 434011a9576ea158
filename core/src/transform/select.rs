//! `select`: keeps or drops columns.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::Deserialize;

use super::Transform;
use crate::error::{Error, ErrorKind, Result};
use crate::suggest::did_you_mean;

/// The options of `select`; exactly one of them is given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectOptions {
    /// The columns to keep, in the order wanted.
    pub keep: Option<Vec<String>>,
    /// The columns to leave out.
    pub drop: Option<Vec<String>>,
}

/// Keeps or drops columns.
#[derive(Debug)]
pub struct Select {
    schema: SchemaRef,
    columns: Vec<usize>,
}

impl Select {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for a column that the input does not have, for a column that is
    /// named twice, and when no column would be left.
    pub fn new(options: &SelectOptions, input: &Schema) -> Result<Select> {
        let columns = match (&options.keep, &options.drop) {
            (Some(keep), None) => positions(keep, input)?,
            (None, Some(drop)) => {
                let dropped = positions(drop, input)?;
                (0..input.fields().len())
                    .filter(|column| !dropped.contains(column))
                    .collect()
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "`select` takes either `keep` or `drop`",
                ));
            }
        };
        if columns.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "`select` would leave no column",
            ));
        }
        Ok(Select {
            schema: Arc::new(input.project(&columns)?),
            columns,
        })
    }
}

fn positions(names: &[String], input: &Schema) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let Ok(position) = input.index_of(name) else {
            let known: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(Error::new(
                ErrorKind::Config,
                format!("there is no column `{name}`{}", did_you_mean(name, &known)),
            ));
        };
        if positions.contains(&position) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the column `{name}` is named twice"),
            ));
        }
        positions.push(position);
    }
    Ok(positions)
}

impl Transform for Select {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        Ok(records.project(&self.columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field};

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
        let schema = select.schema();
        schema.fields().iter().map(|f| f.name().clone()).collect()
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
        assert_eq!(output.schema(), select.schema());
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
                .to_string()
        };
        assert_eq!(
            message(options(Some(&["event_nam"]), None)),
            "there is no column `event_nam`, did you mean `event_name`?"
        );
        assert_eq!(
            message(options(None, Some(&["event_name", "event_name"]))),
            "the column `event_name` is named twice"
        );
        assert_eq!(
            message(options(None, None)),
            "`select` takes either `keep` or `drop`"
        );
        assert_eq!(
            message(options(Some(&[]), None)),
            "`select` would leave no column"
        );
    }
}
