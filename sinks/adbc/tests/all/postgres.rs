//! What is PostgreSQL's own.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{BooleanArray, Date32Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use mixflow_core::ErrorKind;
use mixflow_core::made_of::with_made_of;
use mixflow_core::sink::{Sink as _, WriteMode};
use mixflow_sink_adbc::{AdbcOptions, AdbcSink, OnMismatch, Statements};
use mixflow_tests::databases::{Postgres, driver};

use crate::rows::{context, events, events_with, store, store_as, write};
use crate::support::{options, plain, sink};

struct Database {
    server: Postgres,
    driver: PathBuf,
}

impl Database {
    fn start() -> Option<Database> {
        Some(Database {
            driver: driver("postgresql")?,
            server: Postgres::start(&[])?,
        })
    }

    fn options(&self, mode: WriteMode) -> AdbcOptions {
        options(&self.driver, &self.server.uri("postgres"), mode)
    }

    fn sink(&self, mode: WriteMode) -> AdbcSink {
        sink(self.options(mode))
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(sql)
    }
}

#[test]
fn columns_have_the_types_that_one_wants_to_ask() {
    let Some(db) = Database::start() else { return };
    let more = vec![
        (
            with_made_of(Field::new("plan", DataType::Utf8, true), "plan"),
            Arc::new(StringArray::from(vec![Some("pro"), None])) as _,
        ),
        (
            Field::new("count", DataType::Int64, true),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])) as _,
        ),
        (
            Field::new("price", DataType::Float64, true),
            Arc::new(Float64Array::from(vec![Some(0.1), None])) as _,
        ),
        (
            Field::new("paid", DataType::Boolean, true),
            Arc::new(BooleanArray::from(vec![Some(true), None])) as _,
        ),
        (
            Field::new("born", DataType::Date32, true),
            Arc::new(Date32Array::from(vec![Some(19_782), None])) as _,
        ),
    ];
    let rows = events_with(0, &[r#"{"a":{"b":[1]}}"#, "{}"], more);
    store(&db.sink(WriteMode::Create), &[(0, rows)]).unwrap();
    let types = db.sql(
        "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) \
         FROM information_schema.columns WHERE table_name = 'events'",
    );
    assert_eq!(
        types,
        "event_name text, event_time timestamp with time zone, distinct_id text, insert_id text, \
         properties jsonb, plan text, count bigint, price double precision, paid boolean, born date"
    );
    let first = db.sql("SELECT event_time, properties->'a'->'b'->>0, plan, count, price, paid, born FROM events WHERE plan IS NOT NULL");
    assert_eq!(
        first,
        "2024-01-01 00:00:00+00|1|pro|-9223372036854775808|0.1|t|2024-02-29"
    );
    // What a column was made of is kept, for `columns = "auto"`.
    let cx = context(&events(0, &[]));
    let existing = db.sink(WriteMode::Append).existing(&cx).unwrap();
    assert_eq!(existing.names, [("plan".to_owned(), "plan".to_owned())]);
    assert_eq!(existing.columns[6].data_type(), &DataType::Int64);
    // Days are found by an index of a few kilobytes.
    assert_eq!(
        db.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'events'"),
        "CREATE INDEX events_event_time_idx ON public.events USING brin (event_time)"
    );
}

#[test]
fn new_columns_are_added_and_others_are_refused() {
    let Some(db) = Database::start() else { return };
    store(&db.sink(WriteMode::Create), &[(0, events(0, &["{}"]))]).unwrap();
    let plan = |kind, values| vec![(Field::new("plan", kind, true), values)];
    let text = plan(
        DataType::Utf8,
        Arc::new(StringArray::from(vec!["pro"])) as _,
    );
    let typed = events_with(1, &["{}"], text);
    for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
        store(&db.sink(mode), &[(1, typed.clone())]).unwrap();
    }
    assert_eq!(
        db.sql("SELECT count(*), count(plan) FROM events"),
        "2|1",
        "the days of one run were replaced by those of the other"
    );
    let number = plan(DataType::Int64, Arc::new(Int64Array::from(vec![1])) as _);
    let error = store(
        &db.sink(WriteMode::Append),
        &[(1, events_with(1, &["{}"], number))],
    );
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(
        error.causes(),
        ["from there to the rows: - plan TEXT, + plan BIGINT"]
    );
    let error = store(&db.sink(WriteMode::Append), &[(1, events(1, &["{}"]))]).unwrap_err();
    assert_eq!(error.causes(), ["from there to the rows: - plan TEXT"]);
    // Nothing of what is made for a while is left.
    assert_eq!(
        db.sql("SELECT count(*) FROM pg_class WHERE relname LIKE '_mixflow_rows%' OR relname LIKE '_mixflow_new%'"),
        "0"
    );
}

#[test]
fn what_postgres_cannot_hold_is_mended_and_counted_or_refused() {
    let Some(db) = Database::start() else { return };
    let odd = [
        r#"{"a":"x\u0000y"}"#,
        r#"{"a":"\ud800","b":"\\u0000"}"#,
        r#"{"a":1e400000}"#,
        r#"{"a":"\u00e9","b":1e100}"#,
    ];
    let summary = store(&db.sink(WriteMode::Create), &[(0, events(0, &odd))]).unwrap();
    assert_eq!(
        summary.warnings,
        [
            "3 values had something in them that the database cannot hold, such as `\\u0000`, which was replaced"
        ]
    );
    assert_eq!(
        db.sql("SELECT properties FROM events ORDER BY event_time"),
        "{\"a\": \"x\u{fffd}y\"}\n{\"a\": \"\u{fffd}\", \"b\": \"\\\\u0000\"}\n{\"a\": \"1e400000\"}\n".to_owned()
            + &format!("{{\"a\": \"é\", \"b\": 1{}}}", "0".repeat(100))
    );
    let strict = sink(AdbcOptions {
        on_mismatch: Some(OnMismatch::Fail),
        ..db.options(WriteMode::Append)
    });
    for odd in &odd[..3] {
        let error = store(&strict, &[(0, events(0, &[odd]))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
    }
    assert_eq!(db.sql("SELECT count(*) FROM events"), "4");
}

/// Its members are sorted on their way, and keys that are there twice come last.
#[test]
fn an_object_is_the_one_that_postgres_would_make_of_it() {
    let Some(db) = Database::start() else { return };
    let objects = [
        r#"{"plan":"pro","a":1,"zz":{"y":1,"x":[2,1]},"b":null}"#,
        r#"{"b":1,"a":2,"b":{"c":3},"a":4,"aa":"}"}"#,
        r#"{"\u0061":1,"b":2,"a":3}"#,
        r#"{"b":2,"a":3,"\u0061":1}"#,
        r#"{"größe":1,"\"":2,"":3,"é":4}"#,
        r#"{"größe":1,"":3,"é":4,"e":-1.50e2}"#,
        "{}",
        r#"{"b" : 1, "a" : [ {"d":1,"c":2} ]}"#,
    ];
    store(&db.sink(WriteMode::Create), &[(0, events(0, &objects))]).unwrap();
    let wanted: Vec<String> = objects
        .iter()
        .map(|object| format!("('{object}'::jsonb)"))
        .collect();
    let differ = format!(
        "SELECT count(*) FROM (SELECT properties FROM events EXCEPT ALL SELECT * FROM (VALUES {}) v) d",
        wanted.join(", ")
    );
    assert_eq!(db.sql(&differ), "0");
    let plain = sink(AdbcOptions {
        ddl: Some(Statements(vec!["CREATE TABLE {table} (event_name text, event_time timestamptz, distinct_id text, insert_id text, properties json)".to_owned()])),
        ..db.options(WriteMode::Replace)
    });
    store(&plain, &[(0, events(0, &objects[..1]))]).unwrap();
    assert_eq!(
        db.sql("SELECT properties FROM events"),
        objects[0],
        "json keeps its text"
    );
}

#[test]
fn names_and_texts_cannot_break_out_of_sql() {
    let Some(db) = Database::start() else { return };
    const EVIL: &str = "x\"; DROP TABLE canary; --";
    const QUOTE: &str = "it's'); DROP TABLE canary; --";
    db.sql("CREATE TABLE canary (n int)");
    for mode in [
        WriteMode::Create,
        WriteMode::Append,
        WriteMode::Replace,
        WriteMode::ReplaceWindow,
    ] {
        let names = [EVIL, QUOTE, "größe ?$1 {table}", &"long".repeat(30)];
        let more = names.map(|name| {
            let field = with_made_of(Field::new(name, DataType::Utf8, true), name);
            (field, Arc::new(StringArray::from(vec![EVIL, QUOTE])) as _)
        });
        let evil = serde_json::json!({ EVIL: QUOTE }).to_string();
        let rows = events_with(0, &[&evil, "{}"], more.to_vec());
        let mut cx = context(&rows);
        cx.source.dataset.project = QUOTE.to_owned();
        let filters = serde_json::json!({ "where": QUOTE, EVIL: EVIL });
        cx.source.dataset.filters = filters.as_object().unwrap().clone();
        cx.run_id = format!("{EVIL}{QUOTE}{}", mode.as_str());
        let sink = sink(AdbcOptions {
            schema: Some(EVIL.to_owned()),
            ..db.options(mode)
        });
        store_as(&sink, &cx, &[(0, rows)]).unwrap();
        assert!(sink.ledger(&cx.source.dataset).unwrap().is_some());
        assert_eq!(sink.existing(&cx).unwrap().names.len(), 4);
    }
    assert_eq!(db.sql("SELECT count(*) FROM canary"), "0");
    let schema = EVIL.replace('"', "\"\"");
    assert_eq!(
        db.sql(&format!(
            "SELECT count(*), min(properties->>'{EVIL}') FROM \"{schema}\".events"
        )),
        format!("2|{QUOTE}")
    );
}

#[test]
fn a_table_is_made_as_ddl_says() {
    let Some(db) = Database::start() else { return };
    let ddl = [
        "CREATE TABLE {table} (n bigserial, event_name varchar(40), event_time timestamp, \
         distinct_id text, insert_id text, properties json, loaded_at timestamptz DEFAULT now(), \
         PRIMARY KEY (n, event_time)) PARTITION BY RANGE (event_time)",
        "CREATE TABLE part_of_2024 PARTITION OF {table} FOR VALUES FROM ('2024-01-01') TO ('2024-01-02')",
        "CREATE TABLE rest PARTITION OF {table} DEFAULT",
    ];
    let made = |mode| {
        sink(AdbcOptions {
            ddl: Some(Statements(ddl.map(str::to_owned).to_vec())),
            ..db.options(mode)
        })
    };
    let rows = |n| events(n, &[r#"{"a":1,  "b":2}"#, "{}", "{}"]);
    store(&made(WriteMode::Create), &[(0, rows(0)), (1, rows(1))]).unwrap();
    assert_eq!(
        db.sql("SELECT count(*), max(n), count(loaded_at), min(event_time) FROM events"),
        "6|6|6|2024-01-01 00:00:00"
    );
    // `json` keeps the text.
    assert_eq!(
        db.sql("SELECT properties FROM part_of_2024 WHERE n = 1"),
        r#"{"a":1,  "b":2}"#
    );
    // With keys, days go before their rows come.
    let days = [(0, events(0, &["{}", "{}"])), (1, rows(1))];
    store(&made(WriteMode::ReplaceWindow), &days).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM part_of_2024"), "2");
    assert_eq!(db.sql("SELECT count(*) FROM events"), "5");
    store(&made(WriteMode::Append), &[(0, rows(0))]).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM events"), "8");
}

#[test]
fn ddl_that_is_wrong_changes_nothing() {
    let Some(db) = Database::start() else { return };
    for (ddl, cause) in [
        (
            "CREATE TABLE {table} (event_name nonsense)",
            "type \"nonsense\" does not exist",
        ),
        (
            "CREATE TABLE {table} (event_name int)",
            "- event_name INTEGER",
        ),
    ] {
        let made = sink(AdbcOptions {
            ddl: Some(Statements(vec![ddl.to_owned()])),
            ..db.options(WriteMode::Create)
        });
        let error = store(&made, &[(0, events(0, &["{}"]))]).unwrap_err();
        assert!(error.causes()[0].contains(cause), "{error:?}");
    }
    assert_eq!(
        db.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
}

#[test]
fn a_replaced_table_stays_readable_for_who_could_read_it() {
    let Some(db) = Database::start() else { return };
    store(&db.sink(WriteMode::Create), &[(0, events(0, &["{}"]))]).unwrap();
    db.sql("CREATE ROLE analyst; GRANT SELECT ON events TO analyst; GRANT ALL ON events TO PUBLIC");
    store(
        &db.sink(WriteMode::Replace),
        &[(0, events(0, &["{}", "{}"]))],
    )
    .unwrap();
    let rights = "SELECT string_agg(grantee || ' ' || privilege_type, ', ' ORDER BY grantee, privilege_type) \
         FROM information_schema.table_privileges WHERE table_name = 'events' AND privilege_type = 'SELECT'";
    assert_eq!(
        db.sql(rights),
        "PUBLIC SELECT, analyst SELECT, mixflow SELECT"
    );
    assert_eq!(db.sql("SELECT count(*) FROM events"), "2");
    // A view would be lost, which is found before anything is fetched.
    db.sql("CREATE VIEW daily AS SELECT event_time::date, count(*) FROM events GROUP BY 1");
    let replacing = db.sink(WriteMode::Replace);
    let error = replacing.preview(&context(&events(0, &[]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(error.causes(), ["daily depends on it"]);
    // Into the table itself others write on.
    store(
        &db.sink(WriteMode::ReplaceWindow),
        &[(0, events(0, &["{}"]))],
    )
    .unwrap();
    assert_eq!(db.sql("SELECT count FROM daily"), "1");
}

#[test]
fn two_runs_into_one_table_take_turns_and_two_tables_do_not_wait() {
    let Some(db) = Database::start() else { return };
    let first = db.sink(WriteMode::Append);
    let cx = context(&events(0, &[]));
    let mut txn = first.begin(&cx).unwrap();
    write(&mut *txn, 0, events(0, &["{}"])).unwrap();
    let second = db.sink(WriteMode::Append);
    let other = context(&events(0, &[]));
    for refused in [
        second.preview(&other).map(drop),
        second.begin(&other).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.is_busy());
        let who = &error.causes()[0];
        assert!(
            who.starts_with(&format!("mixflow {} (PID ", cx.run_id)),
            "{who}"
        );
    }
    let elsewhere = sink(AdbcOptions {
        table: Some("others".to_owned()),
        ..db.options(WriteMode::Create)
    });
    store(&elsewhere, &[(0, events(0, &["{}"]))]).unwrap();
    // A holder whose connection is gone holds nothing.
    let pid = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mixflow run%'";
    db.sql(pid);
    drop(txn);
    store(&second, &[(0, events(0, &["{}"]))]).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM events"), "1");
}

/// A database that loses rows, or makes some up, whatever the driver says.
#[test]
fn rows_that_are_lost_or_made_up_are_not_committed() {
    let Some(db) = Database::start() else { return };
    let made = |body: &str| {
        db.sql(&format!(
            "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        ));
    };
    let rows = || events(0, &["{}"; 100]);
    store(&db.sink(WriteMode::Create), &[(0, rows())]).unwrap();
    made("RETURN NEW;");
    db.sql("CREATE TRIGGER t BEFORE INSERT ON events FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION f()");
    for (body, there) in [
        (
            "IF NEW.insert_id = 'id 0 7' THEN RETURN NULL; END IF; RETURN NEW;",
            99,
        ),
        (
            "IF NEW.insert_id = 'id 0 7' THEN INSERT INTO events SELECT NEW.*; END IF; RETURN NEW;",
            101,
        ),
    ] {
        made(body);
        for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
            let error = store(&db.sink(mode), &[(0, rows())]).unwrap_err();
            assert_eq!(
                error.causes(),
                [format!(
                    "100 rows were written, and the database has {there} of them"
                )]
            );
            assert_eq!(db.sql("SELECT count(*) FROM events"), "100");
        }
    }
    made("RETURN NEW;");
    store(&db.sink(WriteMode::ReplaceWindow), &[(0, rows())]).unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM events"), "100");
}

#[test]
fn wrong_credentials_are_refused_and_not_told() {
    let Some(db) = Database::start() else { return };
    db.sql("CREATE ROLE ann LOGIN PASSWORD 'right'");
    let host = db.server.folder().display();
    for user in ["ann:s3cr%65t-s3cret", "nobody_at_all:s3cr%65t-s3cret"] {
        let mut options = db.options(WriteMode::Create);
        options.uri = plain(format!("postgresql://{user}@/nodb?host={host}"));
        let error = store(&sink(options), &[(0, events(0, &["{}"]))]).unwrap_err();
        let said = format!("{error:?}");
        assert!(
            !said.contains("s3cret") && !said.contains("s3cr%65t"),
            "{said}"
        );
        assert!(
            said.contains("cannot connect to `postgresql:///nodb?host=/"),
            "{said}"
        );
    }
    // Who may not write is told so before anything is fetched or made.
    db.sql("CREATE SCHEMA closed");
    let mut options = db.options(WriteMode::Create);
    options.uri = plain(format!("postgresql://ann@/postgres?host={host}"));
    options.schema = Some("closed".to_owned());
    let error = store(&sink(options), &[(0, events(0, &["{}"]))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
}

#[test]
fn a_statement_that_takes_too_long_is_said_and_nothing_is_left() {
    let Some(db) = Database::start() else { return };
    db.sql("CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET statement_timeout = '200ms'; GRANT ALL ON SCHEMA public TO hasty");
    let mut options = db.options(WriteMode::Create);
    let host = db.server.folder().display();
    options.uri = plain(format!("postgresql://hasty@/postgres?host={host}"));
    let sink = sink(options);
    let cx = context(&events(0, &[]));
    let mut txn = sink.begin(&cx).unwrap();
    write(&mut *txn, 0, events(0, &["{}"])).unwrap();
    // Longer than the database waits for the end of a `COPY`.
    std::thread::sleep(std::time::Duration::from_millis(600));
    let outcome = mixflow_core::sink::Outcome {
        missing: &[],
        rows: 1,
        units: &[],
    };
    let error = txn.commit(&outcome).unwrap_err();
    assert!(error.causes()[0].contains("statement timeout"), "{error:?}");
    assert!(error.hint_text().unwrap().contains("statement_timeout"));
    assert_eq!(
        db.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
}

#[test]
fn a_turn_is_taken_before_there_are_rows() {
    let Some(db) = Database::start() else { return };
    let (one, other) = (context(&events(0, &[])), context(&events(0, &[])));
    let sink = db.sink(WriteMode::Append);
    let turn = sink.reserve(&one).unwrap().expect("there is a turn");
    for error in [
        sink.reserve(&other).map(drop),
        sink.preview(&other).map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.is_busy()), (ErrorKind::Locked, true));
        assert!(
            error.causes()[0].starts_with(&format!("mixflow {} (PID ", one.run_id)),
            "{error:?}"
        );
    }
    // Readers and vacuum are not held up.
    let held = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mixflow run%' AND backend_xmin IS NULL AND backend_xid IS NULL";
    assert_eq!(db.sql(held), "1");
    drop(turn);
    // At once, although the database may see the connection's end later.
    drop(sink.reserve(&other).unwrap().expect("it is free"));
    store_as(&sink, &one, &[(0, events(0, &["{}"]))]).unwrap();
    let turn = sink.reserve(&other).unwrap();
    let mut txn = sink.begin(&other).unwrap();
    write(&mut *txn, 0, events(0, &["{}"])).unwrap();
    assert!(sink.reserve(&one).is_err());
    drop((txn, turn));
    assert_eq!(
        sink.has_committed(&one.run_id, &one.source.dataset.kind)
            .unwrap(),
        Some(true)
    );
    assert_eq!(
        sink.has_committed(&other.run_id, &one.source.dataset.kind)
            .unwrap(),
        Some(false)
    );
}
