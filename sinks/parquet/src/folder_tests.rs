use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use mixflow_core::batch::{PartitionId, json_field};
use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::source::{DayRange, SourceInfo};
use mixflow_core::testing::names_in;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{ParquetOptions, ParquetSink, PartitionBy};

const HOUR_US: i64 = 3_600_000_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(
            DAY_COLUMN,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        json_field("properties", false),
    ]))
}

/// One row an hour for each hour since 1970 that is named.
fn batch(hours: &[i64]) -> Batch {
    let times = hours.iter().map(|hour| hour * HOUR_US);
    let texts = hours.iter().map(|hour| format!("{{\"hour\": {hour}}}"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        Arc::new(StringArray::from_iter_values(texts)),
    ];
    Batch {
        records: RecordBatch::try_new(schema(), columns).expect("columns fit"),
        partition: PartitionId(0),
    }
}

fn days(first: i64, end: i64) -> PartitionInfo {
    PartitionInfo {
        id: PartitionId(0),
        label: format!("day {first}"),
        extent: Extent::Days(DayRange {
            first: date(first).expect("a day"),
            last: date(end - 1).expect("a day"),
            start_us: first * DAY_US,
            end_us: end * DAY_US,
        }),
    }
}

fn context(run_id: &str) -> TxnContext {
    TxnContext {
        run_id: run_id.to_owned(),
        schema: schema(),
        source: SourceInfo {
            title: "made-up hours".to_owned(),
            from_date: Some(Date::constant(1970, 1, 2)),
            ..SourceInfo::default()
        },
        started_at: Timestamp::UNIX_EPOCH,
        cancel: mixflow_core::cancel::CancelToken::never(),
    }
}

struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("out");
        Place { folder, path }
    }

    fn sink(&self, mode: WriteMode) -> ParquetSink {
        ParquetSink::new(ParquetOptions {
            path: self.path.clone(),
            mode: Some(mode),
            compression: None,
            partition_by: Some(PartitionBy::Date),
            allow_shrink: None,
        })
        .expect("the options are fine")
    }

    fn run(&self, run_id: &str, mode: WriteMode, info: &PartitionInfo, hours: &[i64]) -> u64 {
        let sink = self.sink(mode);
        let mut txn = sink.begin(&context(run_id)).expect("begins");
        txn.partition(info).expect("is announced");
        for hours in hours.chunks(3) {
            txn.write(&batch(hours)).expect("writes");
        }
        let outcome = Outcome {
            missing: &[],
            rows: hours.len() as u64,
            units: &[],
        };
        txn.commit(&outcome).expect("commits").rows
    }

    /// Returns the files with the hours in them, sorted.
    fn read(&self) -> Vec<(String, Vec<i64>)> {
        tree::list(&self.path)
            .expect("it is a folder of Parquet files")
            .into_iter()
            .map(|found| {
                let hours = read(&self.path.join(&found.path));
                (found.path.display().to_string(), hours)
            })
            .collect()
    }

    fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }
}

fn read(path: &Path) -> Vec<i64> {
    let file = File::open(path).expect("it is there");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    assert_eq!(builder.schema().fields(), schema().fields());
    let mut hours = Vec::new();
    for records in builder.build().expect("it can be read") {
        let records = records.expect("it can be read");
        let times = records.column(0).as_primitive::<TimestampMicrosecondType>();
        hours.extend(times.values().iter().map(|us| us / HOUR_US));
    }
    hours
}

fn file(name: &str, hours: &[i64]) -> (String, Vec<i64>) {
    (name.to_owned(), hours.to_vec())
}

#[test]
fn rows_go_to_the_folder_of_their_utc_day_in_order() {
    let place = Place::new();
    let rows = place.run("r", WriteMode::Create, &days(0, 2), &[23, 24, 1, -1, 25, 0]);
    assert_eq!(rows, 6);
    // Parts are numbered as their files are begun, a batch of three at a time.
    assert_eq!(
        place.read(),
        [
            file("date=1969-12-31/part-r-2.parquet", &[-1]),
            file("date=1970-01-01/part-r-0.parquet", &[23, 1, 0]),
            file("date=1970-01-02/part-r-1.parquet", &[24, 25]),
        ]
    );
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn append_keeps_what_was_there() {
    let place = Place::new();
    place.run("a", WriteMode::Append, &days(0, 1), &[1]);
    place.run("b", WriteMode::Append, &days(0, 1), &[2]);
    assert_eq!(
        place.read(),
        [
            file("date=1970-01-01/part-a-0.parquet", &[1]),
            file("date=1970-01-01/part-b-0.parquet", &[2]),
        ]
    );
}

#[test]
fn replace_window_replaces_the_days_of_its_partitions_alone() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 3), &[1, 25, 49]);
    place.run("b", WriteMode::ReplaceWindow, &days(1, 2), &[26, 50]);
    assert_eq!(
        place.read(),
        [
            file("date=1970-01-01/part-a-0.parquet", &[1]),
            file("date=1970-01-02/part-b-0.parquet", &[26]),
            file("date=1970-01-03/part-a-2.parquet", &[49]),
            // A row that another window has for this day loses nothing.
            file("date=1970-01-03/part-b-1.parquet", &[50]),
        ]
    );
}

#[test]
fn a_day_without_rows_is_replaced_by_nothing() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 2), &[1, 25]);
    place.run("b", WriteMode::ReplaceWindow, &days(1, 2), &[]);
    assert_eq!(
        place.read(),
        [file("date=1970-01-01/part-a-0.parquet", &[1])]
    );
}

#[test]
fn replace_swaps_the_whole_folder() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 2), &[1, 25]);
    place.run("b", WriteMode::Replace, &days(0, 1), &[2]);
    assert_eq!(
        place.read(),
        [file("date=1970-01-01/part-b-0.parquet", &[2])]
    );
    assert_eq!(place.names(), ["out"]);
}

#[test]
fn a_run_without_rows_makes_a_table_without_rows() {
    let place = Place::new();
    place.run("r", WriteMode::Create, &days(1, 2), &[]);
    assert_eq!(
        place.read(),
        [file("date=1970-01-02/part-r-0.parquet", &[])]
    );
}

#[test]
fn an_abort_or_a_drop_leaves_everything_as_it_was() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 1), &[1]);
    let before = place.read();
    for dropped in [false, true] {
        let sink = place.sink(WriteMode::Replace);
        let mut txn = sink.begin(&context("b")).expect("begins");
        txn.partition(&days(0, 1)).expect("is announced");
        txn.write(&batch(&[2])).expect("writes");
        if dropped {
            drop(txn);
        } else {
            assert_eq!(txn.abort().expect("aborts"), Residue::None);
        }
        assert_eq!(place.read(), before);
        assert_eq!(place.names(), ["out"]);
    }
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 1), &[1]);
    let before = place.read();
    // Ids of runs are unique. If they were not, files would have one name.
    let sink = place.sink(WriteMode::Append);
    let mut txn = sink.begin(&context("a")).expect("begins");
    txn.partition(&days(0, 1)).expect("is announced");
    txn.write(&batch(&[2])).expect("writes");
    let outcome = Outcome {
        missing: &[],
        rows: 1,
        units: &[],
    };
    let error = txn.commit(&outcome).expect_err("one of them would be gone");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(place.read(), before);
}

#[test]
fn a_folder_with_anything_else_in_it_is_refused() {
    let place = Place::new();
    place.run("a", WriteMode::Create, &days(0, 1), &[1]);
    fs::write(place.path.join("thesis.txt"), "years of work").expect("written");
    for mode in [
        WriteMode::Append,
        WriteMode::Replace,
        WriteMode::ReplaceWindow,
    ] {
        let sink = place.sink(mode);
        let error = sink.preview(&context("b")).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Destination);
        assert!(error.causes()[0].contains("thesis.txt"), "{error:?}");
        assert!(sink.begin(&context("b")).is_err());
    }
    assert!(place.path.join("thesis.txt").exists());
}

#[test]
fn create_takes_an_empty_folder_and_no_other() {
    let place = Place::new();
    fs::create_dir(&place.path).expect("made");
    place.run("a", WriteMode::Create, &days(0, 1), &[1]);
    let error = place
        .sink(WriteMode::Create)
        .preview(&context("b"))
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TableExists);
}

#[test]
fn more_days_than_open_files_are_written_in_several_parts() {
    let place = Place::new();
    let hours: Vec<i64> = (0..100).map(|day| day * 24).collect();
    let twice = [hours.clone(), hours].concat();
    place.run("r", WriteMode::Create, &days(0, 100), &twice);
    let mut read: Vec<i64> = place.read().into_iter().flat_map(|file| file.1).collect();
    read.sort_unstable();
    let mut expected = twice;
    expected.sort_unstable();
    assert_eq!(read, expected);
    assert_eq!(place.read().len(), 200);
}

#[test]
fn days_of_another_zone_cannot_be_replaced() {
    let place = Place::new();
    let sink = place.sink(WriteMode::ReplaceWindow);
    let mut txn = sink.begin(&context("r")).expect("begins");
    let mut info = days(0, 1);
    info.extent = match info.extent {
        Extent::Days(mut days) => {
            days.start_us += HOUR_US;
            Extent::Days(days)
        }
        other => other,
    };
    let error = txn.partition(&info).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_stays() {
    let place = Place::new();
    let real = place.folder.path().join("real");
    fs::create_dir(&real).expect("made");
    std::os::unix::fs::symlink(&real, &place.path).expect("linked");
    place.run("r", WriteMode::Replace, &days(0, 1), &[1]);
    assert!(place.path.is_symlink());
    assert_eq!(place.read().len(), 1);
}

#[test]
fn a_day_that_would_shrink_a_lot_is_refused() {
    let place = Place::new();
    let hours: Vec<i64> = (0..20).collect();
    place.run("a", WriteMode::Create, &days(0, 1), &hours);
    let before = place.read();
    let sink = place.sink(WriteMode::ReplaceWindow);
    let mut txn = sink.begin(&context("b")).expect("begins");
    txn.partition(&days(0, 1)).expect("is announced");
    txn.write(&batch(&hours[..9])).expect("writes");
    let outcome = Outcome {
        missing: &[],
        rows: 9,
        units: &[],
    };
    let error = txn.commit(&outcome).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(
        error.causes(),
        ["this would shrink 1970-01-01 from 20 to 9 rows"]
    );
    assert_eq!(place.read(), before);
    assert_eq!(place.names(), ["out"]);
    place.run("c", WriteMode::ReplaceWindow, &days(0, 1), &hours[..10]);
}
