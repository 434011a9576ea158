use std::fs;

use mixflow_core::ErrorKind;
use mixflow_core::sink::{Outcome, Residue, Sink, WriteMode};

use crate::made_up::{Place, batch, context, days, file};

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
