//! Rows to lines of CSV.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use jiff::Timestamp;
use mixflow_sink_abi::arrow::array::TimestampMicrosecondArray;
use mixflow_sink_abi::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use mixflow_sink_abi::arrow::datatypes::{DataType, Schema, TimeUnit};
use mixflow_sink_abi::core::staged::cannot;
use mixflow_sink_abi::core::{Error, ErrorKind, Result, text};

/// What stands between values, and where there is none.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub(crate) delimiter: u8,
    pub(crate) null: String,
}

impl Format {
    /// Checks that each column has a form in CSV.
    pub(crate) fn check(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            let data_type = field.data_type();
            let has_form = match data_type {
                DataType::Utf8 | DataType::Binary | DataType::Boolean => true,
                DataType::Timestamp(TimeUnit::Microsecond, zone) => zone
                    .as_deref()
                    .is_none_or(|zone| matches!(zone, "UTC" | "+00:00")),
                DataType::Timestamp(_, _) => false,
                other => other.is_primitive(),
            };
            if !has_form {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "the column `{}` is {data_type}, which has no form here",
                        field.name()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Checks that the file at `path` begins with the names of `schema`.
    pub(crate) fn check_header(&self, path: &Path, schema: &Schema) -> Result<()> {
        let shown = path.display();
        let file = File::open(path).map_err(cannot(format_args!("read `{shown}`")))?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .from_reader(file);
        let error = Error::new(
            ErrorKind::Destination,
            format!("cannot add to `{shown}`: its columns are not those of the rows"),
        )
        .hint("choose another path, or set `mode` to `replace`");
        let header = match reader.headers() {
            Ok(header) => header,
            Err(cause) => return Err(error.with_source(cause)),
        };
        let wanted: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        if header.iter().eq(wanted.iter().copied()) {
            return Ok(());
        }
        let found: Vec<&str> = header.iter().collect();
        Err(error.because(format!(
            "it has ({}), not ({})",
            found.join(", "),
            wanted.join(", ")
        )))
    }

    /// Counts the rows of the file at `path`, below their names.
    pub(crate) fn count(&self, path: &Path) -> Result<u64> {
        let what = format!("read `{}`", path.display());
        let file = File::open(path).map_err(cannot(&what))?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .flexible(true)
            .from_reader(file);
        let mut row = csv::ByteRecord::new();
        let mut rows = 0;
        while reader.read_byte_record(&mut row).map_err(failed)? {
            rows += 1;
        }
        Ok(rows)
    }

    /// Returns a writer that starts where `file` stands.
    pub(crate) fn writer(&self, file: File) -> csv::Writer<File> {
        csv::WriterBuilder::new()
            .delimiter(self.delimiter)
            .buffer_capacity(1 << 20)
            .from_writer(file)
    }

    /// Writes the rows of a batch.
    pub(crate) fn write(&self, records: &RecordBatch, out: &mut csv::Writer<File>) -> Result<()> {
        let columns: Vec<_> = records.columns().iter().map(Column::of).collect();
        let mut text = String::new();
        for row in 0..records.num_rows() {
            for (column, values) in columns.iter().zip(records.columns()) {
                let value = if values.is_null(row) {
                    &self.null
                } else {
                    column.value(row, &mut text)?
                };
                out.write_field(value).map_err(failed)?;
            }
            out.write_record(None::<&[u8]>).map_err(failed)?;
        }
        Ok(())
    }
}

pub(crate) fn failed(error: csv::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write CSV").with_source(error)
}

/// A column of a batch, as it is written.
enum Column<'a> {
    Text(&'a StringArray),
    Time(&'a TimestampMicrosecondArray),
    /// Numbers and the like: slower, and rarer in events.
    Other(&'a ArrayRef),
}

impl<'a> Column<'a> {
    fn of(values: &'a ArrayRef) -> Column<'a> {
        match values.data_type() {
            DataType::Utf8 => Column::Text(values.as_string()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Column::Time(values.as_primitive()),
            _ => Column::Other(values),
        }
    }

    /// Returns the text of a value, made in `text` if it is not there yet.
    fn value<'t>(&self, row: usize, text: &'t mut String) -> Result<&'t str>
    where
        'a: 't,
    {
        text.clear();
        match self {
            Column::Text(values) => return Ok(values.value(row)),
            Column::Time(values) => {
                let time = Timestamp::from_microsecond(values.value(row)).map_err(|error| {
                    Error::new(ErrorKind::Data, "a time is out of range").with_source(error)
                })?;
                let _ = write!(text, "{time}");
            }
            Column::Other(values) => {
                text::push(text, values, row)?;
            }
        }
        Ok(text)
    }
}
