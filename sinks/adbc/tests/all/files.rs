//! What is SQLite's own, and what drivers say that is not true.

use std::path::Path;

use mixflow_core::ErrorKind;
use mixflow_core::sink::{Sink as _, WriteMode};
use mixflow_core::testing::cells_of;
use mixflow_sink_adbc::AdbcOptions;
use mixflow_tests::databases::driver;

use crate::rows::{context, events, store, write};
use crate::support::{ask, connect, options, sink};

fn count(driver: &Path, file: &Path, table: &str) -> Option<String> {
    let mut connection = connect(driver, &[("uri", file.to_str().unwrap())]);
    let rows = ask(
        &mut connection,
        &format!("SELECT count(*) AS n FROM {table}"),
    )
    .ok()?;
    cells_of(&rows)[0]["n"].clone()
}

fn execute(driver: &Path, file: &Path, sql: &str) {
    let mut connection = connect(driver, &[("uri", file.to_str().unwrap())]);
    ask(&mut connection, sql).unwrap();
}

#[test]
fn a_file_is_written_where_readers_see_only_what_is_committed() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // A name that a URI would take for something else.
    let file = folder.path().join("a?b#c%20.db");
    let made = |mode| sink(options(&driver, file.to_str().unwrap(), mode));
    let names = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    store(&made(WriteMode::Create), &[(0, events(0, &["{}", "1"]))]).unwrap();
    assert_eq!(names(), ["a?b#c%20.db"]);
    let appending = made(WriteMode::Append);
    let cx = context(&events(0, &[]));
    let mut txn = appending.begin(&cx).unwrap();
    write(&mut *txn, 0, events(0, &["{}"])).unwrap();
    // Who would write meanwhile is told that somebody does.
    let error = made(WriteMode::Append).begin(&cx).map(drop).unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    drop(txn);
    let preview = made(WriteMode::Append).preview(&cx).unwrap();
    assert!(preview.actions[0].starts_with("adds to the table `events`"));
    assert_eq!(names(), ["a?b#c%20.db"]);
}

#[test]
fn a_view_of_a_table_outlives_its_replacement() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let made = |mode| sink(options(&driver, file.to_str().unwrap(), mode));
    store(&made(WriteMode::Create), &[(0, events(0, &["{}"]))]).unwrap();
    execute(
        &driver,
        &file,
        "CREATE VIEW names AS SELECT event_name FROM events",
    );
    store(&made(WriteMode::Replace), &[(0, events(0, &["{}", "{}"]))]).unwrap();
    assert_eq!(count(&driver, &file, "names").as_deref(), Some("2"));
}

#[test]
fn a_table_with_keys_is_replaced_by_day() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let ddl = "CREATE TABLE {table} (event_name TEXT, event_time TIMESTAMP, distinct_id TEXT, \
               insert_id TEXT PRIMARY KEY, properties TEXT) WITHOUT ROWID";
    let made = |mode| {
        sink(AdbcOptions {
            ddl: Some(mixflow_sink_adbc::Statements(vec![ddl.to_owned()])),
            ..options(&driver, file.to_str().unwrap(), mode)
        })
    };
    let days = || [(0, events(0, &["{}"; 5])), (1, events(1, &["{}"; 5]))];
    store(&made(WriteMode::Create), &days()).unwrap();
    store(&made(WriteMode::ReplaceWindow), &days()).unwrap();
    store(
        &made(WriteMode::ReplaceWindow),
        &[(1, events(1, &["{}"; 4]))],
    )
    .unwrap();
    assert_eq!(count(&driver, &file, "events").as_deref(), Some("9"));
    let error = store(&made(WriteMode::Append), &[(1, events(1, &["{}"]))]).unwrap_err();
    assert!(format!("{error:?}").contains("UNIQUE"), "{error:?}");
    assert_eq!(count(&driver, &file, "events").as_deref(), Some("9"));
}

#[test]
fn rows_that_a_database_drops_are_missed() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let made = |mode| sink(options(&driver, file.to_str().unwrap(), mode));
    store(&made(WriteMode::Create), &[(0, events(0, &["{}"; 9]))]).unwrap();
    execute(
        &driver,
        &file,
        "CREATE TRIGGER t BEFORE INSERT ON events WHEN NEW.insert_id = 'id 0 3' \
         BEGIN SELECT RAISE(IGNORE); END",
    );
    for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
        let error = store(&made(mode), &[(0, events(0, &["{}"; 9]))]).unwrap_err();
        let cause = &error.causes()[0];
        // By the driver's own count, or by ours.
        assert!(cause.contains('8') && cause.contains('9'), "{error:?}");
        assert_eq!(count(&driver, &file, "events").as_deref(), Some("9"));
    }
}

/// A library of another name is one of which nothing is known.
#[test]
fn a_database_without_transactions_gets_what_can_be_promised() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unknown = folder.path().join("libadbc_driver_unknown.so");
    std::fs::copy(&driver, &unknown).unwrap();
    let file = folder.path().join("a.db");
    let made = |mode| sink(options(&unknown, file.to_str().unwrap(), mode));
    assert!(!made(WriteMode::Append).capabilities().transactional);
    let cx = context(&events(0, &[]));
    let preview = made(WriteMode::Create).preview(&cx).unwrap();
    assert!(preview.actions[1].contains("nothing is known of transactions of `unknown`"));
    store(&made(WriteMode::Create), &[(0, events(0, &["{}", "{}"]))]).unwrap();
    let error = store(&made(WriteMode::Create), &[(0, events(0, &["{}"]))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableExists);
    // Nothing is visible before the commit, and nothing after it was given up.
    let appending = made(WriteMode::Append);
    let mut txn = appending.begin(&cx).unwrap();
    write(&mut *txn, 0, events(0, &["{}"])).unwrap();
    let second = made(WriteMode::Append);
    let busy = second.begin(&context(&events(0, &[])));
    let error = busy.map(drop).unwrap_err();
    assert!(
        error.is_busy() && error.causes()[0].contains(&cx.run_id),
        "{error:?}"
    );
    txn.abort().unwrap();
    assert_eq!(count(&driver, &file, "events").as_deref(), Some("2"));
    assert_eq!(count(&driver, &file, "_mixflow_rows_events"), None);
    // It is taken before there are rows.
    let (one, other) = (context(&events(0, &[])), context(&events(0, &[])));
    let turn = made(WriteMode::Append).reserve(&one).unwrap();
    let error = made(WriteMode::Append)
        .reserve(&other)
        .map(drop)
        .unwrap_err();
    assert!(
        error.is_busy() && error.causes()[0].contains(&one.run_id),
        "{error:?}"
    );
    drop(appending.begin(&one).unwrap());
    drop(turn);
    drop(made(WriteMode::Append).reserve(&other).unwrap());
    // A lock of a run that died is taken over, one of a run elsewhere is not.
    let lock = |host: &str, pid: u32| {
        execute(&driver, &file, "DELETE FROM _mixflow_locks");
        execute(
            &driver,
            &file,
            &format!(
                "INSERT INTO _mixflow_locks VALUES ('events', 'before', {host}, '{pid}', '2999-01-01T00:00:00Z')"
            ),
        );
    };
    let mut died = std::process::Command::new("true").spawn().unwrap();
    died.wait().unwrap();
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let here = format!("'{}'", here.trim());
    lock("'elsewhere'", died.id());
    let error = store(&made(WriteMode::Append), &[(0, events(0, &["{}"]))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    lock(&here, died.id());
    store(&made(WriteMode::Append), &[(0, events(0, &["{}"]))]).unwrap();
    assert_eq!(count(&driver, &file, "events").as_deref(), Some("3"));
    assert_eq!(
        count(&driver, &file, "_mixflow_locks").as_deref(),
        Some("0")
    );
}

#[test]
fn a_driver_that_is_not_there_is_said_with_what_to_do() {
    let missing = sink(options(
        Path::new("postgresq"),
        "postgresql://h/d",
        WriteMode::Create,
    ));
    let error = missing.check_machine().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.message(),
        "cannot load the database driver `postgresq`"
    );
    assert!(error.hint_text().unwrap().contains("pip install"));
}
