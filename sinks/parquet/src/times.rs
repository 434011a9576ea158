//! Times as instants: what a file says of the zone of its times.
//!
//! Ours are in UTC and say nothing of it. A Parquet column that says nothing is
//! a wall clock, which Spark reads in the zone of its session: another instant.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use mixflow_core::Result;
use parquet::basic::LogicalType;
use parquet::schema::types::SchemaDescriptor;

use crate::footer::footer;
use crate::tree::Found;

/// How times stand in the files of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Times {
    /// As instants.
    #[default]
    Utc,
    /// Without a zone, as in the files that an older mixflow has left in the
    /// folder: a table has one type for a column.
    Unzoned,
}

impl Times {
    /// Returns how times stand in the files of a folder. Reads the end of one.
    pub(crate) fn of(root: &Path, files: &[Found]) -> Result<Times> {
        let Some(found) = files.iter().find(|found| found.is_table()) else {
            return Ok(Times::default());
        };
        let footer = footer(&root.join(&found.path))?;
        Ok(if has_unzoned(footer.schema_descr()) {
            Times::Unzoned
        } else {
            Times::Utc
        })
    }

    /// Returns the schema of the files, for rows of `schema`.
    pub(crate) fn stored(self, schema: &SchemaRef) -> SchemaRef {
        match self {
            Times::Utc => Arc::new(zoned(schema)),
            Times::Unzoned => schema.clone(),
        }
    }
}

fn has_unzoned(schema: &SchemaDescriptor) -> bool {
    schema.columns().iter().any(|column| {
        matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(time)) if !time.is_adjusted_to_u_t_c)
    })
}

/// Returns the schema with times as instants.
pub fn zoned(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Arc::new(Field::clone(field).with_data_type(instant))
        }
        _ => field.clone(),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// Returns rows with the types of `schema`, which says of their times what they
/// do not say themselves. Copies nothing.
pub fn with_zones(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = records.columns().iter().zip(schema.fields());
    let columns: Vec<ArrayRef> = columns
        .map(|(column, field)| match field.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) if zone.is_some() => {
                let times = column.as_primitive_opt::<TimestampMicrosecondType>();
                let times = times.map(|times| times.clone().with_timezone_opt(zone.clone()));
                times.map_or_else(|| column.clone(), |times| Arc::new(times) as ArrayRef)
            }
            _ => column.clone(),
        })
        .collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir_all};

    use mixflow_core::sink::WriteMode;
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::made_up::{Place, batch, days};
    use crate::tree;

    /// Returns whether the times of each file are instants.
    fn instants(place: &Place) -> Vec<bool> {
        let files = tree::list(&place.path).expect("it is a folder");
        let tables = files.iter().filter(|found| found.is_table());
        tables
            .map(|found| {
                let footer = footer(&place.path.join(&found.path)).expect("it can be read");
                let column = footer.schema_descr().column(0);
                match column.logical_type_ref() {
                    Some(LogicalType::Timestamp(time)) => time.is_adjusted_to_u_t_c,
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    /// A folder as mixflow wrote it before times were instants.
    fn old_folder() -> Place {
        let place = Place::new();
        let day = place.path.join("date=1970-01-02");
        create_dir_all(&day).expect("a temp folder");
        let file = File::create(day.join("part-old-0.parquet")).expect("a temp folder");
        let records = batch(&[30]).records;
        let mut writer = ArrowWriter::try_new(file, records.schema(), None).expect("it has a form");
        writer.write(&records).expect("it can be written");
        writer.close().expect("it can be written");
        place
    }

    #[test]
    fn times_are_instants() {
        let place = Place::new();
        place.run("a", WriteMode::Create, &days(1, 3), &[24, 50]);
        place.run("b", WriteMode::Append, &days(1, 3), &[51]);
        assert_eq!(instants(&place), [true, true, true]);
        assert_eq!(place.hours(), [24, 50, 51]);
    }

    #[test]
    fn a_folder_without_zones_stays_so_until_it_is_replaced() {
        for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
            let place = old_folder();
            place.run("a", mode, &days(2, 3), &[50]);
            assert_eq!(instants(&place), [false, false], "{mode:?}");
        }
        let place = old_folder();
        place.run("a", WriteMode::Replace, &days(2, 3), &[50]);
        assert_eq!(instants(&place), [true]);
    }
}
