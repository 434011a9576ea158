//! Parts: the rows of a unit as a Parquet object.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::text::hex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sha2::{Digest as _, Sha256};

use crate::receipt::Part;
use crate::stage::Stage;

/// What a writer may hold before it ends its row group.
const WRITER_MEMORY: usize = 32 << 20;

/// Rows of a batch that is read: as many as sources hand out.
const BATCH: usize = 8_192;

/// A part that is being written, in a file without a name.
pub(crate) struct PartWriter {
    writer: ArrowWriter<File>,
}

impl PartWriter {
    pub(crate) fn new(schema: &SchemaRef, scratch: &std::path::Path) -> Result<PartWriter> {
        let file = unnamed(scratch)?;
        let codec = Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default());
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_created_by(concat!("mixflow version ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties));
        Ok(PartWriter {
            writer: writer.map_err(|error| failed("write a part", error))?,
        })
    }

    pub(crate) fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let writer = &mut self.writer;
        let written = writer.write(records).and_then(|()| {
            if writer.memory_size() > WRITER_MEMORY {
                return writer.flush();
            }
            Ok(())
        });
        written.map_err(|error| failed("write a part", error))
    }

    /// Puts the part on the stage under a name that no other one has.
    pub(crate) fn upload(self, stage: &Stage, key: &str) -> Result<Part> {
        let file = self.writer.into_inner();
        let mut file = file.map_err(|error| failed("write a part", error))?;
        file.rewind()
            .map_err(|error| unread("read a part", error))?;
        let path = format!("parts/{key}-{:016x}.parquet", fastrand::u64(..));
        let mut hashing = Hashing {
            inner: &file,
            hash: Sha256::new(),
        };
        let bytes = stage.objects().upload(&stage.name(&path), &mut hashing)?;
        Ok(Part {
            path,
            bytes,
            sha256: hex(&hashing.hash.finalize()),
        })
    }
}

/// Reads the rows of a part, which is known to be whole before the first.
///
/// Fails for one that is not what its receipt says, or has other columns than
/// `schema`.
pub(crate) fn rows(
    stage: &Stage,
    part: &Part,
    schema: SchemaRef,
    scratch: &std::path::Path,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let mut file = unnamed(scratch)?;
    let name = stage.name(&part.path);
    let place = stage.objects().location().join(&name);
    let damaged = move |why: String| {
        Error::new(ErrorKind::Data, format!("the part `{place}` is damaged"))
            .because(why)
            .hint("remove it and its receipt, and run the unit again")
    };
    let Some(bytes) = stage.objects().download(&name, &mut file)? else {
        return Err(damaged("it is not there".to_owned()));
    };
    if bytes != part.bytes {
        let said = part.bytes;
        return Err(damaged(format!("it has {bytes} bytes, and had {said}")));
    }
    let found = hash_of(&mut file).map_err(|error| unread("read a part", error))?;
    if found != part.sha256 {
        return Err(damaged("its SHA-256 is another one".to_owned()));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH).build())
        .map_err(|error| damaged(error.to_string()))?;
    Ok(reader.map(move |records| {
        let records = records.map_err(|error| damaged(error.to_string()))?;
        let columns = records.columns().to_vec();
        RecordBatch::try_new(SchemaRef::clone(&schema), columns)
            .map_err(|error| damaged(format!("it has other columns than the plan: {error}")))
    }))
}

fn unnamed(scratch: &std::path::Path) -> Result<File> {
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

fn failed(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what}")).with_source(error)
}

fn unread(what: &str, error: io::Error) -> Error {
    failed(what, error)
}

/// A reader that hashes what goes through it.
struct Hashing<'f> {
    inner: &'f File,
    hash: Sha256,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
