//! 001: the store. Where the requirement is about a library, by the library;
//! `query.rs` and `commands.rs` have the commands.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::civil::date;
use mixflow::core::arrow::array::AsArray as _;
use mixflow::{Error, ErrorKind, Event, Profile, Store, TableInput, Workspace};
use serde_json::json;
use tempfile::TempDir;

use crate::rows::form::texts;

fn event(n: u64) -> Event {
    serde_json::from_value(json!({
        "event_name": if n.is_multiple_of(2) { "even" } else { "odd" },
        "event_time": Timestamp::from_second(1_704_067_200 + i64::try_from(n).unwrap()).unwrap(),
        "distinct_id": format!("user-{}", n % 7),
        "insert_id": n.to_string(),
        "properties": {"n": n, "text": "größe \"L\""},
    }))
    .unwrap()
}

fn events(n: u64) -> impl Iterator<Item = Result<Event, Error>> {
    (0..n).map(|n| Ok(event(n)))
}

fn january() -> TableInput {
    TableInput {
        from_date: Some(date(2024, 1, 1)),
        to_date: Some(date(2024, 1, 31)),
        filters: json!({"where": "true"}).as_object().unwrap().clone(),
        ..TableInput::default()
    }
}

fn silent(_rows: u64) {}

fn workspace(path: &Path) -> Workspace {
    Workspace::builder().path(path).build().unwrap()
}

/// A store with 5,000 events in `events`.
fn filled() -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(&folder.path().join("store.db"));
    workspace
        .create_events_table("events", events(5_000), &january(), silent)
        .unwrap();
    (folder, workspace)
}

fn count(store: &Store, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store.scalar::<u64>(&sql).unwrap()
}

#[test]
fn seed_001_us1_1_a_file_is_made_at_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.path(), path);
    assert!(path.is_file() && !store.is_ephemeral());
}

#[test]
fn seed_001_us1_2_and_3_what_was_stored_is_there_when_it_is_opened_again() {
    let (folder, first) = filled();
    let sql = "SELECT * FROM events ORDER BY event_time";
    let ask = |store: &Store| {
        let mut query = store.query(sql).unwrap();
        texts(
            &query
                .batches()
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>(),
        )
    };
    let before = ask(&first.store().unwrap());
    assert_eq!(before.len(), 5_000);
    assert_eq!(before[1][4], r#"{"n":1,"text":"größe \"L\""}"#);
    drop(first);
    let path = folder.path().join("store.db");
    assert_eq!(ask(&Store::open_read_only(&path).unwrap()), before);
    assert_eq!(ask(&Store::open(&path).unwrap()), before);
}

#[test]
fn seed_001_us1_4_the_default_path_is_named_after_the_project() {
    let home = tempfile::tempdir().unwrap();
    let workspace = Workspace::builder()
        .project_id("4711")
        .home(home.path())
        .build()
        .unwrap();
    workspace.store().unwrap();
    assert!(home.path().join(".mixpanel_data/4711.db").is_file());
    let nowhere = Workspace::builder().build().unwrap();
    assert_eq!(nowhere.store().unwrap_err().kind(), ErrorKind::Config);
}

/// Memory holds a batch: when one is told, no more than the next has begun.
#[test]
fn seed_001_us2_1_events_are_taken_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let taken = AtomicU64::new(0);
    let counted = events(20_000).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
    });
    let mut told = Vec::new();
    workspace(&folder.path().join("store.db"))
        .create_events_table("events", counted, &january(), |rows| {
            assert_eq!(taken.load(Ordering::Relaxed), rows);
            told.push(rows);
        })
        .unwrap();
    let expected: Vec<u64> = (1..=10).map(|n| n * 2_000).collect();
    assert_eq!(told, expected);
}

#[test]
fn seed_001_us2_3_what_was_asked_for_is_in_the_metadata() {
    let (_folder, workspace) = filled();
    let data = workspace.store().unwrap().metadata("EVENTS").unwrap();
    assert_eq!(data.table_name, "events");
    assert_eq!(data.data_type, "events");
    assert_eq!(data.from_date, Some(date(2024, 1, 1)));
    assert_eq!(data.to_date, Some(date(2024, 1, 31)));
    assert_eq!(data.row_count, 5_000);
    assert_eq!(data.filters, json!({"where": "true"}));
    assert_eq!((data.status.as_str(), data.missing.len()), ("committed", 0));
    let age = Timestamp::now().as_second() - data.fetched_at.as_second();
    assert!((0..60).contains(&age));
}

#[test]
fn seed_001_us3_1_and_2_an_ephemeral_store_goes_when_it_is_dropped() {
    let store = Store::ephemeral().unwrap();
    let path = store.path().to_owned();
    assert!(path.starts_with(std::env::temp_dir()) && path.is_file() && store.is_ephemeral());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = path
            .parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "others can look into it");
    }
    drop(store);
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn seed_001_us3_2_an_ephemeral_store_goes_when_its_thread_panics() {
    let (sender, path) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let store = Store::ephemeral().unwrap();
        sender.send(store.path().to_owned()).unwrap();
        panic!("on purpose");
    });
    let path = path.recv().unwrap();
    thread.join().unwrap_err();
    assert!(!path.parent().unwrap().exists());
}

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "run by another test"]
fn holds_an_ephemeral_store() {
    let store = Store::ephemeral().unwrap();
    println!("at {}", store.path().display());
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn holder(temporary: &Path) -> (Child, PathBuf) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "seeds::store::holds_an_ephemeral_store"])
        .args(["--ignored", "--nocapture"])
        .env("TMPDIR", temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let path = stdout
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("at /").map(|(_, path)| format!("/{path}")))
        .expect("it says where its store is");
    child.stdout = Some(stdout.into_inner());
    (child, path.into())
}

#[test]
fn seed_001_us3_3_what_a_killed_process_leaves_goes_with_the_next_start() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut killed, left) = holder(temporary.path());
    let (mut alive, kept) = holder(temporary.path());
    assert!(left.is_file() && kept.is_file());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(left.is_file());
    let (mut next, _) = holder(temporary.path());
    assert!(!left.exists(), "it was not swept");
    assert!(kept.is_file(), "a store in use was swept");
    for child in [&mut alive, &mut next] {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn seed_001_us3_4_an_ephemeral_store_does_what_others_do() {
    let workspace = Workspace::builder().ephemeral().build().unwrap();
    workspace
        .create_events_table("events", events(10), &january(), silent)
        .unwrap();
    let store = workspace.store().unwrap();
    assert_eq!(store.list_tables().unwrap()[0].row_count, Some(10));
    assert_eq!(store.schema("events").unwrap().len(), 5);
    store.drop_table("events").unwrap();
    assert!(!store.table_exists("events").unwrap());
}

#[test]
fn seed_001_us4_1_answers_come_as_arrow_batches_that_stream() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    let mut query = store
        .query("SELECT properties, event_time FROM events")
        .unwrap();
    let batches = query.batches().unwrap();
    let schema = batches.schema();
    assert!(mixflow::core::batch::is_json(schema.field(0)));
    assert!(!mixflow::core::batch::is_json(schema.field(1)));
    let rows: Vec<usize> = batches.map(|batch| batch.unwrap().num_rows()).collect();
    assert!(
        rows.len() > 1 && rows.iter().sum::<usize>() == 5_000,
        "{rows:?}"
    );
}

#[test]
fn seed_001_us4_2_one_value_is_returned_as_such() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    assert_eq!(
        store.scalar::<i64>("SELECT sum(1) FROM events").unwrap(),
        5_000
    );
    let name: String = store.scalar("SELECT max(event_name) FROM events").unwrap();
    assert_eq!(name, "odd");
    for (sql, cause) in [
        ("SELECT 1 WHERE false", "it has no row"),
        ("SELECT 1, 2", "it has 2 columns"),
        ("SELECT unnest([1, 2])", "it has more than one row"),
    ] {
        let error = store.scalar::<i64>(sql).unwrap_err();
        assert_eq!(error.causes(), [cause]);
    }
}

#[test]
fn seed_001_us4_3_rows_are_tuples() {
    let (_folder, workspace) = filled();
    let sql =
        "SELECT event_name, count(*), min(event_time)::VARCHAR FROM events GROUP BY 1 ORDER BY 1";
    let rows: Vec<(String, i64, String)> = workspace.store().unwrap().rows(sql).unwrap();
    let row = |name: &str, time: &str| (name.to_owned(), 2_500, time.to_owned());
    let expected = [
        row("even", "2024-01-01 00:00:00"),
        row("odd", "2024-01-01 00:00:01"),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn seed_001_fr_018_duckdbs_own_statement_can_be_had() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    let mut statement = store
        .prepare("SELECT count(*) FROM events WHERE distinct_id = ?")
        .unwrap();
    let n: i64 = statement.query_row(["user-3"], |row| row.get(0)).unwrap();
    assert_eq!(n, 714);
}

#[test]
fn seed_001_us4_4_errors_in_sql_keep_duckdbs_words() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    let sql = "SELECT nope FROM events";
    let errors = [
        store.query(sql).map(drop).unwrap_err(),
        store.rows::<(i64,)>(sql).unwrap_err(),
        store.scalar::<i64>(sql).unwrap_err(),
        store.prepare(sql).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Query);
        assert_eq!(error.message(), "cannot answer the query");
        let text = error.causes().concat();
        assert!(
            text.contains(r#"Referenced column "nope" not found"#),
            "{text}"
        );
        assert!(text.contains("LINE 1: SELECT nope FROM events"), "{text}");
    }
    // One that fails while its answer is on the way.
    let mut late = store
        .query("SELECT (n || 'x')::INT FROM range(9) t(n)")
        .unwrap();
    let error = late
        .batches()
        .and_then(|batches| batches.collect::<Result<Vec<_>, _>>());
    let text = error.unwrap_err().causes().concat();
    assert!(
        text.contains("Could not convert string '0x' to INT32"),
        "{text}"
    );
}

#[test]
fn seed_001_us5_1_tables_are_listed_without_our_own() {
    let (_folder, workspace) = filled();
    let profiles: Vec<Result<Profile, Error>> = vec![Ok(serde_json::from_value(json!({
        "distinct_id": "ann", "last_seen": null, "properties": {}
    }))
    .unwrap())];
    workspace
        .create_profiles_table("people", profiles, &TableInput::default(), silent)
        .unwrap();
    let store = workspace.store().unwrap();
    store
        .connection()
        .unwrap()
        .execute_batch("CREATE TABLE mine AS SELECT 1; CREATE VIEW seen AS FROM events LIMIT 3")
        .unwrap();
    let tables = store.list_tables().unwrap();
    let tables: Vec<_> = tables
        .iter()
        .map(|table| (&*table.table_name, &*table.kind, table.row_count))
        .collect();
    let expected = [
        ("events", "events", Some(5_000)),
        ("mine", "table", Some(1)),
        ("people", "profiles", Some(1)),
        ("seen", "view", Some(3)),
    ];
    assert_eq!(tables, expected);
    let error = store.metadata("mine").unwrap_err();
    assert_eq!(error.causes(), ["mixflow did not write this table"]);
    // What a view looks at may be gone.
    let gone = "CREATE VIEW lost AS FROM mine; DROP TABLE mine";
    store.connection().unwrap().execute_batch(gone).unwrap();
    let lost = &store.list_tables().unwrap()[1];
    assert_eq!((&*lost.table_name, lost.row_count), ("lost", None));
    for table in ["lost", "seen"] {
        store.drop_table(table).unwrap();
    }
    assert_eq!(store.list_tables().unwrap().len(), 2);
}

#[test]
fn seed_001_us5_2_columns_have_names_and_types() {
    let (_folder, workspace) = filled();
    let columns = workspace.store().unwrap().schema("events").unwrap();
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.column_name, column.column_type))
        .collect();
    assert_eq!(
        columns.join(", "),
        "event_name VARCHAR, event_time TIMESTAMP, distinct_id VARCHAR, insert_id VARCHAR, properties JSON"
    );
}

#[test]
fn seed_001_us5_4_a_table_that_is_not_there_is_named_with_those_that_are() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    let errors = [
        store.schema("event").unwrap_err(),
        store.metadata("event").unwrap_err(),
        store.drop_table("event").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::TableNotFound);
        assert!(
            error
                .message()
                .starts_with("there is no table `event` in `")
        );
        assert_eq!(error.causes(), ["it has events, did you mean `events`?"]);
    }
}

#[test]
fn seed_001_us6_1_a_table_that_exists_is_not_touched() {
    let (_folder, workspace) = filled();
    let again = workspace.create_events_table("Events", events(3), &january(), silent);
    let error = again.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableExists);
    assert!(error.message().ends_with("already exists"), "{error:?}");
    assert_eq!(count(&workspace.store().unwrap(), "events"), 5_000);
}

#[test]
fn seed_001_us6_2_to_4_a_table_that_is_dropped_can_be_made_again() {
    let (_folder, workspace) = filled();
    let store = workspace.store().unwrap();
    assert!(store.table_exists("events").unwrap());
    store.drop_table("events").unwrap();
    assert!(!store.table_exists("events").unwrap());
    let left: i64 = store.scalar("SELECT count(*) FROM _metadata").unwrap();
    assert_eq!(left, 0);
    workspace
        .create_events_table("events", events(3), &january(), silent)
        .unwrap();
    assert_eq!(count(&store, "events"), 3);
    let ours = store.drop_table("_metadata").unwrap_err();
    assert_eq!(
        ours.causes(),
        ["names that begin with `_` are mixflow's own"]
    );
}

#[test]
fn seed_001_edge_a_bad_record_is_named_and_nothing_is_stored() {
    let (_folder, workspace) = filled();
    let bad = events(4_321).chain([Err(Error::new(ErrorKind::Data, "it has no time"))]);
    let error = workspace
        .create_events_table("more", bad, &january(), silent)
        .unwrap_err();
    assert_eq!(error.message(), "cannot take event 4322");
    assert_eq!(error.causes(), ["it has no time"]);
    let store = workspace.store().unwrap();
    assert!(!store.table_exists("more").unwrap());
    assert_eq!(count(&store, "events"), 5_000);
}

#[test]
fn seed_001_edge_a_temporary_file_that_somebody_removes_is_an_error() {
    let store = Store::ephemeral().unwrap();
    std::fs::remove_file(store.path()).unwrap();
    let error = store.list_tables().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(
        error.causes(),
        ["somebody has removed the file while it was open"]
    );
}

#[test]
fn seed_001_edge_two_read_but_one_writes() {
    let (folder, writer) = filled();
    let path = folder.path().join("store.db");
    drop(writer);
    let readers = [1, 2].map(|_| Store::open_read_only(&path).unwrap());
    assert!(readers.iter().all(|store| count(store, "events") == 5_000));
    let refused = readers[0].sink(None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Destination);
    let write = readers[0].rows::<(i64,)>("DELETE FROM events RETURNING 1");
    let text = write.unwrap_err().causes().concat();
    assert!(text.contains("read-only mode"), "{text}");
}

#[test]
fn seed_001_edge_no_events_make_an_empty_table() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(&folder.path().join("store.db"));
    workspace
        .create_events_table("none", events(0), &january(), silent)
        .unwrap();
    let store = workspace.store().unwrap();
    assert_eq!(store.schema("none").unwrap().len(), 5);
    assert_eq!(store.metadata("none").unwrap().row_count, 0);
}

#[test]
fn a_store_may_be_given_more_memory() {
    let store = Store::ephemeral().unwrap();
    store.set_memory_limit("2GB").unwrap();
    let limit: String = store
        .scalar("SELECT current_setting('memory_limit')")
        .unwrap();
    assert_eq!(limit, "1.8 GiB");
    let error = store.set_memory_limit("lots").unwrap_err();
    assert_eq!(error.message(), "cannot limit the memory to `lots`");
}

/// Batches keep the bytes of what was stored.
#[test]
fn seed_001_edge_large_values_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(&folder.path().join("store.db"));
    let text = "é".repeat(3 << 20);
    let mut large = event(1);
    large.properties = serde_json::value::to_raw_value(&json!({"x": text})).unwrap();
    let expected = large.properties.get().to_owned();
    workspace
        .create_events_table("events", [Ok(large)], &january(), silent)
        .unwrap();
    let store = workspace.store().unwrap();
    let mut query = store.query("SELECT properties FROM events").unwrap();
    let batch = query.batches().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(0).as_string::<i32>().value(0), expected);
}
