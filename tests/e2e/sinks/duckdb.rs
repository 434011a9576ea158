//! What a DuckDB file of ours is like.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use jiff::civil::date;
use mixflow_sink_duckdb::{Store, TableInput};
use mixflow_tests::sim::{Data, ExportQuery};

use crate::rows::form::{Event, assert_same, expected_events, in_lines, in_table, sorted};
use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, profiles, sim, started};

/// The commit of DuckDB that the crate `duckdb` pins; the prebuilt library and
/// the bundled build must both be it.
const SOURCE_ID: &str = "d54cbbe3df";

#[test]
fn duckdb_is_built_from_the_commit_that_the_crate_pins() {
    let (version, source_id) = mixflow_sink_duckdb::version().unwrap();
    assert_eq!(
        (version.as_str(), source_id.as_str()),
        ("v2.0.0", SOURCE_ID)
    );
}

fn one_event(line: &str) -> (Place, ExportQuery) {
    let mut data = Data::default();
    data.add_event(line).unwrap();
    let sim = started(sim(data));
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[
        &events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\""),
        DUCKDB,
    ]));
    ran.ended(0);
    (place, ExportQuery::new(date(2024, 1, 1), date(2024, 1, 1)))
}

#[test]
fn tables_have_the_columns_that_were_promised() {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 1),
        20,
        20,
        7,
    )));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    place
        .run(&pipeline(&[&profiles(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let columns = |table: &str| -> String {
        place
            .sql("out.db", &format!("DESCRIBE {table}"))
            .iter()
            .map(|row| format!("{} {}", row[0], row[1]))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        columns("events"),
        "event_name VARCHAR, event_time TIMESTAMP, distinct_id VARCHAR, insert_id VARCHAR, properties JSON"
    );
    assert_eq!(
        columns("profiles"),
        "distinct_id VARCHAR, last_seen TIMESTAMP, properties JSON"
    );
    assert_eq!(
        columns("_metadata"),
        "table_name VARCHAR, type VARCHAR, fetched_at TIMESTAMP, from_date DATE, to_date DATE, row_count BIGINT, filters JSON, run_id VARCHAR, mixflow_version VARCHAR, status VARCHAR, missing JSON"
    );
}

#[test]
fn metadata_says_what_was_fetched() {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 3),
        20,
        0,
        7,
    )));
    let place = Place::new();
    let source = events(
        &sim,
        "from = \"2024-01-01\"\nto = \"2024-01-03\"\nlimit = 7",
    );
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB]));
    ran.ended(0);
    let row = place.sql(
        "out.db",
        "SELECT table_name, type, from_date, to_date, row_count, filters->>'limit', run_id, mixflow_version, status, missing, fetched_at > now()::TIMESTAMP - INTERVAL 1 HOUR FROM _metadata",
    );
    assert_eq!(
        row[0],
        [
            "events",
            "events",
            "2024-01-01",
            "2024-01-03",
            "7",
            "7",
            report["run_id"].as_str().unwrap(),
            env!("CARGO_PKG_VERSION"),
            "committed",
            "[]",
            "true",
        ]
    );
}

/// Senders cut texts at 255 bytes, in the middle of an emoji. DuckDB reads no
/// JSON with half a surrogate pair in it, and one such row makes every query
/// over the column fail.
#[test]
fn half_an_emoji_does_not_spoil_the_table() {
    let (place, _) = one_event(
        r#"{"event": "x", "properties": {"time": 1704067200, "distinct_id": "a", "$insert_id": "b", "cut": "a\ud83d", "whole": "\ud83d\ude00", "no escape": "\\ud83d", "n": 1.10}}"#,
    );
    let row = place.sql(
        "out.db",
        "SELECT properties->>'cut', properties->>'whole', properties->>'no escape', properties->'n' FROM events",
    );
    assert_eq!(row, [["a\u{fffd}", "\u{1f600}", "\\ud83d", "1.1"]]);
}

#[test]
fn properties_keep_their_bytes() {
    let text = r#"{"z":1E5,"a":12345678901234567890123,"":null,"A":[1, 2],"event":"\u00e9","dup":1,"dup":2}"#;
    let (place, _) = one_event(&format!(
        r#"{{"event": "x", "properties": {{"time": 1704067200, {}}}"#,
        &text[1..]
    ));
    let rows: Vec<Event> = in_table(&place.path("out.db"), "events");
    // But for the key that stands twice, of which DuckDB would read the first.
    let once = text.replace(r#""dup":1,"dup":2"#, r#""dup":2"#);
    assert_eq!(rows[0].properties, once);
    assert_eq!(rows[0].distinct_id, "");
    assert_eq!(rows[0].insert_id.len(), 32);
    let value = place.sql(
        "out.db",
        "SELECT properties->>'event', properties->'a' FROM events",
    );
    assert_eq!(value, [["é", "12345678901234567890123"]]);
}

#[test]
fn a_table_is_queried_by_json_path_and_time() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14));
    let expected = expected_events(&sim, &query);
    let day = 1_705_190_400_000_000;
    let late = expected
        .iter()
        .filter(|row| row.event_time_us >= day)
        .count();
    let count = place.sql(
        "out.db",
        "SELECT count(*), count(*) FILTER (WHERE event_time >= TIMESTAMP '2024-01-14') FROM events WHERE json_valid(properties)",
    );
    assert_eq!(count, [["8000".to_owned(), late.to_string()]]);
}

/// A file that is made is attached, which nobody is to notice but by its row groups: the
/// name of one may be any.
#[test]
fn a_new_file_has_small_row_groups_whatever_its_name_is() {
    let days = (date(2024, 1, 1), date(2024, 1, 3));
    let sim = started(sim(Data::generated_between(days.0, days.1, 70_000, 20, 7)));
    for (name, rows) in [
        ("out.db", 61_440),
        ("it's a \"test\".v1.db", 61_440),
        // Names that DuckDB has for databases and schemas of its own.
        ("main.db", 122_880),
        ("Memory.db", 122_880),
        (".db", 122_880),
        ("temp", 122_880),
    ] {
        let place = Place::new();
        let sink = format!("[sink]\ntype = \"duckdb\"\npath = {name:?}\n");
        let text = pipeline(&[&events(&sim, "window_days = 1\n"), &sink]);
        place.run(&text).0.ended(0);
        assert_eq!(place.names(), [name]);
        // A group ends where its thread has written so many, or has no more.
        let sql = "SELECT (SELECT count(*) FROM events), max(rows) FROM (SELECT sum(count) AS rows FROM pragma_storage_info('events') WHERE column_name = 'event_name' AND segment_type = 'VARCHAR' GROUP BY row_group_id)";
        let found = place.sql(name, sql);
        let largest: u64 = found[0][1].parse().unwrap();
        assert_eq!(found[0][0], "70000", "{name}");
        assert!(largest <= rows, "{name}: {largest}");
        let more = format!("{sink}mode = \"append\"\n");
        place.run(&pipeline(&[&events(&sim, ""), &more])).0.ended(0);
        let sql = "SELECT count(*), (SELECT count(*) FROM mf_daily('x')) FROM events";
        assert_eq!(place.sql(name, sql)[0][0], "140000", "{name}");
    }
}

/// DuckDB 1.1 has no zstd, nor have files that later ones make for it; from 1.3 on
/// there is no FSST.
#[test]
fn a_file_of_another_duckdb_is_written_with_what_it_has() {
    use mixflow_sink_duckdb::Store;
    let sim = started(sim(Data::sample()));
    for (version, zstd, fsst) in [
        ("v1.0.0", false, true),
        ("v1.2.0", true, true),
        ("v1.4.0", true, false),
    ] {
        for mode in ["create", "append", "replace", "replace_window"] {
            let place = Place::new();
            let old = place.path("out.db").display().to_string();
            let store = Store::open(place.path("other.db")).unwrap();
            store
                .connection()
                .unwrap()
                .execute_batch(&format!(
                    "ATTACH '{old}' AS old (STORAGE_VERSION '{version}'); CREATE TABLE old.x AS SELECT 1 AS a; DETACH old"
                ))
                .unwrap();
            drop(store);
            let sink = format!("{DUCKDB}mode = \"{mode}\"\n");
            place.run(&pipeline(&[&events(&sim, ""), &sink])).0.ended(0);
            let sql = "SELECT (SELECT count(*) FROM events), (SELECT a FROM x), \
                       bool_or(column_name = 'properties' AND compression = 'ZSTD'), \
                       bool_or(column_name = 'insert_id' AND compression = 'FSST') \
                       FROM pragma_storage_info('events')";
            assert_eq!(
                place.sql("out.db", sql),
                [["8000", "1", &zstd.to_string(), &fsst.to_string()]],
                "{version}, {mode}"
            );
        }
    }
}

/// A kill between the file being in its place and its folder being removed.
#[test]
fn what_a_killed_run_left_beside_a_file_goes_with_the_next_run() {
    let sim = started(sim(Data::sample()));
    for mode in ["append", "replace", "replace_window"] {
        let place = Place::new();
        let sink = format!("{DUCKDB}mode = \"{mode}\"\n");
        let text = pipeline(&[&events(&sim, ""), &sink]);
        place.run(&text).0.ended(0);
        std::fs::create_dir(place.path(".out.db.k1ll3d.tmp")).unwrap();
        place.write(".out.db.k1ll3d.tmp/out.db.wal", "rest");
        place.run(&text).0.ended(0);
        assert_eq!(place.names(), ["out.db"], "{mode}");
    }
}

/// Rows of the numbers from 0 on.
fn numbered(rows: usize) -> RecordBatch {
    let ids: StringArray = (0..rows).map(|n| Some(n.to_string())).collect();
    let schema = Schema::new(vec![Field::new("distinct_id", DataType::Utf8, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap()
}

#[test]
fn rows_without_days_stay_in_their_order_however_large_the_batches_are() {
    let place = Place::new();
    let store = Store::open(place.path("out.db")).unwrap();
    let batches = [numbered(10_000), numbered(1), numbered(5_000)];
    let schema = batches[0].schema();
    let wanted = concat_batches(&schema, &batches).unwrap();
    let input = TableInput {
        data_type: "profiles".to_owned(),
        ..TableInput::default()
    };
    let made = store.create_table("ids", &input, &schema, batches.into_iter().map(Ok), |_| {});
    assert_eq!(made.unwrap().rows, 15_001);
    drop(store);
    let rows = place.sql("out.db", "SELECT distinct_id FROM ids ORDER BY rowid");
    let wanted = wanted.column(0).as_string::<i32>().iter().flatten();
    assert!(wanted.eq(rows.iter().map(|row| row[0].as_str())));
}

#[test]
fn nobody_else_reads_the_rows_of_a_run() {
    let place = Place::new();
    let store = Store::open(place.path("out.db")).unwrap();
    for function in ["mixflow_rows_by_1", "mixflow_rows_by_4"] {
        let sql = format!("SELECT * FROM {function}(1)");
        let error = store.query(&sql).expect_err("it is refused");
        let why = "only a run of mixflow has such rows";
        assert!(error.in_a_line().contains(why), "{error:?}");
    }
}

/// More rows than one thread takes in their order.
const MANY: &str = "[source]\ntype = \"synthetic_events\"\nrows = 200000\nfrom = \"2024-01-01\"\nto = \"2024-01-03\"\n";

#[test]
fn all_threads_together_write_each_row_once() {
    let place = Place::new();
    place.run(&pipeline(&[MANY, DUCKDB])).0.ended(0);
    let (ran, _) = place.run(&pipeline(&[MANY, STDOUT]));
    let wanted: Vec<Event> = sorted(in_lines(&ran.ended(0).stdout));
    assert_eq!(wanted.len(), 200_000);
    assert_same(&sorted(in_table(&place.path("out.db"), "events")), &wanted);
}

#[test]
fn a_small_table_is_in_the_order_of_its_rows() {
    let place = Place::new();
    let few = ["--set", "source.rows=32768"];
    place.run_with(&pipeline(&[MANY, DUCKDB]), &few).0.ended(0);
    let (ran, _) = place.run_with(&pipeline(&[MANY, STDOUT]), &few);
    let sent: Vec<Event> = in_lines(&ran.ended(0).stdout);
    assert_same(&in_table(&place.path("out.db"), "events"), &sent);
}

/// The others wait until it has had the first rows.
#[test]
fn a_first_thread_that_fails_ends_the_run() {
    let day = date(2024, 1, 4);
    let data = Data::generated_between(day, day, 60_000, 0, 1);
    let late = data.events_on(day).nth(32_000).unwrap();
    let late: serde_json::Value = serde_json::from_slice(late).unwrap();
    let late = late["properties"]["$insert_id"].as_str().unwrap();
    let place = Place::new();
    let store = Store::open(place.path("out.db")).unwrap();
    let table = format!(
        "CREATE TABLE events (event_name VARCHAR, event_time TIMESTAMP, distinct_id VARCHAR, \
         insert_id VARCHAR CHECK (insert_id <> '{late}'), properties JSON)"
    );
    store.connection().unwrap().execute_batch(&table).unwrap();
    drop(store);
    let sim = started(sim(data));
    let source = events(&sim, &format!("from = \"{day}\"\nto = \"{day}\"\n"));
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB, "mode = \"append\"\n"]));
    assert_eq!(report["status"], "aborted", "{}", ran.stderr);
    assert!(ran.stderr.contains("CHECK constraint"), "{}", ran.stderr);
    let rows = place.sql("out.db", "SELECT count(*) FROM events");
    assert_eq!(rows, [["0"]]);
}

#[test]
fn a_run_that_fails_while_all_threads_write_leaves_what_was_there() {
    let place = Place::new();
    let replacing = pipeline(&[MANY, DUCKDB, "mode = \"replace\"\n"]);
    place.run(&replacing).0.ended(0);
    let more = [
        "--set",
        "source.rows=300000",
        "--set",
        "run.min_rows=300001",
    ];
    let (ran, report) = place.run_with(&replacing, &more);
    ran.ended(1);
    assert_eq!(report["status"], "aborted");
    let rows = place.sql(
        "out.db",
        "SELECT count(*), count(DISTINCT insert_id) FROM events",
    );
    assert_eq!(rows, [["200000", "200000"]]);
    assert_eq!(place.names(), ["out.db"]);
}
