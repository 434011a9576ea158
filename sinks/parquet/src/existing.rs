//! The columns of the files that are there.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use mixflow_core::made_of::{Existing, made_of};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::FileMetaData;

/// Returns the columns of files, in the order in which they come first; `stay`
/// says whether their rows do. Reads the end of each.
pub(crate) fn existing(
    footers: impl Iterator<Item = Result<FileMetaData>>,
    stay: bool,
) -> Result<Existing> {
    let mut existing = Existing::default();
    for footer in footers {
        let columns = match footer.and_then(|footer| columns_of(&footer)) {
            Ok(columns) => columns,
            // What is replaced need not be ours, nor whole.
            Err(_) if !stay => continue,
            Err(error) => return Err(error),
        };
        for field in columns {
            if let Some(path) = made_of(&field) {
                let name = (path.to_owned(), field.name().clone());
                if !existing.names.contains(&name) {
                    existing.names.push(name);
                }
            }
            let known = existing.columns.iter();
            if stay && known.map(Field::name).all(|known| known != field.name()) {
                existing.columns.push(field);
            }
        }
    }
    Ok(existing)
}

/// Returns the columns of a file, as the rows that were written had them.
fn columns_of(footer: &FileMetaData) -> Result<Vec<Field>> {
    let schema = parquet_to_arrow_schema(footer.schema_descr(), footer.key_value_metadata());
    let schema = schema.map_err(|error| {
        let what = "cannot read the columns of a Parquet file";
        Error::new(ErrorKind::Destination, what).with_source(error)
    })?;
    let fields = schema.fields().iter().map(Arc::clone);
    Ok(fields
        .map(|field| unzoned(Arc::unwrap_or_clone(field)))
        .collect())
}

/// Returns the column without the zone that files say of their times.
fn unzoned(field: Field) -> Field {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            field.with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, write};
    use std::path::{Path, PathBuf};

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use mixflow_core::batch::{is_json, json_field};
    use mixflow_core::made_of::with_made_of;
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::footer::footer;

    fn file(path: &Path, fields: Vec<Field>) -> PathBuf {
        let schema = Arc::new(Schema::new(fields));
        let file = File::create(path).expect("a temp folder");
        let mut writer = ArrowWriter::try_new(file, schema.clone(), None).expect("it has a form");
        let rows = RecordBatch::new_empty(schema);
        writer.write(&rows).expect("it can be written");
        writer.close().expect("it can be written");
        path.to_owned()
    }

    #[test]
    fn columns_of_files_are_what_rows_had() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let at = |name: &str| folder.path().join(name);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let time = Field::new("event_time", zoned, false);
        let json = json_field("cart", true);
        let city = with_made_of(Field::new("city", DataType::Utf8, true), "$city");
        let files = [
            file(&at("a.parquet"), vec![time.clone(), json.clone()]),
            file(&at("b.parquet"), vec![time, city.clone(), json]),
        ];
        let found =
            existing(files.iter().map(|path| footer(path)), true).expect("they can be read");
        let names: Vec<&str> = found.columns.iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["event_time", "cart", "city"]);
        let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(found.columns[0].data_type(), &plain);
        assert!(is_json(&found.columns[1]));
        assert_eq!(made_of(&found.columns[2]), Some("$city"));
        assert_eq!(found.names, [("$city".to_owned(), "city".to_owned())]);
        write(at("c.parquet"), "no file of ours").expect("a temp folder");
        let all: Vec<PathBuf> = files.into_iter().chain([at("c.parquet")]).collect();
        let files = || all.iter().map(|path| footer(path));
        let gone = existing(files(), false).expect("it need not be whole");
        assert!(gone.columns.is_empty() && gone.names.len() == 1);
        assert!(existing(files(), true).is_err());
    }
}
