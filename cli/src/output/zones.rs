//! Times with a zone, for the formats that are text.
//!
//! DuckDB gives them in `UTC`. Arrow's printers know no zone by its name, only
//! offsets, of which UTC's is written `Z`.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use mixflow_core::Result;

/// Returns the schema with zones that can be printed.
pub(super) fn printable_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(printable_field);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns the batch with zones that can be printed.
pub(super) fn printable(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = printable_schema(&batch.schema());
    if schema.fields() == batch.schema().fields() {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter();
    let columns = columns
        .map(|column| Ok(make_array(retyped(column.to_data())?)))
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn printable_field(field: &FieldRef) -> FieldRef {
    let kind = printable_type(field.data_type());
    if kind == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(Field::clone(field).with_data_type(kind))
}

fn printable_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Timestamp(unit, Some(zone)) if is_utc(zone) => {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        DataType::List(item) => DataType::List(printable_field(item)),
        DataType::LargeList(item) => DataType::LargeList(printable_field(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(printable_field(item), *n),
        DataType::Map(entries, sorted) => DataType::Map(printable_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(printable_field).collect()),
        DataType::Union(fields, mode) => DataType::Union(
            fields
                .iter()
                .map(|(id, field)| (id, printable_field(field)))
                .collect(),
            *mode,
        ),
        other => other.clone(),
    }
}

fn is_utc(zone: &str) -> bool {
    ["UTC", "Etc/UTC", "GMT"].contains(&zone)
}

/// Returns the same values under the printable type.
fn retyped(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let kind = printable_type(data.data_type());
    if kind == *data.data_type() {
        return Ok(data);
    }
    let children = data.child_data().iter().cloned();
    let children = children.map(retyped).collect::<Result<Vec<_>, _>>()?;
    let data = data.into_builder().data_type(kind).child_data(children);
    data.build()
}
