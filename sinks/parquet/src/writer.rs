//! How Parquet files are written: properties, and what one may hold in memory.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use mixflow_core::batch::is_json;
use mixflow_core::sink::TxnContext;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::days::DAY_COLUMN;
use crate::fits;
use crate::times::with_zones;

/// Rows of a row group: what DuckDB writes and reads in one go per thread. A
/// group of ordinary events is 60 MB of JSON, 8 MB compressed.
const ROW_GROUP_ROWS: usize = 122_880;

/// What one writer may hold before it ends its row group early.
const WRITER_MEMORY: usize = 32 << 20;

/// More than a page has before compression; pages of ordinary events have 2 MB.
const PAGE: usize = 8 << 20;

/// Has memory that a page gave back stay with the process for the next one.
///
/// glibc hands free memory to the system when there is twice as much as the
/// largest block that it ever unmapped (mallopt(3), on dynamic thresholds), so
/// that each page was faulted in anew: 180,000 faults for a million events.
/// Where another allocator is in use this does nothing.
pub fn keep_memory() {
    drop(black_box(Vec::<u8>::with_capacity(PAGE)));
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard, level 1: for JSON as small as level 3, and a third faster.
    #[default]
    Zstd,
    /// Snappy: larger, and read by everything.
    Snappy,
    /// Not at all.
    None,
}

/// Returns how the files of a run are written.
pub fn properties(cx: &TxnContext, compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()),
        Compression::Snappy => Codec::SNAPPY,
        Compression::None => Codec::UNCOMPRESSED,
    };
    let mut builder = WriterProperties::builder()
        .set_compression(codec)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("mixflow version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(notes(cx)));
    for field in cx.schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        // Every value is different: a dictionary would be built and thrown
        // away, and a smallest and a largest JSON text help nobody.
        if is_json(field) {
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None);
        } else if ["insert_id", DAY_COLUMN].contains(&field.name().as_str()) {
            // Likewise; of times, the dictionary would be the column once more, and
            // numbers beside it. Their differences would be smaller still, but Spark
            // before 3.3 cannot read them.
            builder = builder.set_column_dictionary_enabled(column, false);
        }
    }
    builder.build()
}

/// Returns what each file says of its run.
fn notes(cx: &TxnContext) -> Vec<KeyValue> {
    let note = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let mut notes = vec![
        note("mixflow.run_id", &cx.run_id),
        note("mixflow.source", &cx.source.title),
    ];
    let provenance = cx.source.provenance.as_ref();
    if let Some(known) = provenance.filter(|known| !known.is_empty()) {
        notes.push(note(
            fits::PROVENANCE,
            &serde_json::json!(known).to_string(),
        ));
    }
    notes
}

/// Checks that every column has a form in Parquet. Makes no I/O.
pub(crate) fn check_schema(schema: &Schema) -> Result<()> {
    fits::converted(schema).map(drop)
}

/// Where the bytes of a file go.
pub trait Target: Write + Send {
    /// Has everything arrive, and returns how many bytes there are.
    fn finish(self) -> io::Result<u64>;

    /// Gives up what is on its way.
    fn give_up(&mut self) {}
}

#[cfg(feature = "objects")]
impl Target for mixflow_objects::Upload {
    fn finish(self) -> io::Result<u64> {
        mixflow_objects::Upload::finish(self)
    }

    fn give_up(&mut self) {
        mixflow_objects::Upload::give_up(self);
    }
}

impl Target for File {
    fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.sync_all()?;
        Ok(self.metadata()?.len())
    }
}

/// A Parquet file that is being written.
#[derive(Debug)]
pub struct Writer<T: Target = File> {
    inner: ArrowWriter<T>,
    schema: SchemaRef,
    shown: String,
}

impl<T: Target> Writer<T> {
    /// Begins a file; `shown` is what messages call it.
    pub fn new(
        target: T,
        schema: &SchemaRef,
        properties: &WriterProperties,
        shown: String,
    ) -> Result<Writer<T>> {
        let inner = ArrowWriter::try_new(target, schema.clone(), Some(properties.clone()))
            .map_err(failed(&shown))?;
        Ok(Writer {
            inner,
            schema: schema.clone(),
            shown,
        })
    }

    /// Writes rows, whose columns are those of the file.
    pub fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let records = with_zones(records, &self.schema)?;
        self.inner.write(&records).map_err(failed(&self.shown))?;
        if self.memory() > WRITER_MEMORY {
            self.flush()?;
        }
        Ok(())
    }

    /// Returns the bytes that are held in memory.
    pub fn memory(&self) -> usize {
        self.inner.memory_size()
    }

    /// Returns where the bytes go, for a file that is given up.
    pub fn target(&mut self) -> &mut T {
        self.inner.inner_mut()
    }

    /// Ends the row group, which goes to the file.
    pub fn flush(&mut self) -> Result<()> {
        self.inner.flush().map_err(failed(&self.shown))
    }

    /// Ends the file, has it arrive, and returns its bytes.
    pub fn finish(self) -> Result<u64> {
        let target = self.inner.into_inner().map_err(failed(&self.shown))?;
        target
            .finish()
            .map_err(cannot(format_args!("write `{}`", self.shown)))
    }
}

/// Returns a function that wraps an error of `parquet`, with the I/O error
/// inside it brought out.
fn failed(shown: &str) -> impl FnOnce(ParquetError) -> Error {
    let what = format!("write `{shown}`");
    move |error| match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => cannot(what)(*error),
            Err(inner) => Error::new(ErrorKind::Other, format!("cannot {what}")).with_source(inner),
        },
        error => Error::new(ErrorKind::Other, format!("cannot {what}")).with_source(error),
    }
}
