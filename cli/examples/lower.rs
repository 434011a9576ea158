//! mixflow with a transform of its own: texts of a column in lower case.
//!
//! ```sh
//! cargo run -p mixflow-cli --example lower -- run lower.toml
//! ```
//!
//! where `lower.toml` has `[[transform]]`, `type = "lower"` and
//! `column = "event_name"`.

use std::process::ExitCode;
use std::sync::Arc;

use mixflow::Result;
use mixflow::core::arrow::array::{AsArray as _, RecordBatch, StringArray};
use mixflow::core::arrow::datatypes::{DataType, SchemaRef};
use mixflow::core::config::Invalid;
use mixflow::core::registry::{ComponentDoc, OptionDoc};
use mixflow::core::transform::Stateless;
use serde::Deserialize;

fn main() -> ExitCode {
    let mut registry = mixflow::registry();
    registry.add_transform(DOC, |options: LowerOptions, input, _| {
        let lower = Lower::new(&options, input)?;
        Ok(Box::new(lower))
    });
    mixflow_cli::main(registry)
}

const DOC: ComponentDoc = ComponentDoc {
    name: "lower",
    about: "puts the texts of a column in lower case",
    options: &[OptionDoc::new("column", "a column of texts", "the column")],
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LowerOptions {
    column: String,
}

#[derive(Clone)]
struct Lower {
    schema: SchemaRef,
    column: usize,
}

impl Lower {
    /// Finds the column, so that `mixflow check` finds what is wrong with it.
    fn new(options: &LowerOptions, input: &SchemaRef) -> Result<Lower, Vec<Invalid>> {
        let name = &options.column;
        match input.column_with_name(name) {
            Some((column, field)) if *field.data_type() == DataType::Utf8 => Ok(Lower {
                schema: Arc::clone(input),
                column,
            }),
            _ => {
                let message = format!("there is no column `{name}` of texts");
                Err(vec![Invalid::new("column", message)])
            }
        }
    }
}

impl Stateless for Lower {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        let mut columns = records.columns().to_vec();
        let texts = columns[self.column].as_string::<i32>().iter();
        let lower: StringArray = texts.map(|text| text.map(str::to_lowercase)).collect();
        columns[self.column] = Arc::new(lower);
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}
