//! JSON, with the values of JSON columns as they are.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, JsonFormat, LineDelimited, NullableEncoder,
    Writer, WriterBuilder,
};
use mixflow_core::Result;
use mixflow_core::batch::is_json;
use mixflow_core::json::copy_on_one_line;

use super::rows::{RowWriter, unwritten};

/// TIMESTAMP has no zone; what mixflow writes is in UTC.
const UTC: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

const PLAIN: FormatOptions<'_> = FormatOptions::new();

/// One array of objects.
pub(super) fn array<W: Write>(out: W) -> Writer<W, JsonArray> {
    builder().build(out)
}

/// An object a line.
pub(super) fn lines<W: Write>(out: W) -> Writer<W, LineDelimited> {
    builder().build(out)
}

fn builder() -> WriterBuilder {
    WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format(UTC.to_owned())
        .with_encoder_factory(Arc::new(AsIs))
}

impl<W: Write, F: JsonFormat> RowWriter for Writer<W, F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(Writer::write(self, batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Writer::finish(&mut self)?;
        self.get_mut().flush().map_err(unwritten)
    }
}

/// Encodes what Arrow has no own JSON for.
#[derive(Debug)]
struct AsIs;

impl EncoderFactory for AsIs {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match field.data_type() {
            DataType::Utf8 if is_json(field) => Box::new(Verbatim(array.as_string::<i32>())),
            DataType::Interval(_) => Box::new(Shown(ArrayFormatter::try_new(array, &PLAIN)?)),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// JSON that is copied.
struct Verbatim<'a>(&'a StringArray);

impl Encoder for Verbatim<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        copy_on_one_line(self.0.value(row).as_bytes(), out);
    }
}

/// What people would read, in quotes.
struct Shown<'a>(ArrayFormatter<'a>);

impl Encoder for Shown<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row).to_string();
        serde_json::to_writer(out, &text).expect("a text has a form in JSON");
    }
}
