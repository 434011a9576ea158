use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit as ArrowUnit};
use jiff::Timestamp;
use mixflow_core::batch::{Batch, PartitionId, json_field};
use mixflow_core::sink::{Outcome, PartitionInfo, Sink};
use mixflow_core::source::{DayRange, Extent, SourceInfo};

use super::*;
use crate::{ParquetOptions, ParquetSink, PartitionBy};

const MODES: [WriteMode; 2] = [WriteMode::Append, WriteMode::ReplaceWindow];

/// A row of a day, with more columns than that.
fn records(more: &[(&str, ArrayRef)]) -> RecordBatch {
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_i64]));
    let columns = [("event_time", time)].into_iter();
    RecordBatch::try_from_iter(columns.chain(more.iter().cloned())).expect("columns fit")
}

fn number() -> ArrayRef {
    Arc::new(Int64Array::from(vec![1]))
}

fn text() -> ArrayRef {
    Arc::new(StringArray::from(vec!["a"]))
}

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("out");
        Place {
            _folder: folder,
            path,
        }
    }

    /// Writes a row, and says why it was refused.
    fn run(
        &self,
        mode: WriteMode,
        by: Option<PartitionBy>,
        records: &RecordBatch,
        key: Option<&str>,
    ) -> Result<(), String> {
        let sink = ParquetSink::new(ParquetOptions {
            path: self.path.clone(),
            mode: Some(mode),
            compression: None,
            partition_by: by,
            endpoint: None,
            region: None,
            allow_shrink: None,
            scope: None,
        });
        let sink = sink.expect("the options are fine");
        let mut provenance = Provenance::default();
        if let Some(key) = key {
            provenance.add("key", key);
        }
        let cx = TxnContext {
            run_id: Timestamp::now().as_nanosecond().to_string(),
            schema: records.schema(),
            source: SourceInfo {
                provenance: Some(provenance),
                ..SourceInfo::default()
            },
            started_at: Timestamp::UNIX_EPOCH,
            cancel: mixflow_core::cancel::CancelToken::never(),
        };
        let refused = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Destination);
            error.causes().join("; ")
        };
        sink.preview(&cx).map_err(refused)?;
        // Whoever does not ask first is refused as well.
        let mut txn = sink.begin(&cx).map_err(refused)?;
        let date = jiff::civil::date(1970, 1, 1);
        let partition = PartitionInfo {
            id: PartitionId(0),
            label: "a day".to_owned(),
            extent: Extent::Days(DayRange {
                first: date,
                last: date,
                start_us: 0,
                end_us: 86_400_000_000,
            }),
        };
        txn.partition(&partition).expect("is announced");
        let batch = Batch {
            records: records.clone(),
            partition: PartitionId(0),
        };
        txn.write(&batch).expect("writes");
        let outcome = Outcome {
            missing: &[],
            rows: 1,
            units: &[],
        };
        txn.commit(&outcome).expect("commits");
        Ok(())
    }

    fn files(&self) -> usize {
        let files = crate::tree::list(&self.path).expect("it is there");
        files.iter().filter(|found| found.is_table()).count()
    }
}

#[test]
fn files_with_and_without_days_do_not_stand_side_by_side() {
    let row = records(&[]);
    let (date, none) = (Some(PartitionBy::Date), Some(PartitionBy::None));
    let place = Place::new();
    place
        .run(WriteMode::Create, none, &row, None)
        .expect("it is new");
    place
        .run(WriteMode::Append, none, &row, None)
        .expect("it fits");
    for (mode, by) in [
        (WriteMode::ReplaceWindow, date),
        (WriteMode::Append, date),
        (WriteMode::Append, None),
    ] {
        let reason = place.run(mode, by, &row, None).expect_err("refused");
        assert!(reason.contains("stands in no folder of a day"), "{reason}");
    }
    assert_eq!(place.files(), 2);
    let place = Place::new();
    place
        .run(WriteMode::Create, None, &row, None)
        .expect("it is new");
    let reason = place
        .run(WriteMode::Append, none, &row, None)
        .expect_err("refused");
    assert!(reason.contains("stands in the folder of a day"), "{reason}");
    for mode in [
        WriteMode::Append,
        WriteMode::ReplaceWindow,
        WriteMode::Replace,
    ] {
        place.run(mode, date, &row, None).expect("it fits");
    }
    // What is replaced as a whole may be anything.
    place
        .run(WriteMode::Replace, none, &row, None)
        .expect("it fits");
}

#[test]
fn other_columns_and_types_are_refused_with_the_difference() {
    let place = Place::new();
    let row = records(&[("n", number())]);
    place
        .run(WriteMode::Create, None, &row, None)
        .expect("it is new");
    for (row, difference) in [
        (records(&[]), "- n BIGINT"),
        (records(&[("n", text())]), "- n BIGINT, + n VARCHAR"),
    ] {
        for mode in MODES {
            let reason = place.run(mode, None, &row, None).expect_err("refused");
            assert_eq!(reason, format!("from there to the rows: {difference}"));
        }
    }
    for mode in MODES {
        place.run(mode, None, &row, None).expect("it fits");
    }
    // What readers skip is no part of the table.
    std::fs::write(place.path.join("_SUCCESS"), "").expect("written");
    place
        .run(WriteMode::Append, None, &row, None)
        .expect("it fits");
    place
        .run(WriteMode::Replace, None, &records(&[]), None)
        .expect("it fits");
}

#[test]
fn files_may_get_columns_more_than_those_of_before() {
    let place = Place::new();
    let row = records(&[("n", number())]);
    place
        .run(WriteMode::Create, None, &row, None)
        .expect("it is new");
    let more = records(&[("mp", number()), ("n", number())]);
    for mode in MODES {
        place.run(mode, None, &more, None).expect("it fits");
    }
    // From then on they are the table's.
    let reason = place.run(WriteMode::Append, None, &row, None);
    assert_eq!(
        reason.expect_err("refused"),
        "from there to the rows: - mp BIGINT"
    );
}

#[test]
fn rows_of_another_key_are_refused() {
    let place = Place::new();
    let row = records(&[]);
    place
        .run(WriteMode::Create, None, &row, Some("a"))
        .expect("it is new");
    for mode in MODES {
        for key in [Some("b"), None] {
            let reason = place.run(mode, None, &row, key).expect_err("refused");
            assert!(reason.contains("made with"), "{reason}");
        }
        place.run(mode, None, &row, Some("a")).expect("it fits");
    }
    place
        .run(WriteMode::Replace, None, &row, Some("b"))
        .expect("it fits");
    place
        .run(WriteMode::Append, None, &row, Some("b"))
        .expect("it fits");
}

#[test]
fn a_file_that_cannot_be_read_is_not_written_beside() {
    let place = Place::new();
    let row = records(&[]);
    place
        .run(WriteMode::Create, None, &row, None)
        .expect("it is new");
    std::fs::write(place.path.join("date=1970-01-01/cut.parquet"), "PAR1").expect("written");
    assert!(place.run(WriteMode::Append, None, &row, None).is_err());
}

#[test]
fn types_are_called_what_sql_calls_them() {
    let micros =
        |zone: Option<&str>| DataType::Timestamp(ArrowUnit::Microsecond, zone.map(Into::into));
    let types = [
        (DataType::Utf8, "VARCHAR"),
        (DataType::Boolean, "BOOLEAN"),
        (DataType::Int8, "TINYINT"),
        (DataType::Int16, "SMALLINT"),
        (DataType::Int32, "INTEGER"),
        (DataType::Int64, "BIGINT"),
        (DataType::UInt8, "UTINYINT"),
        (DataType::UInt16, "USMALLINT"),
        (DataType::UInt32, "UINTEGER"),
        (DataType::UInt64, "UBIGINT"),
        (DataType::Float32, "FLOAT"),
        (DataType::Float64, "DOUBLE"),
        (DataType::Date32, "DATE"),
        (DataType::Binary, "BLOB"),
        (micros(None), "TIMESTAMP"),
        (micros(Some("UTC")), "TIMESTAMP WITH TIME ZONE"),
    ];
    let fields = types
        .iter()
        .map(|(kind, name)| Field::new(*name, kind.clone(), true));
    let schema = Schema::new(
        fields
            .chain([json_field("JSON", false)])
            .collect::<Vec<_>>(),
    );
    for column in columns(&converted(&schema).expect("all have a form")) {
        let name = &column[..column.len() / 2];
        assert_eq!(column, format!("{name} {name}"));
    }
}
