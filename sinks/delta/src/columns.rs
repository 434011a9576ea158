//! Columns: what the rows of a run become in a table, and back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef, TimeUnit};
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{
    DataType, DecimalType, MetadataValue, PrimitiveType, StructField, StructType,
};
use mixflow_core::batch::{is_json, json_field};
use mixflow_core::made_of::{MADE_OF, made_of, with_made_of};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::DAY_COLUMN;

/// The column that a table is partitioned by.
pub(crate) const DATE: &str = "date";

/// Where a column says that its texts are JSON.
const JSON: &str = "mixflow.json";

/// Columns from the first on of which a table keeps statistics, unless it says
/// otherwise: `delta.dataSkippingNumIndexedCols`.
const WITH_STATISTICS: usize = 32;

/// Returns whether rows have a time that says their day.
pub(crate) fn has_day(schema: &Schema) -> bool {
    schema.field_with_name(DAY_COLUMN).is_ok_and(|field| {
        matches!(
            field.data_type(),
            Arrow::Timestamp(TimeUnit::Microsecond, _)
        )
    })
}

/// Returns what rows of `schema` become in the files of a table.
///
/// Fails with [`ErrorKind::Config`] if a column has no form there.
pub(crate) fn stored(schema: &Schema, by_date: bool) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::new();
    for field in schema.fields() {
        let refuse = |why: String| {
            Error::new(
                ErrorKind::Config,
                format!("the column `{}` has no form in a Delta table", field.name()),
            )
            .because(why)
        };
        let taken = |name: &str| name.eq_ignore_ascii_case(field.name());
        if by_date && taken(DATE) {
            return Err(refuse(format!(
                "the table is partitioned by a column `{DATE}` of its own"
            ))
            .hint("rename it with a `rename` transform, or set `partition_by = \"none\"`"));
        }
        if fields.iter().any(|other| taken(other.name())) {
            return Err(refuse(
                "another column has the same name in other letters".to_owned(),
            ));
        }
        if field
            .name()
            .contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])
        {
            return Err(
                refuse("its name has a character that Delta does not take".to_owned())
                    .hint("rename it with a `rename` transform"),
            );
        }
        let stored = stored_type(field.data_type())
            .ok_or_else(|| refuse(format!("it is of the type {}", field.data_type())))?;
        // Whatever the rows say: columns that come later are null in older files.
        fields.push(Field::new(field.name(), stored, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn stored_type(arrow: &Arrow) -> Option<Arrow> {
    Some(match arrow {
        Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View => Arrow::Utf8,
        Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => Arrow::Binary,
        Arrow::UInt8 => Arrow::Int16,
        Arrow::UInt16 => Arrow::Int32,
        Arrow::UInt32 => Arrow::Int64,
        Arrow::UInt64 => Arrow::Decimal128(20, 0),
        Arrow::Float16 => Arrow::Float32,
        Arrow::Date64 => Arrow::Date32,
        // A zone says how to show an instant, and the instant stays.
        Arrow::Timestamp(TimeUnit::Nanosecond, _) => return None,
        Arrow::Timestamp(..) => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Arrow::Decimal128(digits, scale) if *scale >= 0 => Arrow::Decimal128(*digits, *scale),
        Arrow::Boolean
        | Arrow::Int8
        | Arrow::Int16
        | Arrow::Int32
        | Arrow::Int64
        | Arrow::Float32
        | Arrow::Float64
        | Arrow::Date32 => arrow.clone(),
        _ => return None,
    })
}

/// Returns rows with the types that they have in files.
pub(crate) fn to_stored(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = records.columns().iter().zip(schema.fields());
    let columns = columns
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast_with_options(column, field.data_type(), &strict)
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Returns the columns of a table for rows of `schema`, without the one that it is
/// partitioned by.
pub(crate) fn table_fields(schema: &Schema, by_date: bool) -> Result<Vec<StructField>> {
    let files = stored(schema, by_date)?;
    let fields = schema.fields().iter().zip(files.fields());
    fields
        .map(|(field, stored)| {
            let mut notes: Vec<(String, MetadataValue)> = Vec::new();
            if is_json(field) {
                notes.push((JSON.to_owned(), MetadataValue::Boolean(true)));
            }
            if let Some(made_of) = made_of(field) {
                notes.push((
                    MADE_OF.to_owned(),
                    MetadataValue::String(made_of.to_owned()),
                ));
            }
            let of_table = delta_type(stored.data_type())?;
            Ok(StructField::nullable(field.name(), of_table).with_metadata(notes))
        })
        .collect()
}

/// Returns the column that a table is partitioned by.
pub(crate) fn date_field() -> StructField {
    StructField::nullable(DATE, DataType::DATE)
}

fn delta_type(stored: &Arrow) -> Result<DataType> {
    Ok(match stored {
        Arrow::Utf8 => DataType::STRING,
        Arrow::Binary => DataType::BINARY,
        Arrow::Boolean => DataType::BOOLEAN,
        Arrow::Int8 => DataType::BYTE,
        Arrow::Int16 => DataType::SHORT,
        Arrow::Int32 => DataType::INTEGER,
        Arrow::Int64 => DataType::LONG,
        Arrow::Float32 => DataType::FLOAT,
        Arrow::Float64 => DataType::DOUBLE,
        Arrow::Date32 => DataType::DATE,
        Arrow::Timestamp(..) => DataType::TIMESTAMP,
        Arrow::Decimal128(digits, scale) => {
            let scale = u8::try_from(*scale).unwrap_or(0);
            let decimal = DecimalType::try_new(*digits, scale).map_err(|error| {
                Error::new(ErrorKind::Config, "a decimal has no form in a Delta table")
                    .with_source(error)
            })?;
            DataType::Primitive(PrimitiveType::Decimal(decimal))
        }
        other => {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the type {other} has no form in a Delta table"),
            ));
        }
    })
}

/// Returns the column of a table as the rows of a run have it; of the type null if
/// no run makes such a column.
pub(crate) fn row_field(column: &StructField) -> Field {
    let (name, note) = (column.name(), |key: &str| column.metadata.get(key));
    if matches!(note(JSON), Some(MetadataValue::Boolean(true))) {
        return with_note(json_field(name, true), note(MADE_OF));
    }
    let of_rows = match column.data_type {
        DataType::STRING => Arrow::Utf8,
        DataType::BOOLEAN => Arrow::Boolean,
        DataType::INTEGER => Arrow::Int32,
        DataType::LONG => Arrow::Int64,
        DataType::FLOAT => Arrow::Float32,
        DataType::DOUBLE => Arrow::Float64,
        DataType::DATE => Arrow::Date32,
        DataType::TIMESTAMP => Arrow::Timestamp(TimeUnit::Microsecond, None),
        _ => Arrow::Null,
    };
    with_note(Field::new(name, of_rows, true), note(MADE_OF))
}

fn with_note(field: Field, note: Option<&MetadataValue>) -> Field {
    match note {
        Some(MetadataValue::String(made_of)) => with_made_of(field, made_of),
        _ => field,
    }
}

/// Returns columns as `name type`, for messages and to compare.
pub(crate) fn named<'c>(columns: impl Iterator<Item = &'c StructField>) -> Vec<String> {
    columns
        .map(|column| format!("{} {}", column.name(), column.data_type))
        .collect()
}

/// Returns the columns of which files say the smallest and largest value: not
/// those whose texts are JSON, of which that helps nobody.
pub(crate) fn with_statistics(fields: &[StructField]) -> Vec<ColumnName> {
    let first = fields.iter().take(WITH_STATISTICS);
    first
        .filter(|field| !field.metadata.contains_key(JSON))
        .map(|field| ColumnName::new([field.name()]))
        .collect()
}

/// Returns a schema of these columns.
pub(crate) fn struct_of(fields: impl IntoIterator<Item = StructField>) -> Result<StructType> {
    StructType::try_new(fields).map_err(|error| {
        Error::new(ErrorKind::Config, "these columns make no Delta table").with_source(error)
    })
}

/// Returns what stands for the partition of a file.
pub(crate) fn partition_of(date: Option<jiff::civil::Date>) -> HashMap<String, Option<String>> {
    date.map(|date| (DATE.to_owned(), Some(date.to_string())))
        .into_iter()
        .collect()
}
