//! Several stores of one process on one file.

use std::path::Path;
use std::sync::Arc;

use mixflow::core::arrow::datatypes::{DataType, Field, Schema};
use mixflow::core::sink::Sink as _;
use mixflow::{Event, Events, Profiles, Store, TableInput, Workspace};
use mixflow_sink_duckdb::{DuckdbOptions, DuckdbSink};
use mixflow_tests::sim::{Data, Simulator};

use crate::support::{self, Place, sim, started};

fn event(n: usize) -> Event {
    let line = format!(
        r#"{{"event_name":"x","event_time":"2024-01-01T12:00:00Z","distinct_id":"a","insert_id":"{n}","properties":{{}}}}"#
    );
    serde_json::from_str(&line).unwrap()
}

fn workspace(path: &Path) -> Workspace {
    Workspace::builder().path(path).build().unwrap()
}

fn create(workspace: &Workspace, table: &str, rows: usize) -> mixflow::Result<u64> {
    let events = (0..rows).map(|n| Ok(event(n)));
    workspace
        .create_events_table(table, events, &TableInput::default(), |_| ())
        .map(|summary| summary.rows)
}

fn tables(path: &Path) -> Vec<(String, Option<u64>)> {
    let tables = Store::open_read_only(path).unwrap().list_tables().unwrap();
    tables
        .into_iter()
        .map(|table| (table.table_name, table.row_count))
        .collect()
}

fn asking(sim: &Simulator, place: &Place, path: &Path) -> Workspace {
    support::workspace(sim)
        .state_folder(place.path("state"))
        .path(path)
        .build()
        .unwrap()
}

/// The one that closed last overwrote what the other had committed.
#[test]
fn what_two_workspaces_fetch_into_one_file_is_all_there() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let path = place.path("out.db");
    let (one, other) = (asking(&sim, &place, &path), asking(&sim, &place, &path));
    assert!(one.store().unwrap().list_tables().unwrap().is_empty());
    assert!(other.store().unwrap().list_tables().unwrap().is_empty());
    let profiles = one.fetch_profiles(&Profiles::all()).unwrap();
    let events = other
        .fetch_events(&Events::between("2024-01-01", "2024-01-14"))
        .unwrap();
    assert_eq!((profiles.row_count, events.row_count), (2_000, 8_000));
    drop(one);
    drop(other);
    let expected = [("events", 8_000), ("profiles", 2_000)];
    assert_eq!(
        tables(&path),
        expected.map(|(name, rows)| (name.to_owned(), Some(rows)))
    );
}

#[cfg(unix)]
#[test]
fn one_file_is_one_database_whatever_its_path_looks_like() {
    let place = Place::new();
    let (path, link) = (place.path("out.db"), place.path("link.db"));
    let first = workspace(&path);
    create(&first, "a", 10).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::hard_link(&path, place.path("hard.db")).unwrap();
    std::fs::create_dir(place.path("sub")).unwrap();
    for (n, name) in ["link.db", "hard.db", "sub/../out.db"].iter().enumerate() {
        let other = workspace(&place.path(name));
        create(&other, &format!("b{n}"), 20).unwrap();
        assert!(
            first
                .store()
                .unwrap()
                .table_exists(&format!("b{n}"))
                .unwrap()
        );
    }
    drop(first);
    assert_eq!(tables(&path).len(), 4);
}

#[test]
fn threads_with_stores_of_their_own_lose_nothing() {
    let place = Place::new();
    let path = place.path("out.db");
    const THREADS: usize = 4;
    const TABLES: usize = 5;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let path = &path;
            scope.spawn(move || {
                for n in 0..TABLES {
                    // Opened and closed again, while others do the same.
                    let workspace = workspace(path);
                    create(&workspace, &format!("t{thread}_{n}"), 3_000).unwrap();
                }
            });
        }
    });
    let tables = tables(&path);
    assert_eq!(tables.len(), THREADS * TABLES);
    assert!(tables.iter().all(|(_, rows)| *rows == Some(3_000)));
    let store = Store::open_read_only(&path).unwrap();
    assert!(store.metadata("t0_0").is_ok() && store.metadata("t3_4").is_ok());
}

#[test]
fn a_run_writes_through_the_store_that_is_open() {
    let place = Place::new();
    let path = place.path("out.db");
    let store = Store::open(&path).unwrap();
    let options = DuckdbOptions {
        path: Some(path.clone()),
        table: Some("events".to_owned()),
        ..DuckdbOptions::default()
    };
    let cx = mixflow::core::registry::BuildContext::new(jiff::Timestamp::now());
    let sink = DuckdbSink::new(options, &cx).unwrap();
    let column = Field::new("n", DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![column]));
    let cx = mixflow::core::sink::TxnContext {
        run_id: "run-1".to_owned(),
        schema,
        source: mixflow::core::source::SourceInfo::default(),
        started_at: jiff::Timestamp::now(),
        cancel: mixflow::core::cancel::CancelToken::never(),
    };
    let txn = sink.begin(&cx).unwrap();
    // Only one writes at a time.
    let Err(busy) = sink.begin(&cx) else {
        panic!("two transactions at once");
    };
    assert!(busy.is_busy(), "{busy:?}");
    let outcome = mixflow::core::sink::Outcome {
        missing: &[],
        rows: 0,
        units: &[],
    };
    txn.commit(&outcome).unwrap();
    assert!(store.table_exists("events").unwrap());
    drop(store);
    assert_eq!(tables(&path), [("events".to_owned(), Some(0))]);
}

#[test]
fn a_file_that_is_open_for_reading_is_not_written_to() {
    let place = Place::new();
    let path = place.path("out.db");
    create(&workspace(&path), "a", 10).unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.kind(), mixflow::ErrorKind::Locked);
    assert_eq!(error.causes(), ["this process has it open for reading"]);
    let second = Store::open_read_only(&path).unwrap();
    drop(reader);
    assert_eq!(second.scalar::<i64>("SELECT count(*) FROM a").unwrap(), 10);
    drop(second);
    let writer = Store::open(&path).unwrap();
    // Who reads joins who writes.
    let reader = Store::open_read_only(&path).unwrap();
    create(&workspace(&path), "b", 1).unwrap();
    assert!(reader.table_exists("b").unwrap());
    assert!(reader.sink(None).is_err());
    drop((reader, writer));
}

#[test]
fn a_file_that_was_replaced_under_a_store_is_told() {
    let place = Place::new();
    let (path, new) = (place.path("out.db"), place.path("new.db"));
    let store = Store::open(&path).unwrap();
    create(&workspace(&new), "a", 1).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let error = store.list_tables().unwrap_err();
    assert_eq!(
        error.causes(),
        ["somebody has replaced the file while it was open"]
    );
    // Whoever opens it now opens the new one.
    assert_eq!(tables(&path), [("a".to_owned(), Some(1))]);
}
