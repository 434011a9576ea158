//! Files of which some rows go: the others are written anew.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use mixflow_core::cancel::CancelToken;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::{DAY_COLUMN, Home};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::columns::{struct_of, to_stored, with_statistics};
use crate::files::{Files, Form};
use crate::going::{Going, cannot_rewrite};
use crate::leftovers::Mark;
use crate::place::Place;
use crate::table::{LiveFile, Table};

/// Writes files anew without the rows of days that were fetched.
pub(crate) struct Rewriting<'r> {
    pub(crate) place: &'r Rc<Place>,
    pub(crate) table: &'r Table,
    pub(crate) going: &'r Going,
    pub(crate) mark: &'r Mark,
    pub(crate) properties: &'r WriterProperties,
    pub(crate) cancel: &'r CancelToken,
}

impl Rewriting<'_> {
    /// Returns the files that have the rows of `file` which stay.
    pub(crate) fn rewrite(&self, file: &LiveFile) -> Result<Files> {
        let place = self.place;
        let refuse = |why: &str| cannot_rewrite(place.shown(), &file.path, why);
        if file.has_deletions {
            return Err(refuse("some of its rows are deleted by a deletion vector"));
        }
        if file.path.contains("://") {
            return Err(refuse("it stands outside the table"));
        }
        let what = format!("cannot read `{}` of `{}`", file.path, place.shown());
        let damaged =
            || |error| Error::new(ErrorKind::Destination, what.clone()).with_source(error);
        let reader = ParquetRecordBatchReaderBuilder::try_new(place.open_file(&file.path)?)
            .map_err(damaged())?;
        let form = self.form(reader.schema())?;
        let (schema, mut files) = (form.schema.clone(), Files::new(place, form));
        let home = Home {
            day: None,
            folder: file.date,
        };
        for records in reader.build().map_err(damaged())? {
            let records = to_stored(&records?, &schema)?;
            let staying = self
                .staying(&records)
                .ok_or_else(|| refuse("its rows have no time"))?;
            let staying = filter_record_batch(&records, &staying)?;
            if staying.num_rows() > 0 {
                files.write(self.mark, home, &staying)?;
            }
        }
        files.finish()?;
        Ok(files)
    }

    /// Returns the form of a file with the columns that one has.
    fn form(&self, of: &Schema) -> Result<Form> {
        let columns = self.table.columns();
        let fields = of.fields().iter().map(|field| {
            let column = columns.iter().find(|column| column.name() == field.name());
            column.cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::Destination,
                    format!("cannot replace days of the table `{}`", self.place.shown()),
                )
                .because(format!(
                    "a file of it has the column `{}`, and the table has not",
                    field.name()
                ))
            })
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let with_statistics = with_statistics(&fields);
        let columns = struct_of(fields)?;
        let schema: Schema = (&columns).try_into_arrow()?;
        Ok(Form {
            schema: Arc::new(schema),
            columns,
            with_statistics,
            properties: self.properties.clone(),
            cancel: self.cancel.clone(),
        })
    }

    /// Says of each row whether it stays.
    fn staying(&self, records: &RecordBatch) -> Option<BooleanArray> {
        let times = records.column_by_name(DAY_COLUMN)?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
        let stays = |row: usize| times.is_null(row) || !self.going.has(times.value(row));
        Some((0..times.len()).map(|row| Some(stays(row))).collect())
    }
}
