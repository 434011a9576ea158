//! The form of a table's files, for whoever writes one that a run takes as it is.

use std::io::Write;

use arrow::array::{RecordBatch, StructArray};
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use mixflow_core::Result;
use mixflow_core::sink::TxnContext;
use mixflow_core::source::Extent;
use mixflow_core::whole_file::{FileForm, FileWriter, WholeFile};
use mixflow_sink_parquet::files::{self, FormFile, Home, other_form, with_zones};
use serde_json::{Value, json};

use crate::columns::{has_day, to_stored};
use crate::failed::failed;
use crate::files::{Form, finished};

/// How a table's files are written, and what the log says of each.
pub(crate) struct TableForm {
    form: Form,
    files: files::Form,
}

/// What the table's log says of a file that is taken.
pub(crate) struct Taken {
    pub(crate) home: Home,
    pub(crate) stats: StructArray,
}

impl TableForm {
    pub(crate) fn new(form: Form, cx: &TxnContext) -> TableForm {
        let files = files::Form::new(
            json!({ "format": "delta", "statistics": form.with_statistics.iter().map(ToString::to_string).collect::<Vec<_>>() }),
            &form.schema,
            form.properties.clone(),
            has_day(&cx.schema),
            &cx.source.dataset,
        );
        TableForm { form, files }
    }

    /// Returns what the log is to say of a file that is in this form and whose rows are
    /// of one day; fails for any other.
    pub(crate) fn taken(&self, by_date: bool, file: &WholeFile) -> Result<Taken> {
        let notes = self.files.notes_of(file).ok_or_else(other_form)?;
        let home = notes.home(by_date).ok_or_else(other_form)?;
        let text = notes.statistics.ok_or_else(other_form)?;
        let stats = self.read_statistics(&text)?;
        Ok(Taken { home, stats })
    }

    /// Reads statistics in the types in which the kernel has them.
    fn read_statistics(&self, text: &str) -> Result<StructArray> {
        let empty = self.counter()?;
        let schema = arrow::datatypes::Schema::new(empty.fields().clone());
        let mut rows = arrow::json::ReaderBuilder::new(schema.into())
            .build(text.as_bytes())?
            .collect::<Result<Vec<_>, _>>()?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) if row.num_rows() == 1 => Ok(row.into()),
            _ => Err(other_form()),
        }
    }

    /// Returns the statistics of a file without rows.
    fn counter(&self) -> Result<StructArray> {
        let mut counter = self.form.counter();
        let empty = RecordBatch::new_empty(self.form.schema.clone());
        let what = "count the values of a file";
        counter.merge(&empty).map_err(failed(what))?;
        finished(counter, what)
    }
}

impl FileForm for TableForm {
    fn begin(&self, target: Box<dyn Write + Send>) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(TableFile {
            inner: self.files.file(target)?,
            counter: self.form.counter(),
            form: self.form.clone(),
        }))
    }
}

/// A file that is being written in the form of a table's.
struct TableFile {
    inner: FormFile,
    counter: FileStatsAccumulator,
    form: Form,
}

impl FileWriter for TableFile {
    fn partition(&mut self, extent: &Extent) -> Result<()> {
        self.inner.partition(extent)
    }

    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let records = to_stored(records, &self.form.schema)?;
        let records = with_zones(&records, &self.form.schema)?;
        let counted = self.counter.merge(&records);
        counted.map_err(failed("count the values of a file"))?;
        self.inner.write(&records)
    }

    fn finish(mut self: Box<Self>) -> Result<Value> {
        let empty = RecordBatch::new_empty(self.form.schema.clone());
        let what = "count the values of a file";
        self.counter.merge(&empty).map_err(failed(what))?;
        let stats = RecordBatch::from(finished(self.counter, what)?);
        let mut text = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
        writer.write(&stats)?;
        writer.finish()?;
        let mut notes = self.inner.end()?;
        let text = String::from_utf8_lossy(&text).trim_end().to_owned();
        notes.statistics = Some(text);
        notes.into_value()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow::array::{
        ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use mixflow_core::cancel::CancelToken;
    use mixflow_core::source::SourceInfo;
    use mixflow_core::whole_file::FilePlace;
    use mixflow_sink_parquet::files::properties;

    use super::*;
    use crate::columns::{stored, struct_of, table_fields, with_statistics};

    #[derive(Clone, Default)]
    struct Bytes(Arc<Mutex<Vec<u8>>>);

    impl Write for Bytes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a log says of values that are hard to write down is the same of a file that
    /// is taken as of one that was written.
    #[test]
    fn statistics_come_back_as_they_were_counted() {
        let schema = Arc::new(Schema::new(vec![
            Field::new(
                "event_time",
                DataType::Timestamp(TimeUnit::Microsecond, None),
                false,
            ),
            Field::new("n", DataType::Int64, true),
            Field::new("price", DataType::Float64, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("never", DataType::Utf8, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![
                1_704_067_200_000_001,
                1_704_067_200_999_999,
            ])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX)])),
            Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None])),
            Arc::new(StringArray::from(vec![
                "é\"\\\u{1}".repeat(20),
                "ÿ".to_owned(),
            ])),
            Arc::new(StringArray::from(vec![None::<&str>, None])),
        ];
        let records = RecordBatch::try_new(schema.clone(), columns).expect("it fits");
        let cx = TxnContext {
            run_id: "run-1".to_owned(),
            schema: schema.clone(),
            source: SourceInfo::default(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            cancel: CancelToken::never(),
        };
        let fields = table_fields(&schema, true).expect("they have a form");
        let form = Form {
            schema: stored(&schema, true).expect("it has a form"),
            with_statistics: with_statistics(&fields),
            columns: struct_of(fields).expect("it is a table"),
            properties: properties(&cx, mixflow_sink_parquet::Compression::default()),
            cancel: cx.cancel.clone(),
        };
        let form = TableForm::new(form, &cx);
        let bytes = Bytes::default();
        let mut file = form.begin(Box::new(bytes)).expect("it begins");
        file.write(&records).expect("it is written");
        let notes = file.finish().expect("it ends");
        let mut counter = form.form.counter();
        let records = to_stored(&records, &form.form.schema).expect("they fit");
        counter.merge(&records).expect("they count");
        let counted = finished(counter, "count").expect("it had rows");
        let file = WholeFile {
            place: FilePlace::Local("a".into()),
            rows: 2,
            bytes: 1,
            notes: serde_json::from_str(&notes.to_string()).expect("it travels"),
        };
        let taken = form.taken(true, &file).expect("it is in the form");
        assert_eq!(taken.stats, counted);
        assert_eq!(taken.home.folder, Some(jiff::civil::date(2024, 1, 1)));
    }
}
