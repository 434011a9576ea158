//! `query` only reads, whatever it is asked.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::cli::query::{ask, filled, told};

#[test]
fn a_query_writes_nothing_however_it_is_written() {
    let place = filled();
    place.write("other.csv", "a\n1\n");
    let before = std::fs::read(place.path("out.db")).unwrap();
    for sql in [
        "COPY (SELECT 1) TO 'out.db'",
        "COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO 'out.db.wal' (FORMAT csv, USE_TMP_FILE false)",
        "copy events to 'x.parquet'",
        "/* SELECT */ COPY (SELECT 1) TO 'x.csv'",
        "WITH a AS (COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)) FROM a",
        "FROM (WITH a AS (COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)) FROM a)",
        "WITH a AS (DELETE FROM events RETURNING 1) FROM a",
        "SELECT 1; COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false); SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)",
        "EXPLAIN ANALYZE WITH a AS (COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)) FROM a",
        "EXPLAIN SELECT 1; COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false)",
        "PREPARE p AS COPY (SELECT 1) TO 'out.db' (USE_TMP_FILE false); EXECUTE p",
        "FROM query('COPY (SELECT 1) TO ''out.db'' (USE_TMP_FILE false)')",
        "EXPORT DATABASE 'folder'",
        "EXPORT DATABASE 'out.db.tmp'",
        "ATTACH 'new.db'",
        "ATTACH 'out.db' AS again",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "DROP TABLE events",
        "INSERT INTO events SELECT * FROM events",
        "INSTALL spatial",
        "LOAD icu",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "CALL enable_logging(storage = 'file', storage_path = 'log')",
        "FROM enable_logging(storage := 'file', storage_path := 'log')",
        "CHECKPOINT",
        "SELECT * FROM read_csv('other.csv')",
        "FROM 'other.csv'",
        "SELECT content FROM read_text('/etc/passwd')",
        "FROM glob('/*')",
        "",
        " -- nothing",
    ] {
        let ran = ask(&place, &["query", sql]);
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{sql}");
        assert!(ran.stderr.starts_with("error: cannot answer"), "{sql}");
        assert_eq!(
            std::fs::read(place.path("out.db")).unwrap(),
            before,
            "{sql}"
        );
        assert_eq!(place.names(), ["other.csv", "out.db"], "{sql}");
    }
}

#[test]
fn what_reads_is_answered() {
    let place = filled();
    for sql in [
        "FROM events LIMIT 1",
        "VALUES (1), (2)",
        "TABLE events",
        "SHOW TABLES",
        "DESCRIBE events",
        "SUMMARIZE events",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) FROM t",
        "PIVOT events ON event_name IN ('a') USING count(*) GROUP BY distinct_id",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
        "(SELECT 1);",
        "SELECT 'a;b' AS \"c;d\" -- ; and more",
        "SELECT $$it's; 'fine'$$;;",
        "FROM pragma_table_info('events')",
        "SELECT properties->>'plan', count(*) FROM events GROUP BY ALL ORDER BY ALL",
    ] {
        assert!(!told(&place, &["query", sql]).is_empty(), "{sql}");
    }
}

#[test]
fn refusals_say_what_is_meant() {
    let place = filled();
    let refused = |sql: &str| ask(&place, &["query", sql]).ended(1).stderr;
    assert_snapshot!(refused("SELECT 1; SELECT 2"), @r"
    error: cannot answer the query
      caused by: it has 2 statements
    hint: ask one at a time, each with a `mixflow query` of its own
    ");
    assert_snapshot!(refused("COPY events TO 'x.csv'"), @r"
    error: cannot answer the query
      caused by: it does more than read, and `query` is read-only
    hint: ask with SELECT, FROM, WITH, VALUES, SHOW, DESCRIBE, SUMMARIZE, PIVOT … ON x IN (…), or EXPLAIN of these; write with DuckDB's own client
    ");
    assert_snapshot!(refused("  "), @r"
    error: cannot answer the query
      caused by: it is empty
    ");
    let file = refused("FROM 'x.csv'");
    assert!(
        file.contains("hint: query what is in the database"),
        "{file}"
    );
    let typo = refused("SELEC 1");
    assert!(
        typo.contains("syntax error") && typo.contains("SELEC 1\n"),
        "{typo}"
    );
}

/// A sort that does not fit into memory goes on on disk.
#[test]
fn a_query_that_needs_the_disk_has_it() {
    let place = filled();
    let sql = "SELECT count(DISTINCT t) FROM (SELECT 'some longer text ' || n AS t FROM range(3000000) r(n) ORDER BY hash(n))";
    let args = ["query", sql, "--scalar", "--memory", "120MB"];
    assert_eq!(told(&place, &args), "3000000\n");
    assert_eq!(place.names(), ["out.db"]);
}

#[test]
fn a_plan_is_laid_out() {
    let place = filled();
    for sql in [
        "EXPLAIN SELECT count(*) FROM events WHERE event_name = e'a\\x1bb'",
        "explain /* it */ analyze -- now\n SELECT count(*) FROM events",
        "EXPLAIN (FORMAT json) SELECT 1",
        "EXPLAIN (SELECT 1)",
    ] {
        let plan = told(&place, &["query", sql]);
        assert!(plan.lines().count() > 2, "{plan}");
        assert!(!plan.contains("\\n") && !plan.contains('\x1b'), "{plan}");
    }
}

/// Times with a zone, as SQL makes them, alone and in what holds others.
const ZONED: &str = "SELECT '2024-01-31 12:00:00.5+02'::TIMESTAMPTZ AS t, \
    ['2024-01-31 12:00:00+00'::TIMESTAMPTZ, NULL] AS ts, \
    {'t': '2024-01-31 12:00:00+00'::TIMESTAMPTZ} AS s, NULL::TIMESTAMPTZ AS no";

#[test]
fn times_with_a_zone_are_shown_in_utc() {
    let place = filled();
    assert_snapshot!(told(&place, &["query", ZONED, "--format", "csv"]), @r#"
    t,ts,s,no
    2024-01-31T10:00:00.500Z,"[2024-01-31T12:00:00Z, ]",{t: 2024-01-31T12:00:00Z},
    "#);
    for format in ["json", "jsonl"] {
        let text = told(&place, &["query", ZONED, "--format", format]);
        let value: Value = serde_json::from_str(&text).unwrap();
        let row = if format == "json" { &value[0] } else { &value };
        let expected = json!({
            "t": "2024-01-31T10:00:00.500Z", "ts": ["2024-01-31T12:00:00Z", null],
            "s": {"t": "2024-01-31T12:00:00Z"}, "no": null,
        });
        assert_eq!(*row, expected, "{format}");
    }
    assert!(told(&place, &["query", ZONED]).contains("│ 2024-01-31T10:00:00.500Z │"));
    let scalar = "SELECT '2024-01-31 12:00:00+00'::TIMESTAMPTZ";
    let args = ["query", scalar, "--scalar"];
    assert_eq!(told(&place, &args), "2024-01-31T12:00:00Z\n");
}

#[test]
fn times_with_a_zone_go_through_every_format() {
    let place = filled();
    for (sql, zone) in [
        ("SELECT now() AS t", "America/New_York"),
        (
            "SELECT event_time AT TIME ZONE 'America/Los_Angeles' AS t FROM events LIMIT 3",
            "Asia/Tokyo",
        ),
        (
            "SELECT event_time AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' AS t FROM events LIMIT 3",
            "UTC",
        ),
    ] {
        for format in ["table", "json", "jsonl", "csv", "parquet", "arrow"] {
            let output = place
                .command(&["query", sql, "--format", format, "--db", "out.db"])
                .env("TZ", zone)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{sql} {format}: {said}");
            assert!(!output.stdout.is_empty());
        }
    }
    for name in ["a.parquet", "a.arrow"] {
        ask(&place, &["query", ZONED, "--output", name]).ended(0);
    }
    let back = mixflow::Store::ephemeral().unwrap();
    let file = place.path("a.parquet").display().to_string();
    let same: bool = back
        .scalar(&format!("SELECT t = '2024-01-31 10:00:00.5+00'::TIMESTAMPTZ AND s.t = '2024-01-31 12:00:00+00'::TIMESTAMPTZ FROM '{file}'"))
        .unwrap();
    assert!(same);
}

const ENDLESS: &str = "SELECT sum(hash(a.n + b.n)) FROM range(10000000) a(n), range(10000000) b(n)";

fn signal(pid: &str, signal: &str) -> Instant {
    let sent = Instant::now();
    let killed = Command::new("kill").args(["-s", signal, pid]).status();
    assert!(killed.unwrap().success());
    sent
}

/// Waits until a process uses its processors: the query is under way.
#[cfg(target_os = "linux")]
fn busy(pid: u32) {
    let asked = Instant::now();
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse().unwrap()
    };
    while ticks() < 30 && asked.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_signal_ends_a_query() {
    for (name, output) in [("INT", "a.csv"), ("TERM", "a.parquet"), ("HUP", "a.json")] {
        let place = filled();
        let args = ["query", ENDLESS, "--db", "out.db", "--output", output];
        let child = place.spawn(&args);
        busy(child.id());
        let sent = signal(&child.id().to_string(), name);
        let output = child.wait_with_output().unwrap();
        let (took, said) = (sent.elapsed(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(130), "{name}: {said}");
        // Generous: the aim is a second, and machines are noisy.
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
        assert_eq!(place.names(), ["out.db"], "{name}");
    }
}

/// Waits until a process has taken over SIGTERM.
#[cfg(target_os = "linux")]
fn listening(pid: u32) {
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        caught & (1 << 14) != 0
    };
    let asked = Instant::now();
    while !listens() && asked.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
}

/// Neither a reader that does not read nor a query that is not there yet hold
/// it up.
#[cfg(target_os = "linux")]
#[test]
fn the_first_signal_ends_a_query_that_waits_for_others() {
    let place = filled();
    let full = "SELECT repeat('x', 1000) FROM range(1000000)";
    for args in [
        ["query", full, "--db", "out.db"],
        ["query", "-", "--db", "out.db"],
    ] {
        let mut child = place
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Held, or waiting for the child would close it.
        let stdin = child.stdin.take();
        listening(child.id());
        let sent = signal(&child.id().to_string(), "TERM");
        let status = child.wait().unwrap();
        drop(stdin);
        assert_eq!(status.code(), Some(130), "{args:?}");
        assert!(sent.elapsed() < Duration::from_secs(10), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_signal_ends_the_prompt_of_drop() {
    use std::io::Read as _;
    let place = filled();
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let drop = format!("sh -c 'echo $$ > pid; exec {binary} drop events --db out.db'");
    for name in ["INT", "TERM", "HUP"] {
        let command = place.command(&[]);
        // `script` has a terminal for it.
        let child = Command::new("script")
            .args(["-qec", &drop, "/dev/null"])
            .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .current_dir(place.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no `script`");
            return;
        };
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"[y/N]") && stdout.read(&mut byte).unwrap() > 0 {
            said.push(byte[0]);
        }
        let sent = signal(place.read("pid").trim(), name);
        let status = child.wait().unwrap();
        assert!(sent.elapsed() < Duration::from_secs(10), "{name}");
        assert_eq!(status.code(), Some(130), "{name}");
        let _ = stdin.write_all(b"y\n");
        std::fs::remove_file(place.path("pid")).unwrap();
    }
    assert_eq!(
        told(
            &place,
            &["query", "SELECT count(*) FROM events", "--scalar"]
        ),
        "300\n"
    );
}
