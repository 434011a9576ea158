//! Rows as the bytes that the program reads.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use mixflow_core::Result;
use mixflow_core::sink::RecordFormat;
use mixflow_sink_jsonl::Encoder;
use schemars::JsonSchema;
use serde::Deserialize;

/// The form in which rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecFormat {
    /// An Arrow IPC stream of our columns.
    #[default]
    Arrow,
    /// Our columns as lines of JSON.
    Jsonl,
    /// The bytes that the source was given, as lines.
    Raw,
}

/// Turns batches into bytes, which wait in a buffer to be sent.
pub(crate) enum Form {
    /// An Arrow IPC stream.
    Arrow(Box<StreamWriter<Vec<u8>>>),
    /// Lines of JSON.
    Lines { encoder: Encoder, buffer: Vec<u8> },
}

impl Form {
    /// Prepares for rows of `schema`. An Arrow stream's head waits at once.
    pub(crate) fn new(format: ExecFormat, schema: &Schema) -> Result<Form> {
        let records = match format {
            ExecFormat::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), schema)?;
                return Ok(Form::Arrow(Box::new(writer)));
            }
            ExecFormat::Jsonl => RecordFormat::Normalized,
            ExecFormat::Raw => RecordFormat::Raw,
        };
        Ok(Form::Lines {
            encoder: Encoder::new(schema, records)?,
            buffer: Vec::new(),
        })
    }

    /// Adds rows to what waits.
    pub(crate) fn encode(&mut self, records: &RecordBatch) -> Result<()> {
        match self {
            Form::Arrow(writer) => Ok(writer.write(records)?),
            Form::Lines { encoder, buffer } => encoder.encode(records, buffer),
        }
    }

    /// Adds the end of the stream to what waits, if the format has one.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self {
            Form::Arrow(writer) => Ok(writer.finish()?),
            Form::Lines { .. } => Ok(()),
        }
    }

    /// Returns what waits to be sent.
    pub(crate) fn waiting(&self) -> &[u8] {
        match self {
            Form::Arrow(writer) => writer.get_ref(),
            Form::Lines { buffer, .. } => buffer,
        }
    }

    /// Forgets what has been sent.
    pub(crate) fn sent(&mut self) {
        match self {
            Form::Arrow(writer) => writer.get_mut().clear(),
            Form::Lines { buffer, .. } => buffer.clear(),
        }
    }
}
