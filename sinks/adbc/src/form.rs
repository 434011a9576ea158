//! The form in which rows are given to a driver.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::is_json;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::columns_of;
use crate::dialect::Dialect;
use crate::keys;
use crate::session::Session;

/// The columns of a table that rows have, in the table's order and by its names.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) schema: SchemaRef,
    /// Which column of the rows each of them is.
    from: Vec<usize>,
    /// Which of them are `jsonb`.
    jsonb: Vec<usize>,
}

impl Form {
    /// Looks which columns of a table that is there rows of `schema` fill.
    ///
    /// A driver may write by position, and what it writes of JSON goes by the
    /// column's type.
    pub(crate) fn of(session: &Session, table: &str, schema: &Schema) -> Result<Form> {
        let dialect = session.dialect;
        let (mut fields, mut from, mut jsonb) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns_of(session, table)? {
            let found = schema.fields().iter().position(|field| {
                let name = dialect.name(field.name());
                match dialect {
                    Dialect::Postgres => *name == *column.name,
                    _ => name.eq_ignore_ascii_case(&column.name),
                }
            });
            if let Some(at) = found {
                let is_jsonb = column.kind.eq_ignore_ascii_case("jsonb");
                if is_jsonb && *schema.field(at).data_type() == DataType::Utf8 {
                    jsonb.push(fields.len());
                }
                fields.push(written(schema.field(at), &column.name, is_jsonb));
                from.push(at);
            }
        }
        if from.len() != schema.fields().len() {
            let message = format!("the table `{table}` lacks columns of the rows");
            return Err(Error::new(ErrorKind::Destination, message)
                .because("somebody has changed it, or `ddl` does not make all of them"));
        }
        Ok(Form {
            schema: Arc::new(Schema::new(fields)),
            from,
            jsonb,
        })
    }

    /// Returns the columns' names as SQL has them.
    pub(crate) fn columns(&self, dialect: Dialect) -> String {
        let fields = self.schema.fields().iter();
        let names = fields.map(|field| dialect.quoted(field.name()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Returns rows in this form.
    pub(crate) fn shape(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.from.iter().map(|at| Arc::clone(records.column(*at)));
        let mut columns: Vec<_> = columns.collect();
        for at in &self.jsonb {
            columns[*at] = keys::sorted(columns[*at].as_string::<i32>());
        }
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

/// Returns the field by which a column is written.
fn written(field: &Field, name: &str, is_jsonb: bool) -> Field {
    let plain = Field::new(name, field.data_type().clone(), true);
    match is_json(field) && is_jsonb {
        // The driver knows by it that this is to be `jsonb`.
        true => mixflow_core::batch::json_field(name, true),
        false => plain,
    }
}
