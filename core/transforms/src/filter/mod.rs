//! `filter`: keeps the rows for which an expression is true.
//!
//! The expression is SQL's: the crate `sqlparser` reads it, `compile` turns it
//! into a small typed tree or says what does not fit, and `evaluate` runs the
//! tree over batches.

mod compile;
mod evaluate;
mod number;
mod parse;
mod traps;
mod tree;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use arrow::array::Array as _;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::source::BatchIter;
use mixflow_core::transform::Stateless;
use schemars::JsonSchema;
use serde::Deserialize;

use tree::Condition;

const DOC: ComponentDoc = ComponentDoc {
    name: "filter",
    about: "keeps the rows for which a condition is true, not those for which it is false or null; the report says how many of each there were",
    options: &[OptionDoc::new(
        "where",
        "a condition, required: event_name = 'Purchase' AND properties.amount >= 10",
        "SQL of columns, paths (properties.cart.\"$sku\", properties->>'$sku'), texts in single quotes, numbers, TRUE and FALSE with = <> < <= > >= AND OR NOT ( ) IN, BETWEEN, LIKE, ILIKE, IS NULL and IS TRUE; a path has the type of what it is compared with, and a value of another JSON type, or inside a list, is null; NOT and <> are null of a missing value, too; times are compared with texts: event_time >= '2024-01-31 12:00'",
    )],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: FilterOptions, input, _| {
            let filter = Filter::new(&options, input)?;
            Ok(Box::new(filter))
        })
        .takes::<FilterOptions>();
}

/// The options of `filter`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterOptions {
    /// What is true of the rows that are kept.
    #[serde(rename = "where")]
    pub condition: String,
}

/// Keeps the rows for which a condition is true.
#[derive(Clone, Debug)]
pub struct Filter {
    schema: SchemaRef,
    condition: Condition,
    trap: Option<String>,
}

impl Filter {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for what is not an expression, for columns that the input does
    /// not have, and for comparisons of different types.
    pub fn new(options: &FilterOptions, input: &SchemaRef) -> Result<Filter, Vec<Invalid>> {
        let condition = parse::expression(&options.condition)
            .and_then(|expression| compile::condition(&expression, input))
            .map_err(|message| vec![Invalid::new("where", message)])?;
        Ok(Filter {
            schema: SchemaRef::clone(input),
            trap: condition.trap(input),
            condition,
        })
    }
}

impl Stateless for Filter {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        let passes = self.condition.evaluate(&records)?;
        Ok(filter_record_batch(&records, &passes)?)
    }

    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        let count = |reason, rows: usize| cx.count_dropped(DOC.name, reason, rows as u64);
        // Also said of partitions without a row.
        count("false", 0);
        count("null", 0);
        Box::new(batches.map(move |records| {
            let records = records?;
            let passes = self.condition.evaluate(&records)?;
            count("null", passes.null_count());
            count(
                "false",
                passes.len() - passes.null_count() - passes.true_count(),
            );
            Ok(filter_record_batch(&records, &passes)?)
        }))
    }

    fn warnings(&self) -> Vec<String> {
        self.trap.iter().cloned().collect()
    }
}
