//! What others do to a table of ours, and runs after them.

use std::fs::File;
use std::sync::Arc;

use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::transaction::UpdateTableOperation;
use jiff::civil::Date;
use mixflow_core::cancel::CancelToken;
use mixflow_core::sink::WriteMode;
use mixflow_sink_parquet::files::Home;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::columns::{stored, struct_of, table_fields, with_statistics};
use crate::files::{Files, Form};
use crate::leftovers::{Mark, Whose};
use crate::made_up::{Run, Spot, dataset, held, january, schema};
use crate::table::LiveFile;
use crate::txn::publish::added;

/// Does to a table what others do: writes the files of each date of `compacts` anew
/// as one, and removes those of each date of `deletes`.
fn as_others_do(spot: &Spot, compacts: &[Date], deletes: &[Date]) {
    let (place, table) = (spot.place(), spot.table());
    let files = table.files(&place).expect("it can be read");
    let of = |dates: &[Date]| -> Vec<LiveFile> {
        let live = files.live.iter();
        live.filter(|file| file.date.is_some_and(|date| dates.contains(&date)))
            .cloned()
            .collect()
    };
    let (compacted, deleted) = (of(compacts), of(deletes));
    let schema = schema(None);
    let fields = table_fields(&schema, true).expect("they fit");
    let form = Form {
        schema: stored(&schema, true).expect("they fit"),
        with_statistics: with_statistics(&fields),
        columns: struct_of(fields).expect("they fit"),
        properties: WriterProperties::default(),
        cancel: CancelToken::never(),
    };
    let whose = Whose {
        run_id: "other".to_owned(),
        dataset: dataset("UTC", None).key(),
    };
    let mark = Mark::leave(&place, &whose).expect("it can be written");
    let mut written = Files::new(&place, form);
    for file in &compacted {
        let home = Home {
            day: None,
            folder: file.date,
        };
        let reader = File::open(spot.path.join(&file.path)).expect("it is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(reader).expect("it is Parquet");
        for rows in reader.build().expect("it is Parquet") {
            written
                .write(&mark, home, &rows.expect("it is whole"))
                .expect("it can be written");
        }
    }
    let engine = place.engine();
    let committer = Box::new(FileSystemCommitter::new());
    let operation = UpdateTableOperation::Delete;
    let mut txn = Arc::clone(&table.snapshot)
        .update_table(operation, "others", true)
        .build(engine, committer)
        .expect("it can be written");
    for file in written.finish().expect("it can be written") {
        txn.add_files(added(file, true).expect("it has a form"));
    }
    for removal in files
        .removal(compacted.iter().chain(&deleted))
        .expect("they are there")
    {
        txn.remove_files(removal);
    }
    assert!(
        txn.commit(engine)
            .expect("it can be written")
            .is_committed()
    );
    mark.remove().expect("it can be removed");
}

#[test]
fn files_that_others_made_of_ours_are_replaced_by_the_times_of_their_rows() {
    let spot = Spot::new();
    // Eight hours behind, so that a UTC day has rows of two days of the project.
    let run = |id, mode| Run {
        dataset: dataset("US/Pacific", None),
        ..spot.run(id, mode)
    };
    let windows: &[_] = &[
        (1, 1, &[8, 31][..]),
        (2, 2, &[32, 47, 48]),
        (3, 3, &[56, 71]),
    ];
    run("a", WriteMode::Create).fetch(windows).expect("commits");
    as_others_do(&spot, &[january(2), january(3)], &[]);
    assert_eq!(spot.hours(), [8, 31, 32, 47, 48, 56, 71]);
    // The days are held although none of their files is one of ours.
    let held = spot.ledger(&dataset("US/Pacific", None));
    assert_eq!(held.days().count(), 3);
    run("b", WriteMode::ReplaceWindow)
        .fetch(&[(2, 2, &[33, 49])])
        .expect("commits");
    assert_eq!(spot.hours(), [8, 31, 33, 49, 56, 71]);
    // And again, with what was written anew.
    run("c", WriteMode::ReplaceWindow)
        .fetch(&[(3, 3, &[57])])
        .expect("commits");
    assert_eq!(spot.hours(), [8, 31, 33, 49, 57]);
}

#[test]
fn days_whose_rows_somebody_has_deleted_are_not_held() {
    let spot = Spot::new();
    let windows: &[_] = &[(1, 1, &[1][..]), (2, 2, &[30])];
    spot.run("a", WriteMode::Create)
        .fetch(windows)
        .expect("commits");
    as_others_do(&spot, &[], &[january(1)]);
    assert_eq!(spot.held(), [held(2, 1, "a")]);
    spot.run("b", WriteMode::ReplaceWindow)
        .fetch(&[(1, 1, &[2])])
        .expect("commits");
    assert_eq!(spot.hours(), [2, 30]);
    assert_eq!(spot.held(), [held(1, 1, "b"), held(2, 1, "a")]);
}
