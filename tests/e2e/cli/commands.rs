//! The commands, as they are typed.

use std::process::Command;

use jiff::civil::date;
use mixflow_tests::sim::{Data, Endpoint, ExportQuery, Simulator};

use crate::rows::form::{Event, Profile, assert_same, expected_events, in_lines, in_table, sorted};
use crate::support::{DUCKDB, Place, Ran, SECRET, STDOUT, events, pipeline, sim, started};

fn sample_sim() -> Simulator {
    let data = Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14));
    started(sim(data))
}

fn all() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14))
}

/// `mixflow fetch …` with credentials in the environment.
fn fetch(place: &Place, sim: &Simulator, args: &[&str]) -> Ran {
    let mut command: Command = place.command(&["fetch"]);
    command
        .args(args)
        .env("MIXPANEL_USERNAME", "sim")
        .env("MIXPANEL_SECRET", SECRET)
        .env("MIXPANEL_PROJECT_ID", "12345")
        .env("MIXPANEL_BASE_URL", sim.base_url());
    Ran::of(command.output().unwrap())
}

const DAYS: [&str; 4] = ["--from", "2024-01-01", "--to", "2024-01-14"];

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

#[test]
fn fetch_events_fills_the_default_database() {
    let sim = sample_sim();
    let place = Place::new();
    fetch(
        &place,
        &sim,
        &with(&["events"], &with(&DAYS, &["--window-days", "14"])),
    )
    .ended(0)
    .says("committed 8,000 rows from 1 partition to table events in");
    let rows: Vec<Event> = in_table(&place.path(".mixpanel_data/12345.db"), "events");
    assert_same(&rows, &expected_events(&sim, &all()));
}

#[test]
fn fetch_events_takes_the_filters() {
    let sim = sample_sim();
    let place = Place::new();
    fetch(
        &place,
        &sim,
        &with(
            &["events", "mine", "--db", "x.db"],
            &with(
                &DAYS,
                &[
                    "--events",
                    "A,B",
                    "--event",
                    "C, D",
                    "--where",
                    "properties[\"n\"] == 1",
                    "--limit",
                    "9",
                ],
            ),
        ),
    )
    .ended(0);
    let request = &sim.requests_to(Endpoint::Export)[0];
    assert_eq!(request.param("event"), Some(r#"["A","B","C, D"]"#));
    assert_eq!(request.param("where"), Some("properties[\"n\"] == 1"));
    assert_eq!(request.param("limit"), Some("9"));
    assert_eq!(place.sql("x.db", "SELECT count(*) FROM mine"), [["0"]]);
}

#[test]
fn fetch_streams_to_stdout_normalised_and_raw() {
    let sim = sample_sim();
    let place = Place::new();
    let ran = fetch(
        &place,
        &sim,
        &with(
            &["events", "ignored", "--stdout"],
            &with(&DAYS, &["--window-days", "7"]),
        ),
    )
    .ended(0);
    assert_same(
        &in_lines::<Event>(&ran.stdout),
        &expected_events(&sim, &all()),
    );
    let ran = fetch(
        &place,
        &sim,
        &with(
            &["events", "--stdout", "--raw"],
            &with(&DAYS, &["--window-days", "7"]),
        ),
    )
    .ended(0);
    let mut lines = sim.expected_events(&all()).join(&b"\n"[..]);
    lines.push(b'\n');
    assert!(ran.stdout == lines);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn fetch_modes_are_flags() {
    let sim = sample_sim();
    let place = Place::new();
    let run = |flag: &[&str]| {
        let args = with(
            &["events", "--db", "x.db", "--window-days", "14"],
            &with(&DAYS, flag),
        );
        fetch(&place, &sim, &args)
    };
    let count = || place.sql("x.db", "SELECT count(*) FROM events")[0][0].clone();
    run(&[]).ended(0);
    run(&[]).ended(6).says("already exists");
    run(&["--append"]).ended(0);
    assert_eq!(count(), "16000");
    run(&["--replace-window"]).ended(0);
    assert_eq!(count(), "8000");
    run(&["--replace"]).ended(0);
    assert_eq!(count(), "8000");
    run(&["--replace", "--append"]).ended(2);
}

#[test]
fn fetch_parallel_uses_several_workers() {
    let data = Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14));
    let sim = started(
        sim(data)
            .page_size(100)
            .latency(std::time::Duration::from_millis(200)),
    );
    let place = Place::new();
    place.write(
        "source.toml",
        "[source]\nlimits = { per_second = 1000 }\nregion = \"eu\"\n",
    );
    fetch(
        &place,
        &sim,
        &with(
            &[
                "events",
                "--parallel",
                "--config",
                "source.toml",
                "--window-days",
                "1",
            ],
            &DAYS,
        ),
    )
    .ended(0);
    assert_eq!(sim.peak_concurrency_of(Endpoint::Export), 10);
    let db = place.path(".mixpanel_data/12345.db");
    assert_same(
        &sorted(in_table::<Event>(&db, "events")),
        &sorted(expected_events(&sim, &all())),
    );
    fetch(
        &place,
        &sim,
        &[
            "profiles",
            "people",
            "--parallel",
            "--config",
            "source.toml",
        ],
    )
    .ended(0);
    assert_eq!(sim.peak_concurrency_of(Endpoint::Engage), 5);
    assert_eq!(
        in_table::<Profile>(&db, "people").len(),
        sim.data().profile_count()
    );
}

#[test]
fn fetch_profiles_takes_the_filters() {
    let sim = sample_sim();
    let place = Place::new();
    fetch(
        &place,
        &sim,
        &[
            "profiles",
            "--stdout",
            "--cohort",
            "4",
            "--where",
            "properties[\"n\"] == 1",
            "--output-property",
            "$email",
            "--output-property",
            "plan",
            "--distinct-id",
            "a",
            "--distinct-id",
            "b",
            "--group-id",
            "-5",
        ],
    )
    .ended(0);
    let request = &sim.requests_to(Endpoint::Engage)[0];
    for (name, value) in [
        ("filter_by_cohort", r#"{"id":4}"#),
        ("where", "properties[\"n\"] == 1"),
        ("output_properties", r#"["$email","plan"]"#),
        ("distinct_ids", r#"["a","b"]"#),
        ("data_group_id", "-5"),
    ] {
        assert_eq!(request.param(name), Some(value), "{name}");
    }
    assert_eq!(request.method, "POST");
    assert_eq!(request.param("project_id"), Some("12345"));
}

#[test]
fn fetch_wants_its_days_and_credentials() {
    let sim = sample_sim();
    let place = Place::new();
    fetch(&place, &sim, &["events"])
        .ended(2)
        .says("`source.from`: this is missing");
    fetch(
        &place,
        &sim,
        &["events", "--from", "2024-13-45", "--to", "today"],
    )
    .ended(2)
    .says("--from 2024-13-45");
    fetch(&place, &sim, &with(&["events", "my table"], &DAYS))
        .ended(2)
        .says("a table's name is");
    fetch(&place, &sim, &with(&["events", "--raw"], &DAYS))
        .ended(2)
        .says("--stdout");
    fetch(&place, &sim, &with(&["events", "--limit", "0"], &DAYS))
        .ended(2)
        .says("--limit 0");
    place
        .mixflow(&with(&["fetch", "events"], &DAYS))
        .ended(2)
        .says("MIXPANEL_USERNAME is not set")
        .says("hint: ");
    let mut command = place.command(&with(&["fetch", "events"], &DAYS));
    command.env("MIXPANEL_USERNAME", "sim");
    command.env("MIXPANEL_SECRET", SECRET);
    Ran::of(command.output().unwrap())
        .ended(2)
        .says("MIXPANEL_PROJECT_ID is not set")
        .says("hint: ");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn a_partial_fetch_says_what_to_do_without_a_file() {
    let sim = sample_sim();
    let fault = "export from=2024-01-03 always status=400";
    sim.add_fault(mixflow_tests::sim::Fault::parse(fault).unwrap());
    let place = Place::new();
    let args = ["events", "--window-days", "1", "--workers", "2"];
    let ran = fetch(&place, &sim, &with(&args, &DAYS)).ended(3);
    assert!(!ran.stderr.contains("FILE"), "{}", ran.stderr);
    ran.says("hint: fetch the missing days again, with their `--from` and `--to` and with `--replace-window`");
}

#[test]
fn plan_shows_what_a_run_would_do_and_asks_nothing() {
    let sim = sample_sim();
    let place = Place::new();
    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, "window_days = 7"), DUCKDB])
            .replace("per_hour = 10000", "per_hour = 60"),
    );
    let ran = place.mixflow(&["plan", "test.toml"]).ended(0);
    let said = ran.stdout_lossy().replace(sim.base_url(), "http://SERVER");
    insta::assert_snapshot!(said, @r#"
    pipeline    test
    source      mixpanel_events: the events of project 12345
    project     12345, from the file
    base_url    http://SERVER, from the file
    account     sim, from the file
    secret      from SIM_SECRET, says the file
    days        2024-01-01 to 2024-01-14
    partitions  2 (2024-01-01..2024-01-07, 2024-01-08..2024-01-14)
    requests    2, 3 % of the 60 that are allowed in an hour
    workers     1 worker; a failed partition aborts the run; rows leave a partition when it is complete
    sink        creates `out.db` with the table `events`
    "#);
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), Vec::<String>::new());

    // What would stop the run stops the plan.
    place.mixflow(&["run", "test.toml"]).ended(0);
    place
        .mixflow(&["plan", "test.toml"])
        .ended(6)
        .says("already exists");
}

#[test]
fn components_lists_every_component_with_its_options() {
    let ran = Place::new().mixflow(&["components"]).ended(0);
    let said = ran.stdout_lossy();
    for name in [
        "mixpanel_events:",
        "mixpanel_profiles:",
        "synthetic_events:",
        "synthetic_profiles:",
        "select:",
        "duckdb:",
        "parquet:",
        "jsonl:",
        "window_days",
        "partition_by",
    ] {
        assert!(said.contains(name), "{name} is not in:\n{said}");
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn several_files_run_in_order_and_end_with_the_worst_code() {
    let sim = sample_sim();
    let place = Place::new();
    place.write("a.toml", &pipeline(&[&events(&sim, ""), DUCKDB]));
    place.write("b.toml", "[source]\n");
    place.write(
        "c.toml",
        &pipeline(&[&events(&sim, ""), DUCKDB, "table = \"c\"\n"]),
    );
    place
        .mixflow(&[
            "run",
            "a.toml",
            "b.toml",
            "c.toml",
            "--report",
            "report.json",
        ])
        .ended(2);
    assert_eq!(place.sql("out.db", "SELECT count(*) FROM c"), [["8000"]]);
    let reports: serde_json::Value = serde_json::from_str(&place.read("report.json")).unwrap();
    let reports = reports.as_array().unwrap();
    let names: Vec<_> = reports.iter().map(|report| &report["pipeline"]).collect();
    assert_eq!(names, ["a", "b", "c"]);
    // 6 is worse than 2.
    place.mixflow(&["run", "a.toml", "b.toml"]).ended(6);
    place
        .mixflow(&["run", "nowhere.toml"])
        .ended(2)
        .says("cannot read the pipeline file `nowhere.toml`");
}

#[test]
fn a_report_has_everything_that_was_promised() {
    let sim = sample_sim();
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[
        "name = \"mine\"",
        &events(&sim, "window_days = 7"),
        DUCKDB,
    ]));
    ran.ended(0);
    for (key, value) in [
        ("pipeline", "mine"),
        ("source", "mixpanel_events"),
        ("sink", "duckdb"),
        ("table", "events"),
        ("data_type", "events"),
        ("status", "committed"),
        ("from_date", "2024-01-01"),
        ("to_date", "2024-01-14"),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    for (key, value) in [
        ("row_count", 8_000),
        ("rejected", 0),
        ("duplicates", 0),
        ("requests", 2),
        ("retries", 0),
    ] {
        assert_eq!(report[key], value, "{key}");
    }
    assert!(report["bytes_received"].as_u64().unwrap() > 100_000);
    assert!(report["duration_seconds"].as_f64().unwrap() > 0.0);
    assert!(report["completed_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(report["failed_partitions"], serde_json::json!([]));
    assert_eq!(report["warnings"], serde_json::json!([]));
    assert!(report["error"].is_null());
    let partition = &report["partitions"][1];
    for (key, value) in [
        ("label", serde_json::json!("2024-01-08..2024-01-14")),
        ("status", serde_json::json!("done")),
        ("attempts", serde_json::json!(1)),
        ("error", serde_json::Value::Null),
    ] {
        assert_eq!(partition[key], value, "{key}");
    }
    let by_event = partition["rows_by_event"].as_object().unwrap();
    let rows: u64 = by_event.values().map(|rows| rows.as_u64().unwrap()).sum();
    assert_eq!(partition["rows"], rows);
    let at = |key: &str| partition[key].as_f64().unwrap();
    let spent = at("fetch_seconds") + at("decode_seconds") + at("queue_seconds");
    assert!(at("fetch_seconds") > 0.0 && at("decode_seconds") > 0.0 && at("write_seconds") > 0.0);
    assert!(spent <= at("ended_seconds") - at("started_seconds") + 0.1);
    assert!(at("ended_seconds") <= report["duration_seconds"].as_f64().unwrap());
    // The history has it, too.
    let runs = place.mixflow(&["runs", "--format", "json"]).ended(0);
    let runs: serde_json::Value = serde_json::from_slice(&runs.stdout).unwrap();
    assert_eq!(runs[0]["run_id"], report["run_id"]);
    assert_eq!(runs[0]["row_count"], report["row_count"]);

    let source = events(&sim, "").replace("username = \"sim\"", "username = \"nobody\"");
    let (_, report) = place.run(&pipeline(&[&source, STDOUT]));
    assert_eq!(report["status"], "aborted");
    assert_eq!(report["error"]["kind"], "auth");
    assert_eq!(
        report["error"]["message"],
        "cannot read the events of project 12345"
    );
    assert!(
        report["error"]["causes"][0]
            .as_str()
            .unwrap()
            .contains("401")
    );
    assert!(
        report["error"]["hint"]
            .as_str()
            .unwrap()
            .starts_with("check")
    );
}

#[test]
fn stdout_is_data_and_quiet_is_quiet() {
    let sim = sample_sim();
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[&events(&sim, ""), DUCKDB]));
    let ran = ran.ended(0);
    assert_eq!(ran.stdout, b"");
    // How long it took differs.
    let (said, took) = ran.stderr.split_once(" in out.db in ").unwrap();
    assert_eq!(
        said,
        "committed 8,000 rows from 14 partitions to table events"
    );
    assert!(took.ends_with(" s\n"), "{took}");
    let (ran, _) = place.run_with(
        &pipeline(&[&events(&sim, ""), DUCKDB, "mode = \"replace\"\n"]),
        &["-q"],
    );
    assert_eq!(ran.ended(0).stderr, "");
    // Errors are told all the same.
    place
        .run_with(&pipeline(&[&events(&sim, ""), DUCKDB]), &["-q"])
        .0
        .ended(6)
        .says("error: ");
}

#[test]
fn progress_is_plain_where_there_is_no_terminal() {
    let data = Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14));
    let sim = started(sim(data).latency(std::time::Duration::from_millis(500)));
    let place = Place::new();
    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, "window_days = 1"), DUCKDB]),
    );
    let ran = place.mixflow(&["run", "test.toml"]).ended(0);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!((2..=3).contains(&lines.len()), "{}", ran.stderr);
    assert!(lines[0].contains("of 14 partitions, "), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\r'));

    place.write(
        "test.toml",
        &pipeline(&[&events(&sim, "window_days = 7"), STDOUT]),
    );
    let ran = place
        .mixflow(&["run", "test.toml", "--progress", "json"])
        .ended(0);
    let line: serde_json::Value = serde_json::from_str(ran.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(line["partitions"], 2);
}

#[test]
fn query_reads_a_database() {
    let sim = sample_sim();
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let ran = place
        .mixflow(&[
            "query",
            "--db",
            "out.db",
            "SELECT count(*) AS n, NULL AS nothing FROM events",
        ])
        .ended(0);
    insta::assert_snapshot!(ran.stdout_lossy(), @r"
    ┌──────┬─────────┐
    │    n │ nothing │
    ├──────┼─────────┤
    │ 8000 │ NULL    │
    └──────┴─────────┘
    1 row
    ");
    place
        .mixflow(&["query", "--db", "out.db", "SELECT nope FROM events"])
        .ended(1)
        .says("Binder Error: Referenced column \"nope\" not found");
    place
        .mixflow(&["query", "--db", "out.db", "DELETE FROM events"])
        .ended(1)
        .says("read-only");
    place
        .mixflow(&["query", "--db", "nowhere.db", "SELECT 1"])
        .ended(6);
    place
        .mixflow(&["query", "SELECT 1"])
        .ended(2)
        .says("--db PATH");
}

#[test]
fn help_and_version_are_there() {
    let place = Place::new();
    let help = place.mixflow(&["--help"]).ended(0).stdout_lossy();
    for command in ["run", "check", "plan", "fetch", "query", "components"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let version = place.mixflow(&["--version"]).ended(0).stdout_lossy();
    assert_eq!(version, format!("mixflow {}\n", env!("CARGO_PKG_VERSION")));
    place.mixflow(&["rnu"]).ended(2);
    place.mixflow(&[]).ended(2);
}
