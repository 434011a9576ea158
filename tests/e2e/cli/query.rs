//! The commands that look into a database.

use std::process::Stdio;

use insta::assert_snapshot;
use mixflow::core::arrow::array::RecordBatch;
use mixflow::core::batch::is_json;
use mixflow_tests::sim::Data;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::rows::form::{Event, in_lines, in_table, texts};
use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started};

/// A place whose `out.db` has two days of made-up events.
pub fn filled() -> Place {
    let place = Place::new();
    let source = "[source]\ntype = \"synthetic_events\"\nrows = 300\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";
    place.run(&pipeline(&[source, DUCKDB])).0.ended(0);
    place
}

pub fn ask(place: &Place, args: &[&str]) -> Ran {
    place.mixflow(&[args, &["--db", "out.db"]].concat())
}

pub fn told(place: &Place, args: &[&str]) -> String {
    let ran = ask(place, args).ended(0);
    assert_eq!(ran.stderr, "");
    ran.stdout_lossy()
}

/// Values of many types.
const MANY: &str = r#"SELECT 1::HUGEINT AS big, 1.50::DECIMAL(5,2) AS price, NULL::INT AS nothing,
    'a,"b"' AS "te""xt", '{"x": [1, "ü"]}'::JSON AS json, NULL::JSON AS no_json, true AS yes,
    '2024-01-01 12:00:00.5'::TIMESTAMP AS time, '2024-01-31'::DATE AS day,
    {'a': 1, 'b': [1, NULL]} AS nested, 0.1::DOUBLE AS float, 'ab'::BLOB AS bytes"#;

#[test]
fn query_writes_a_table() {
    let place = filled();
    let sql =
        "SELECT 'größe' AS a, 12 AS n, NULL AS nothing UNION ALL SELECT e'x\\n\\x1b[31my', -3, 'x'";
    assert_snapshot!(told(&place, &["query", sql]), @r"
    ┌────────────────┬────┬─────────┐
    │ a              │  n │ nothing │
    ├────────────────┼────┼─────────┤
    │ größe          │ 12 │ NULL    │
    │ x\n\u{1b}[31my │ -3 │ x       │
    └────────────────┴────┴─────────┘
    2 rows
    ");
    assert_snapshot!(told(&place, &["query", "SELECT 1 AS a WHERE false"]), @r"
    ┌───┐
    │ a │
    ├───┤
    └───┘
    0 rows
    ");
}

#[test]
fn a_long_table_is_printed_as_it_comes_and_whole() {
    let place = filled();
    let sql = "SELECT n, 'row ' || n AS text FROM range(2500) t(n)";
    let table = told(&place, &["query", sql]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3 + 2_500 + 2);
    for (n, line) in lines[3..2_503].iter().enumerate() {
        let cells: Vec<&str> = line.split('│').map(str::trim).collect();
        assert_eq!(cells, ["", &n.to_string(), &format!("row {n}"), ""]);
    }
    assert_eq!(lines[2_504], "2,500 rows");
}

#[test]
fn query_writes_json_with_json_in_it() {
    let place = filled();
    let array: Value =
        serde_json::from_str(&told(&place, &["query", MANY, "--format", "json"])).unwrap();
    let expected = json!({
        "big": 1, "price": 1.5, "nothing": null, "te\"xt": "a,\"b\"",
        "json": {"x": [1, "ü"]}, "no_json": null, "yes": true,
        "time": "2024-01-01T12:00:00.500Z", "day": "2024-01-31",
        "nested": {"a": 1, "b": [1, null]}, "float": 0.1, "bytes": "6162",
    });
    assert_eq!(array, json!([expected]));
    let lines = told(&place, &["query", MANY, "--format", "jsonl"]);
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), expected);
    assert!(
        lines.contains(r#""json":{"x": [1, "ü"]}"#),
        "not as it was: {lines}"
    );
    assert_eq!(
        told(
            &place,
            &["query", "SELECT 1 WHERE false", "--format", "json"]
        ),
        "[]"
    );
}

/// `query --format jsonl` of a table is what `fetch --stdout` writes.
#[test]
fn lines_of_a_table_are_those_of_a_stream() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let args = ["query", "FROM events ORDER BY rowid", "--format", "jsonl"];
    let lines: Vec<Event> = in_lines(told(&place, &args).as_bytes());
    assert_eq!(lines, in_table(&place.path("out.db"), "events"));
}

#[test]
fn query_writes_csv() {
    let place = filled();
    assert_snapshot!(told(&place, &["query", MANY, "--format", "csv"]), @r#"
    big,price,nothing,"te""xt",json,no_json,yes,time,day,nested,float,bytes
    1,1.50,,"a,""b""","{""x"": [1, ""ü""]}",,true,2024-01-01T12:00:00.500,2024-01-31,"{a: 1, b: [1, ]}",0.1,6162
    "#);
}

fn in_parquet(place: &Place, name: &str) -> Vec<RecordBatch> {
    let file = std::fs::File::open(place.path(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn query_writes_parquet_and_arrow_which_say_what_is_json() {
    let place = filled();
    let sql = "FROM events ORDER BY rowid";
    for name in ["a.parquet", "a.arrow", "a.csv", "a.jsonl", "a.json"] {
        let ran = ask(&place, &["query", sql, "--output", name]).ended(0);
        assert_eq!((ran.stdout.len(), &*ran.stderr), (0, ""));
    }
    let table = crate::rows::form::answer(&place.path("out.db"), sql);
    let bytes = std::fs::read(place.path("a.arrow")).unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(&*bytes, None).unwrap();
    let arrow: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    for batches in [in_parquet(&place, "a.parquet"), arrow] {
        assert!(is_json(batches[0].schema().field(4)));
        assert_eq!(texts(&batches), texts(&table));
    }
    assert_eq!(place.read("a.jsonl").lines().count(), 300);
    assert_eq!(place.read("a.csv").lines().count(), 301);
    let array: Vec<Value> = serde_json::from_str(&place.read("a.json")).unwrap();
    assert_eq!(array.len(), 300);
    // Through a pipe it is the same.
    let ran = ask(&place, &["query", sql, "--format", "arrow"]).ended(0);
    assert_eq!(ran.stdout, bytes);
}

#[test]
fn a_file_appears_when_it_is_whole() {
    let place = filled();
    place.write("a.csv", "old");
    let late = "SELECT CASE WHEN n < 90000 THEN 1 ELSE ('x' || n)::INT END FROM range(99999) t(n)";
    ask(&place, &["query", late, "--output", "a.csv"])
        .ended(1)
        .says("cannot write `a.csv`")
        .says("Could not convert string");
    assert_eq!(place.read("a.csv"), "old");
    assert_eq!(place.names(), ["a.csv", "out.db"]);
    ask(&place, &["query", "SELECT 1", "--output", "no/where.csv"]).ended(6);
}

#[test]
fn rows_are_not_written_over_a_database() {
    let place = filled();
    std::os::unix::fs::symlink("out.db", place.path("link.csv")).unwrap();
    for output in ["out.db", "./out.db", "link.csv"] {
        ask(&place, &["query", "SELECT 1", "--output", output])
            .ended(6)
            .says(&format!("cannot write rows to `{output}`"))
            .says("a DuckDB database is there");
    }
    ask(&place, &["query", "FROM events LIMIT 1"]).ended(0);
}

#[test]
fn query_prints_one_value() {
    let place = filled();
    assert_eq!(
        told(
            &place,
            &["query", "SELECT count(*) FROM events", "--scalar"]
        ),
        "300\n"
    );
    let json = "SELECT '{\"a\": 1}'::JSON";
    assert_eq!(told(&place, &["query", json, "--scalar"]), "{\"a\": 1}\n");
    for (sql, why) in [
        ("SELECT 1 WHERE false", "it has no row"),
        ("SELECT 1, 2", "it has 2 columns"),
        ("SELECT * FROM range(3000)", "it has more than one row"),
    ] {
        ask(&place, &["query", sql, "--scalar"]).ended(1).says(why);
    }
}

#[test]
fn a_query_may_come_from_stdin() {
    let place = filled();
    let query = ["query", "-", "--scalar", "--db", "out.db"];
    let output = place.fed(&query, "SELECT 6 *\n 7");
    assert_eq!(output.stdout, b"42\n");
}

/// Ten million rows go through in the memory that one million take.
#[cfg(target_os = "linux")]
#[test]
fn answers_stream_in_constant_memory() {
    let place = filled();
    let peak = |rows: u64, format: &str| -> u64 {
        let sql = format!("SELECT n, n || ' and some text' AS t FROM range({rows}) t(n)");
        let mut child = place
            .command(&["query", &sql, "--format", format, "--db", "out.db"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        assert!(child.wait().unwrap().success());
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        // A process that has ended has no such line any more.
        line.map_or(0, |line| {
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        })
    };
    for format in ["jsonl", "arrow"] {
        let (few, many) = (peak(100_000, format), peak(2_000_000, format));
        assert!(
            many < few.max(60_000) + 40_000,
            "{format}: {few} KB, then {many} KB"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for format in ["table", "json", "jsonl", "csv", "arrow", "parquet"] {
        let place = filled();
        let sql = "SELECT n, 'some text' AS t FROM range(1000000) t(n)";
        let mut child = place
            .command(&["query", sql, "--format", format, "--db", "out.db"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert_eq!(output.stderr, b"", "{format}");
    }
}

#[test]
fn tables_schema_and_metadata_tell_what_is_there() {
    let place = filled();
    let tables = told(&place, &["tables", "--format", "json"]);
    let tables: Value = serde_json::from_str(&tables).unwrap();
    let table = &tables[0];
    for (key, value) in [
        ("table_name", json!("events")),
        ("type", json!("events")),
        ("row_count", json!(300)),
        ("from_date", json!("2024-01-01")),
        ("to_date", json!("2024-01-02")),
        ("status", json!("committed")),
    ] {
        assert_eq!(table[key], value, "{key}");
    }
    assert_snapshot!(told(&place, &["schema", "events"]), @r"
    ┌─────────────┬─────────────┬──────────┐
    │ column_name │ column_type │ nullable │
    ├─────────────┼─────────────┼──────────┤
    │ event_name  │ VARCHAR     │ true     │
    │ event_time  │ TIMESTAMP   │ true     │
    │ distinct_id │ VARCHAR     │ true     │
    │ insert_id   │ VARCHAR     │ true     │
    │ properties  │ JSON        │ true     │
    └─────────────┴─────────────┴──────────┘
    5 rows
    ");
    let data: Value =
        serde_json::from_str(&told(&place, &["metadata", "events", "--format", "json"])).unwrap();
    assert_eq!(data[0]["filters"], json!({}));
    assert_eq!(data[0]["missing"], json!([]));
    assert_eq!(data[0]["row_count"], 300);
    let facts = told(&place, &["metadata", "events"]);
    assert!(facts.contains("│ status          │ committed "), "{facts}");
    for command in ["schema", "metadata", "sample", "summarize", "drop"] {
        ask(&place, &[command, "event"])
            .ended(6)
            .says("error: there is no table `event` in `out.db`\n  caused by: it has events, did you mean `events`?");
    }
}

#[test]
fn sample_and_summarize_look_into_a_table() {
    let place = filled();
    let rows = told(
        &place,
        &["sample", "events", "-n", "7", "--format", "jsonl"],
    );
    let sample: Vec<Event> = in_lines(rows.as_bytes());
    let all: Vec<Event> = in_table(&place.path("out.db"), "events");
    assert_eq!(sample.len(), 7);
    assert!(sample.iter().all(|row| all.contains(row)));
    let columns = told(&place, &["summarize", "events", "--format", "jsonl"]);
    let first: Value = serde_json::from_str(columns.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["column_name"], &first["count"]),
        (&json!("event_name"), &json!(300))
    );
}

#[test]
fn summarize_draws_the_days_and_those_without_events() {
    let place = filled();
    let sql = "CREATE TABLE gaps AS SELECT '2024-01-01'::TIMESTAMP AS event_time FROM range(8) \
         UNION ALL SELECT '2024-01-03'::TIMESTAMP FROM range(1)";
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    store.connection().unwrap().execute_batch(sql).unwrap();
    drop(store);
    let plot = told(&place, &["summarize", "gaps", "--plot"]);
    let bar = |eighths: usize| {
        "█".repeat(eighths / 8) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
    };
    let line = |day: &str, bar: &str, n: u32| format!("{day} {bar:<66} {n}\n");
    let expected = [
        line("2024-01-01", &bar(66 * 8), 8),
        line("2024-01-02", "", 0),
        line("2024-01-03", &bar(66), 1),
        "9 rows on 3 days\n".to_owned(),
    ];
    assert_eq!(plot, expected.concat());
}

#[test]
fn drop_wants_to_be_sure() {
    let place = filled();
    ask(&place, &["drop", "events"])
        .ended(2)
        .says("error: cannot drop table events of out.db\n  caused by: there is no terminal to ask whether that is meant\nhint: add `--yes`");
    assert!(told(&place, &["tables"]).contains("events"));
    let ran = ask(&place, &["drop", "EVENTS", "--yes"]).ended(0);
    assert_eq!(ran.stderr, "dropped table events of out.db\n");
    assert!(!told(&place, &["tables"]).contains("events"));
    place
        .mixflow(&["drop", "events", "--yes", "--db", "typo.db"])
        .ended(6);
    assert!(!place.path("typo.db").exists());
}

#[test]
fn a_database_that_is_written_names_its_writer() {
    let place = filled();
    let path = place.path("out.db");
    let store = mixflow::Store::open(&path).unwrap();
    for command in [
        &["tables"][..],
        &["query", "SELECT 1"],
        &["drop", "events", "--yes"],
    ] {
        ask(&place, command)
            .ended(6)
            .says("error: cannot open `out.db`")
            .says(&format!("(PID {}) has it open", std::process::id()));
    }
    drop(store);
    let first = mixflow::Store::open_read_only(&path).unwrap();
    assert!(told(&place, &["tables"]).contains("300"));
    drop(first);
}

#[test]
fn runs_lists_what_happened_the_latest_first() {
    let place = filled();
    place.mixflow(&["run", "test.toml"]).ended(6);
    let runs: Value = serde_json::from_str(
        &place
            .mixflow(&["runs", "--format", "json"])
            .ended(0)
            .stdout_lossy(),
    )
    .unwrap();
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(
        (&runs[0]["status"], &runs[0]["row_count"]),
        (&json!("aborted"), &json!(0))
    );
    assert!(
        runs[0]["error"]
            .as_str()
            .unwrap()
            .ends_with("already exists")
    );
    assert_eq!(
        (&runs[1]["status"], &runs[1]["row_count"]),
        (&json!("committed"), &json!(300))
    );
    assert_eq!(runs[1]["error"], Value::Null);
    let one = place.mixflow(&["runs", "-n", "1"]).ended(0).stdout_lossy();
    assert!(
        one.contains("│ aborted │") && one.ends_with("1 row\n"),
        "{one}"
    );
    let nobody = Place::new();
    assert!(
        nobody
            .mixflow(&["runs"])
            .ended(0)
            .stdout_lossy()
            .ends_with("0 rows\n")
    );
}

#[test]
fn init_writes_a_file_that_checks_and_never_overwrites() {
    let place = Place::new();
    let ran = place.mixflow(&["init", "new.toml"]).ended(0);
    assert!(
        ran.stderr.starts_with("wrote new.toml; now:\n"),
        "{}",
        ran.stderr
    );
    place.mixflow(&["check", "new.toml"]).ended(0);
    place.write("new.toml", "mine");
    place
        .mixflow(&["init", "new.toml"])
        .ended(6)
        .says("`new.toml` already exists");
    assert_eq!(place.read("new.toml"), "mine");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place
            .mixflow(&["completions", shell])
            .ended(0)
            .stdout_lossy();
        assert!(
            script.contains("summarize") && script.contains("replace-window"),
            "{shell}"
        );
    }
    place.mixflow(&["man", "man"]).ended(0).says("wrote ");
    let page = place.read("man/mixflow-query.1");
    assert!(
        page.starts_with(".ie") && page.contains("\\-\\-scalar"),
        "{page}"
    );
    for command in ["run", "fetch-events", "tables", "drop", "init", "runs"] {
        assert!(
            place.path(format!("man/mixflow-{command}.1")).is_file(),
            "{command}"
        );
    }
}
