//! Parts: the rows of a unit as a Parquet object.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use mixflow_core::batch::is_json;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::Extent;
use mixflow_core::text::hex;
use mixflow_core::whole_file::{FileForm, FileWriter};
use mixflow_objects::Upload;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::receipt::Part;
use crate::stage::Stage;

/// What a writer may hold before it ends its row group.
const WRITER_MEMORY: usize = 32 << 20;

/// Rows of a batch that is read: as many as sources hand out.
const BATCH: usize = 8_192;

/// A part that is being written. It appears when it is [finished](PartWriter::finish),
/// and not at all if it is dropped.
pub(crate) struct PartWriter {
    stage: Stage,
    path: String,
    file: Option<Box<dyn FileWriter>>,
    /// Whether a sink may take the part as it is.
    is_of_sink: bool,
    outgoing: Outgoing,
    is_there: bool,
}

impl PartWriter {
    /// Begins the part of a unit, in the form of the sink that may take it, under a name
    /// that no other one has.
    pub(crate) fn begin(
        stage: &Stage,
        key: &str,
        schema: &SchemaRef,
        form: Option<&dyn FileForm>,
    ) -> Result<PartWriter> {
        let path = format!("parts/{key}-{:016x}.parquet", fastrand::u64(..));
        let upload = stage.objects().writer(&stage.name(&path));
        let outgoing = Outgoing(Arc::new(Mutex::new(Sending {
            upload,
            hash: Sha256::new(),
        })));
        let target = Box::new(outgoing.clone());
        let file = match form {
            Some(form) => form.begin(target),
            None => Plain(SchemaRef::clone(schema)).begin(target),
        };
        let is_of_sink = form.is_some();
        Ok(PartWriter {
            stage: stage.clone(),
            path,
            file: Some(file?),
            is_of_sink,
            outgoing,
            is_there: false,
        })
    }

    pub(crate) fn partition(&mut self, extent: &Extent) -> Result<()> {
        self.file()?.partition(extent)
    }

    pub(crate) fn write(&mut self, records: &RecordBatch) -> Result<()> {
        self.file()?.write(records)
    }

    fn file(&mut self) -> Result<&mut dyn FileWriter> {
        match &mut self.file {
            Some(file) => Ok(&mut **file),
            None => Err(Error::new(ErrorKind::Other, "the part has ended")),
        }
    }

    /// Has the part appear on the stage.
    pub(crate) fn finish(mut self) -> Result<Part> {
        let file = self.file.take();
        let notes = file.map(FileWriter::finish).transpose()?;
        let (bytes, sha256) = self.outgoing.finish()?;
        self.is_there = true;
        let name = self.stage.name(&self.path);
        let seen = self.stage.objects().look(&name)?;
        let seen = seen.filter(|seen| seen.bytes == bytes).ok_or_else(|| {
            let place = self.stage.objects().location().join(&name);
            Error::new(ErrorKind::Io, format!("cannot leave `{place}`")).because(format!(
                "it was written with {bytes} bytes and is not there"
            ))
        })?;
        // Of a file it would change when somebody copies the stage.
        let is_bucket = self.stage.location().folder().is_none();
        Ok(Part {
            path: std::mem::take(&mut self.path),
            bytes,
            sha256,
            etag: seen.etag.filter(|_| is_bucket),
            notes: notes.filter(|_| self.is_of_sink),
        })
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if !self.is_there {
            self.outgoing.lock().upload.give_up();
        }
    }
}

/// Bytes on their way to a stage, hashed as they go.
#[derive(Clone)]
struct Outgoing(Arc<Mutex<Sending>>);

struct Sending {
    upload: Upload,
    hash: Sha256,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the object appear, and returns its bytes and their SHA-256.
    fn finish(&self) -> Result<(u64, String)> {
        let mut sending = self.lock();
        let bytes = sending.upload.end().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot leave a part on the stage").with_source(error)
        })?;
        Ok((bytes, hex(&std::mem::take(&mut sending.hash).finalize())))
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sending = self.lock();
        let written = sending.upload.write(bytes)?;
        sending.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The form of parts that no sink takes as they are: their rows are read once, by the
/// run that commits them.
struct Plain(SchemaRef);

impl FileForm for Plain {
    fn begin(&self, target: Box<dyn Write + Send>) -> Result<Box<dyn FileWriter>> {
        let codec = Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default());
        let mut properties = WriterProperties::builder()
            .set_compression(codec)
            // Nobody looks for some of its rows.
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_created_by(concat!("mixflow version ", env!("CARGO_PKG_VERSION")).to_owned());
        for field in self.0.fields() {
            // Every value is different: a dictionary of them is 7 % of a unit's work.
            if is_json(field) || field.name() == "insert_id" {
                let column = ColumnPath::from(field.name().as_str());
                properties = properties.set_column_dictionary_enabled(column, false);
            }
        }
        let properties = properties.build();
        let writer = ArrowWriter::try_new(target, SchemaRef::clone(&self.0), Some(properties));
        Ok(Box::new(PlainFile {
            writer: writer.map_err(unwritten)?,
        }))
    }
}

struct PlainFile {
    writer: ArrowWriter<Box<dyn Write + Send>>,
}

impl FileWriter for PlainFile {
    fn partition(&mut self, _extent: &Extent) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let writer = &mut self.writer;
        let written = writer.write(records).and_then(|()| {
            if writer.memory_size() > WRITER_MEMORY {
                return writer.flush();
            }
            Ok(())
        });
        written.map_err(unwritten)
    }

    fn finish(self: Box<Self>) -> Result<Value> {
        self.writer.close().map_err(unwritten)?;
        Ok(Value::Null)
    }
}

fn unwritten(error: parquet::errors::ParquetError) -> Error {
    Error::new(ErrorKind::Io, "cannot write a part").with_source(error)
}

/// Reads the rows of a part, which is known to be whole before the first.
///
/// Fails for one that is not what its receipt says, or has other columns than
/// `schema`.
pub(crate) fn rows(
    stage: &Stage,
    part: &Part,
    schema: SchemaRef,
    scratch: &Path,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let damaged = damage_of(stage, part);
    let mut file = whole(stage, part, scratch)?;
    file.rewind().map_err(unread)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH).build())
        .map_err(|error| damaged(error.to_string()))?;
    Ok(reader.map(move |records| {
        let records = records.map_err(|error| damaged(error.to_string()))?;
        as_planned(&records, &schema)
            .map_err(|error| damaged(format!("it has other columns than the plan: {error}")))
    }))
}

/// Returns rows with the types that they had: a sink may keep them in others.
fn as_planned(records: &RecordBatch, schema: &SchemaRef) -> arrow::error::Result<RecordBatch> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let of_part = records.schema_ref().fields().iter();
    let columns = of_part.zip(records.columns()).zip(schema.fields());
    let columns = columns.map(|((field, column), planned)| {
        if field.name() != planned.name() {
            let message = format!("`{}` for `{}`", field.name(), planned.name());
            return Err(arrow::error::ArrowError::SchemaError(message));
        }
        if column.data_type() == planned.data_type() {
            return Ok(ArrayRef::clone(column));
        }
        cast_with_options(column, planned.data_type(), &strict)
    });
    RecordBatch::try_new(SchemaRef::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Checks that a part is what its receipt says: by what the service says of it, if it
/// said something when the part was left, else by its bytes.
pub(crate) fn check(stage: &Stage, part: &Part, scratch: &Path) -> Result<()> {
    let (Some(etag), None) = (&part.etag, stage.location().folder()) else {
        return whole(stage, part, scratch).map(drop);
    };
    let damaged = damage_of(stage, part);
    let seen = stage.objects().look(&stage.name(&part.path))?;
    let seen = seen.ok_or_else(|| damaged("it is not there".to_owned()))?;
    check_bytes(seen.bytes, part).map_err(&damaged)?;
    if seen.etag.as_ref() != Some(etag) {
        return Err(damaged("its ETag is another one".to_owned()));
    }
    Ok(())
}

/// Returns the bytes of a part, which are those that its receipt speaks of.
fn whole(stage: &Stage, part: &Part, scratch: &Path) -> Result<File> {
    let damaged = damage_of(stage, part);
    let name = stage.name(&part.path);
    let mut file = match stage.objects().location().join(&name).folder() {
        Some(path) => match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(unread)?),
        },
        None => {
            let mut file = unnamed(scratch)?;
            let found = stage.objects().download(&name, &mut file)?;
            found.map(|_| file)
        }
    }
    .ok_or_else(|| damaged("it is not there".to_owned()))?;
    check_bytes(file.metadata().map_err(unread)?.len(), part).map_err(&damaged)?;
    if hash_of(&mut file).map_err(unread)? != part.sha256 {
        return Err(damaged("its SHA-256 is another one".to_owned()));
    }
    Ok(file)
}

fn check_bytes(bytes: u64, part: &Part) -> Result<(), String> {
    let said = part.bytes;
    if bytes == said {
        return Ok(());
    }
    Err(format!("it has {bytes} bytes, and had {said}"))
}

/// Returns a function that makes an error of what is wrong with a part.
fn damage_of(stage: &Stage, part: &Part) -> impl Fn(String) -> Error + use<> {
    let place = stage.objects().location().join(&stage.name(&part.path));
    move |why| {
        Error::new(ErrorKind::Data, format!("the part `{place}` is damaged"))
            .because(why)
            .hint("remove it and its receipt, and run the unit again")
    }
}

fn unnamed(scratch: &Path) -> Result<File> {
    tempfile::tempfile_in(scratch).map_err(|error| {
        let message = format!("cannot make a file in `{}`", scratch.display());
        Error::new(ErrorKind::Io, message).with_source(error)
    })
}

fn hash_of(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot read a part").with_source(error)
}
