//! Whether a run's rows belong beside the files of a folder.

use std::path::Path;

use arrow::datatypes::{Schema, SchemaRef};
use mixflow_core::fit::{Provenance, check_columns};
use mixflow_core::sink::{TxnContext, WriteMode};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::{SchemaDescriptor, Type};

use crate::footer::footer;
use crate::times::Times;
use crate::tree::Found;

/// Where a file keeps how its rows were made.
pub(crate) const PROVENANCE: &str = "mixflow.provenance";

/// Checks that files of a run can stand beside those of the folder: that days
/// have folders or have not, that they have all columns of before, and that the
/// rows were made in the same way. Reads the end of each file.
pub(crate) fn check(
    root: &Path,
    files: &[Found],
    mode: WriteMode,
    by_day: bool,
    cx: &TxnContext,
) -> Result<()> {
    let fits = Fits::new(&cx.schema, Times::of(root, files)?, by_day, mode)?;
    for found in files.iter().filter(|found| found.is_table()) {
        fits.check_layout(root, found)?;
        let path = root.join(&found.path);
        fits.check_file(&path.display().to_string(), &footer(&path)?, cx)?;
    }
    Ok(())
}

/// What files have to be like, so that those of a run can stand beside them.
pub(crate) struct Fits {
    columns: Vec<String>,
    by_day: bool,
    mode: WriteMode,
}

impl Fits {
    /// Returns what is asked of files, for rows of `schema`.
    pub(crate) fn new(
        schema: &SchemaRef,
        times: Times,
        by_day: bool,
        mode: WriteMode,
    ) -> Result<Fits> {
        Ok(Fits {
            columns: columns(&converted(&times.stored(schema))?),
            by_day,
            mode,
        })
    }

    /// Checks that a file stands in the folder of a day, or in none.
    pub(crate) fn check_layout(&self, root: &Path, found: &Found) -> Result<()> {
        if found.day.is_some() == self.by_day {
            return Ok(());
        }
        Err(other_layout(root, found, self.mode))
    }

    /// Checks the columns of a file that people call `path`, and how its rows were made.
    pub(crate) fn check_file(
        &self,
        path: &str,
        footer: &FileMetaData,
        cx: &TxnContext,
    ) -> Result<()> {
        let shown = format!("`{path}`");
        check_columns(&shown, &columns(footer.schema_descr()), &self.columns)?;
        match (provenance(footer), &cx.source.provenance) {
            (Some(before), Some(rows)) => before.check(rows, &shown),
            _ => Ok(()),
        }
    }
}

/// Returns what columns become in a file, or says that one has no form.
pub(crate) fn converted(schema: &Schema) -> Result<SchemaDescriptor> {
    ArrowSchemaConverter::new()
        .convert(schema)
        .map_err(|error| {
            Error::new(ErrorKind::Config, "a column has no form in Parquet").with_source(error)
        })
}

fn provenance(footer: &FileMetaData) -> Option<Provenance> {
    let notes = footer.key_value_metadata()?;
    let note = notes.iter().find(|note| note.key == PROVENANCE)?;
    serde_json::from_str(note.value.as_deref()?).ok()
}

fn other_layout(root: &Path, found: &Found, mode: WriteMode) -> Error {
    let shown = found.path.display();
    let (reason, way_out) = match (&found.day, mode) {
        (Some(_), _) => (
            format!("`{shown}` in it stands in the folder of a day, and these rows would not"),
            "set `partition_by = \"date\"`",
        ),
        (None, WriteMode::ReplaceWindow) => (
            format!(
                "`{shown}` in it stands in no folder of a day, so its days would stay beside the new ones"
            ),
            "set `mode = \"replace\"`",
        ),
        (None, _) => (
            format!("`{shown}` in it stands in no folder of a day, and these rows would"),
            "set `partition_by = \"none\"`",
        ),
    };
    Error::new(
        ErrorKind::Destination,
        format!("cannot write the folder `{}`", root.display()),
    )
    .because(reason)
    .hint(format!("{way_out}, or choose another folder"))
}

/// Returns the columns as `name TYPE`, with the types that SQL has for them.
fn columns(schema: &SchemaDescriptor) -> Vec<String> {
    let fields = schema.root_schema().get_fields().iter();
    fields
        .map(|field| format!("{} {}", field.name(), sql_type(field)))
        .collect()
}

fn sql_type(field: &Type) -> String {
    if !field.is_primitive() {
        return "STRUCT".to_owned();
    }
    let info = field.get_basic_info();
    if let Some(LogicalType::Timestamp(time)) = info.logical_type_ref() {
        let zone = if time.is_adjusted_to_u_t_c {
            " WITH TIME ZONE"
        } else {
            ""
        };
        return match time.unit {
            TimeUnit::MICROS => format!("TIMESTAMP{zone}"),
            TimeUnit::MILLIS => format!("TIMESTAMP_MS{zone}"),
            TimeUnit::NANOS => format!("TIMESTAMP_NS{zone}"),
        };
    }
    let name = match (info.converted_type(), field.get_physical_type()) {
        (ConvertedType::UTF8 | ConvertedType::ENUM, _) => "VARCHAR",
        (ConvertedType::JSON, _) => "JSON",
        (ConvertedType::DATE, _) => "DATE",
        (ConvertedType::INT_8, _) => "TINYINT",
        (ConvertedType::INT_16, _) => "SMALLINT",
        (ConvertedType::INT_32, _) | (ConvertedType::NONE, Physical::INT32) => "INTEGER",
        (ConvertedType::INT_64, _) | (ConvertedType::NONE, Physical::INT64) => "BIGINT",
        (ConvertedType::UINT_8, _) => "UTINYINT",
        (ConvertedType::UINT_16, _) => "USMALLINT",
        (ConvertedType::UINT_32, _) => "UINTEGER",
        (ConvertedType::UINT_64, _) => "UBIGINT",
        (ConvertedType::NONE, Physical::BOOLEAN) => "BOOLEAN",
        (ConvertedType::NONE, Physical::FLOAT) => "FLOAT",
        (ConvertedType::NONE, Physical::DOUBLE) => "DOUBLE",
        (ConvertedType::NONE, Physical::BYTE_ARRAY) => "BLOB",
        (ConvertedType::NONE, physical) => return physical.to_string(),
        (converted, _) => return converted.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "fits_tests.rs"]
mod tests;
