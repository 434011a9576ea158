//! Bytes that nobody would send on purpose.

use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery};

use crate::rows::form::{Event, in_lines, in_parquet, in_table};
use crate::support::{
    DUCKDB, Place, SECRET, STDOUT, basic, events, pipeline, profiles, sim, started,
};

const DAY: &str = "from = \"2024-01-01\"\nto = \"2024-01-01\"";

fn data(lines: &[Vec<u8>]) -> Data {
    let mut data = Data::default();
    for line in lines {
        data.add_raw_line(date(2024, 1, 1), line);
    }
    // A last line that cannot be read would be one that was cut.
    data.add_raw_line(date(2024, 1, 1), record(r#""last":true"#));
    data
}

fn record(more: &str) -> Vec<u8> {
    format!(r#"{{"event":"e","properties":{{"time":1704067200,"distinct_id":"d","$insert_id":"i",{more}}}}}"#)
        .into_bytes()
}

/// Lines that are rows, and lines that are not.
fn lines() -> (Vec<Vec<u8>>, usize, usize) {
    let deep = format!("\"deep\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!("\"long\":\"{}\"", "é".repeat(8 << 20));
    let rows = [
        record(&deep),
        record(&long),
        record(r#""nul":"\u0000","half":"\ud83d","pair":"\ud83d\ude00""#),
        record(r#""n":1e400,"m":-0.0,"digits":123456789012345678901234567890.123456789"#),
        record("\"control\":\"a\tb\u{1}\""),
        [
            &record(r#""bytes":"x"#)[..record(r#""bytes":"x"#).len() - 2],
            b"\xff\xfe\"}}",
        ]
        .concat(),
        record(&format!("\"{}\":1", "k".repeat(100_000))),
    ];
    let not_rows = [
        record(r#""n":NaN"#),
        record(r#""n":Infinity"#),
        record(r#""n":01"#),
        record(r#""n":1,,"#),
        b"\0\0\0".to_vec(),
        b"[]".to_vec(),
        "{\"event\":".repeat(50_000).into_bytes(),
        br#"{"event":"e","properties":{"time":99999999999999999999}}"#.to_vec(),
        br#"{"event":"e","properties":{"time":1e300}}"#.to_vec(),
        br#"{"event":{"a":1},"properties":{"time":1}}"#.to_vec(),
    ];
    let (good, bad) = (rows.len() + 1, not_rows.len());
    (rows.into_iter().chain(not_rows).collect(), good, bad)
}

#[test]
fn hostile_records_are_rows_or_rejects_everywhere() {
    let (lines, good, bad) = lines();
    let sim = started(sim(data(&lines)));
    for sink in [
        DUCKDB,
        STDOUT,
        "[sink]\ntype = \"parquet\"\npath = \"out.parquet\"\n",
    ] {
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&events(&sim, DAY), sink]));
        let ran = ran.ended(0);
        assert_eq!(report["rejected"], bad, "{sink}");
        let rows: Vec<Event> = match sink {
            DUCKDB => in_table(&place.path("out.db"), "events"),
            STDOUT => ran
                .stdout
                .split(|byte| *byte == b'\n')
                // serde_json has no 100,000 levels.
                .filter(|line| !line.is_empty() && line.len() != deep_length(&ran.stdout))
                .flat_map(|line| in_lines(&[line, b"\n"].concat()))
                .collect(),
            _ => in_parquet(&place.path("out.parquet")),
        };
        let expected = if sink == STDOUT { good - 1 } else { good };
        assert_eq!(rows.len(), expected, "{sink}");
        assert!(rows.iter().any(|row| row.properties.len() > 16 << 20));
        if sink == DUCKDB {
            // Not one of them spoils a query over the column.
            let found = place.sql("out.db", "SELECT count(properties->>'last') FROM events");
            assert_eq!(found, [["1"]]);
        }
    }
}

fn deep_length(stdout: &[u8]) -> usize {
    let lines = stdout.split(|byte| *byte == b'\n');
    let deep = lines.filter(|line| line.windows(20).any(|window| window == [b'['; 20]));
    deep.map(<[u8]>::len).next().unwrap_or(0)
}

/// DuckDB holds the large values of a row group in memory, beyond the limit
/// that is enough for anything else.
#[test]
fn events_of_the_largest_size_fit_into_a_table() {
    let large = format!("\"large\":\"{}\"", "0123456789abcde\u{e9}".repeat(60_000));
    let lines = vec![record(&large); 240];
    let sim = started(sim(data(&lines)));
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, DAY), DUCKDB]));
    ran.ended(0);
    assert_eq!(report["row_count"], 241);
    // Large values need memory where they are looked into, too.
    let sql = "SELECT count(*) FROM events WHERE strlen(properties->>'large') = 1020000";
    let ask = ["query", sql, "--db", "out.db", "--scalar", "--memory"];
    place
        .mixflow(&[&ask[..], &["500MB"]].concat())
        .ended(1)
        .says("Out of Memory")
        .says("hint: give it more with `--memory 4GB`");
    let ran = place.mixflow(&[&ask[..], &["4GB"]].concat()).ended(0);
    assert_eq!(ran.stdout_lossy(), "240\n");
}

/// 300 MB of one line, in some 300 KB.
#[test]
fn a_decompression_bomb_is_refused_and_not_tried_again() {
    let bomb = format!("\"x\":\"{}\"", " ".repeat(300 << 20));
    let mut data = Data::default();
    data.add_raw_line(date(2024, 1, 1), record(&bomb));
    let sim = started(sim(data));
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, DAY), DUCKDB]));
    ran.ended(1).says("a line is longer than 64 MB");
    assert_eq!(report["error"]["kind"], "data");
    assert_eq!(sim.requests().len(), 1);
    assert_eq!(place.names(), Vec::<String>::new());
}

/// Six days of one line of 30 MB each, in some 30 KB: together they would be
/// 600 MB.
#[cfg(target_os = "linux")]
#[test]
fn long_lines_of_several_workers_are_held_one_at_a_time() {
    let mut data = Data::default();
    let long = record(&format!("\"x\":\"{}\"", "x".repeat(30 << 20)));
    for day in 1..=6 {
        data.add_raw_line(date(2024, 1, day), &long);
    }
    let sim = started(sim(data));
    let place = Place::new();
    let days = "from = \"2024-01-01\"\nto = \"2024-01-06\"\nwindow_days = 1";
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
    let workers = crate::support::workers(6);
    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, days), sink, &workers]),
    );
    let mut child = place.spawn(&["run", "test.toml"]);
    let mut peak: u64 = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        // A process that has ended has no such line any more.
        if let Some(mark) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = mark.trim().trim_end_matches(" kB").parse().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    crate::support::Ran::of(child.wait_with_output().unwrap()).ended(0);
    assert!(peak < 350_000, "{peak} kB");
}

#[test]
fn names_with_control_characters_reach_no_header() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let source = events(&sim, "events = [\"a\\r\\nX-Injected: 1\"]");
    place.run(&pipeline(&[&source, STDOUT])).0.ended(0);
    let request = &sim.requests()[0];
    assert_eq!(request.param("event"), Some("[\"a\\r\\nX-Injected: 1\"]"));
    assert_eq!(request.header("x-injected"), None);
    let source = events(&sim, "").replace("\"sim\"", "\"sim\\r\\nX-Injected: 1\"");
    place
        .run(&pipeline(&[&source, STDOUT]))
        .0
        .ended(2)
        .says("control characters");
}

#[test]
fn a_link_where_we_write_is_followed_to_a_file_and_never_elsewhere() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place.write("real.jsonl", "old\n");
    std::os::unix::fs::symlink(place.path("real.jsonl"), place.path("out.jsonl")).unwrap();
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"replace\"\n";
    place.run(&pipeline(&[&events(&sim, DAY), sink])).0.ended(0);
    assert!(place.path("out.jsonl").is_symlink());
    assert!(!place.read("real.jsonl").starts_with("old"));
    std::fs::remove_file(place.path("real.jsonl")).unwrap();
    place.run(&pipeline(&[&events(&sim, DAY), sink])).0.ended(6);
    // A reject file, the history and the state are no links either: they are
    // in a folder of ours.
    let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 1));
    assert!(!sim.expected_events(&query).is_empty());
}

/// Every command that fails, at its most talkative. That neither the secret
/// nor its base64 is in stdout, stderr, or any file is asserted by `Place`.
#[test]
fn secrets_are_in_no_output() {
    use mixflow_tests::sim::{Action, Fault, Matcher};
    let echo = |code| Action::Status {
        code,
        retry_after: None,
        body: Some(format!("you sent sim:{SECRET} as Basic {}", basic())),
    };
    let started_at = Instant::now();
    for (code, exit) in [
        (400, 1),
        (401, 4),
        (402, 4),
        (403, 4),
        (404, 1),
        (429, 5),
        (500, 1),
    ] {
        let mut data = Data::sample();
        data.add_raw_line(date(2024, 1, 1), b"{}");
        let sim = started(sim(data));
        let place = Place::new();
        for source in [events(&sim, ""), profiles(&sim, "")] {
            let text = pipeline(&[&source, DUCKDB]);
            sim.add_fault(Fault::always(Matcher::export(), echo(code)));
            sim.add_fault(Fault::always(Matcher::engage(), echo(code)));
            place.run_with(&text, &["-vvv"]).0.ended(exit);
            place.mixflow(&["plan", "test.toml", "-vvv"]).ended(0);
            place.mixflow(&["check", "test.toml", "-vvv"]).ended(0);
            let mut command = place.command(&["run", "test.toml", "--only-failed"]);
            command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
            crate::support::Ran::of(command.output().unwrap()).ended(exit);
            sim.clear_faults();
        }
    }
    assert!(started_at.elapsed() < Duration::from_secs(120));
    // Written out in the file, or on the command line where it does not belong.
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let plain = events(&sim, "").replace("{ env = \"SIM_SECRET\" }", &format!("\"{SECRET}\""));
    for text in [
        pipeline(&[&plain, DUCKDB, "nonsense = 1"]),
        pipeline(&[&plain, DUCKDB]).replace("secret =", "sercet ="),
        pipeline(&[&plain, "[sink]"]),
    ] {
        place.run_with(&text, &["-vvv"]).0.ended(2);
    }
    let set = format!("source.auth.secret={SECRET}");
    let (ran, _) = place.run_with(&pipeline(&[&plain, "[sink]"]), &["--set", &set]);
    ran.ended(2);
}

/// What was sent comes back, set otherwise; and files and arguments with slips.
#[test]
fn secrets_are_in_no_output_however_they_are_spelt() {
    use mixflow_tests::sim::{Action, Fault, Matcher};
    let spaced = SECRET.replace('-', " \t\n ").replace(' ', "  ");
    let parts: Vec<String> = SECRET.chars().map(String::from).collect();
    for echo in [
        format!("no: {}", parts.join("\n")),
        format!("{{\"error\": \"no: {}\"}}", parts.join("\\u0020")),
        format!("{}{}", " ".repeat((16 << 10) - 10), basic()),
        spaced,
    ] {
        let sim = started(sim(Data::sample()));
        let place = Place::new();
        let action = Action::Status {
            code: 400,
            retry_after: None,
            body: Some(echo),
        };
        sim.add_fault(Fault::always(Matcher::export(), action));
        let ran = place
            .run_with(&pipeline(&[&events(&sim, ""), DUCKDB]), &["-vvv"])
            .0
            .ended(1);
        let dense: String = ran.stderr.split_whitespace().collect();
        assert!(!dense.contains(SECRET), "{}", ran.stderr);
        assert!(!dense.contains(&basic()[..6]), "{}", ran.stderr);
    }
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let plain = events(&sim, "").replace("{ env = \"SIM_SECRET\" }", &format!("\"{SECRET}\""));
    let auth = plain.lines().find(|line| line.starts_with("auth")).unwrap();
    for slip in [
        auth.replace("\" }", " }"),
        auth.replace(',', ";"),
        auth.replace("secret =", "secret"),
        auth.replace("secret", "scret"),
        auth.replace("auth", "kye"),
        format!("base_url = \"https://sim:{SECRET}@example.com\""),
        format!("base_url = \"https://sim:{SECRET}.example.com\""),
    ] {
        let text = pipeline(&[&plain.replace(auth, &slip), DUCKDB]);
        place.run_with(&text, &["-vvv"]).0.ended(2);
    }
    place.write("good.toml", &pipeline(&[&plain, DUCKDB]));
    for set in [
        format!("sourceauthsecret {SECRET}"),
        format!("source.auth.secret {SECRET}=="),
        format!("source.auth.secret{SECRET}="),
        format!("source={{ auth = {{ secret = \"{SECRET}\" }} "),
        format!("source.base_url=https://sim:{SECRET}@example.com"),
        format!("source.auth.scret={SECRET}"),
    ] {
        place
            .mixflow(&["check", "good.toml", "--set", &set])
            .ended(2);
    }
    place
        .mixflow(&["check", "good.toml", "--set", "source.auth.secret=", SECRET])
        .ended(2);
}
