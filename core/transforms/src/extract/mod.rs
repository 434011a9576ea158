//! `extract`: makes columns of what stands in JSON.

mod auto;
mod choice;
mod column;
mod given;
mod observed;
mod options;

use arrow::datatypes::Schema;
use mixflow_core::config::Invalid;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::transform::Transform;

use auto::Auto;
pub use column::ColumnType;
use given::Extract;
pub(crate) use observed::Observed;
pub use options::{ExtractColumn, ExtractColumns, ExtractOptions, OnMismatch};

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

impl ExtractOptions {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<ExtractOptions>(&DOC);
    }
}
