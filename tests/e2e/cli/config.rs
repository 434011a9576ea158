//! Bad input: a clear error and exit 2, before any request.

use mixflow_tests::sim::{Data, Simulator};

use crate::support::{DUCKDB, Place, Ran, STDOUT, events, pipeline, profiles, sim, started};

fn refused(sim: &Simulator, text: &str) -> Ran {
    let place = Place::new();
    place.write("test.toml", text);
    let checked = place.mixflow(&["check", "test.toml"]);
    let ran = place.mixflow(&["run", "test.toml"]).ended(2);
    // `check` says the same.
    assert_eq!(checked.code, Some(2));
    assert_eq!(checked.stderr, ran.stderr);
    assert_eq!(ran.stdout, b"");
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), Vec::<String>::new());
    ran
}

#[test]
fn bad_values_are_refused_with_their_place() {
    let sim = started(sim(Data::sample()));
    let dates = |from: &str, to: &str| events(&sim, &format!("from = \"{from}\"\nto = \"{to}\""));
    let with = |more: &str| events(&sim, more);
    let people = |more: &str| profiles(&sim, more);
    let sink = |more: &str| {
        pipeline(&[
            &with(""),
            &format!("[sink]\ntype = \"duckdb\"\npath = \"out.db\"\n{more}"),
        ])
    };
    for (text, says) in [
        (dates("2024-13-45", "2024-01-02"), "`2024-13-45`"),
        (dates("2024-1-5", "2024-01-06"), "`2024-1-5`"),
        (dates("2024-02-30", "2024-03-01"), "`2024-02-30`"),
        (
            dates("2024-01-03", "2024-01-02"),
            "2024-01-03 is after `to`, 2024-01-02",
        ),
        (dates("someday", "today"), "`someday`"),
        (
            sink("storage_version = \"v9\""),
            "`v9` is no version that this DuckDB knows; write one as `v1.2.0` or `v1.4.0`, or `latest`",
        ),
        (with("limit = 0"), "a limit is from 1 to 100000"),
        (with("limit = 100001"), "a limit is from 1 to 100000"),
        (with("limit = -5"), "a limit is from 1 to 100000"),
        (with("limit = \"many\""), "`source.limit`"),
        (
            with("limit = 5\nwindow_days = 1"),
            "this needs one window, and there are 14",
        ),
        (with("events = []"), "this names no event"),
        (with("events = \"Buy\""), "`source.events`"),
        (with("window_days = 0"), "`source.window_days`"),
        (
            with("timezone = \"Mars/Olympus\""),
            "`Mars/Olympus` is not a time zone",
        ),
        (
            with("lookback = \"five\""),
            "`five` is not a number of days",
        ),
        (with("wehre = \"x\""), "did you mean `where`?"),
        (
            with("retry = { base_dealy = \"1s\" }"),
            "did you mean `base_delay`?",
        ),
        (
            with("retry = { base_delay = \"1 parsec\" }"),
            "is not a duration",
        ),
        (
            with("limits = { per_hour = 0 }\n").replacen(
                "limits = { per_second = 10000, per_hour = 10000 }",
                "",
                1,
            ),
            "at least 1 is needed",
        ),
        (
            people("distinct_id = \"a\"\ndistinct_ids = [\"b\"]"),
            "exclude each other",
        ),
        (
            people("cohort_id = 1\nbehaviors = \"[]\""),
            "exclude each other",
        ),
        (people("include_all_users = true"), "this needs `cohort_id`"),
        (people("as_of_timestamp = 1"), "this needs `behaviors`"),
        (
            people("cohort_id = \"mine\""),
            "a cohort's id is a whole number",
        ),
        (people("from = \"2024-01-01\""), "unknown field `from`"),
        (sink("table = \"my table\""), "a table's name is"),
        (
            sink("table = \"_mine\""),
            "names that begin with `_` are mixflow's own",
        ),
        (sink("table = \"1st\""), "a table's name is"),
        (sink("mode = \"replase\""), "did you mean `replace`?"),
        (sink("\n[sinc]\nx = 1"), "did you mean `sink`?"),
        (sink("\n[run]\nworkers = 0"), "`run.workers`"),
        (sink("\n[run]\non_failure = \"ignore\""), "`run.on_failure`"),
        (
            pipeline(&[&people(""), DUCKDB, "mode = \"replace_window\""]),
            "replace_window",
        ),
        (
            pipeline(&[&with(""), "[sink]\ntype = \"duckbd\""]),
            "did you mean `duckdb`?",
        ),
        (
            with("").replace("mixpanel_events", "mixpanel_event"),
            "did you mean `mixpanel_events`?",
        ),
        (with("").replace("12345", "\"12 345\""), "digits only"),
        (with("").replace("http://", ""), "not a base URL"),
        (with("region = \"usa\""), "`source.region`"),
        (
            with("").replace("username = \"sim\", ", ""),
            "either `username` with `secret`",
        ),
        (
            pipeline(&[
                &with(""),
                "[[transform]]\ntype = \"select\"\nkeep = [\"event_nam\"]\n[sink]\ntype = \"jsonl\"",
            ]),
            "did you mean `event_name`?",
        ),
        ("[source\n".to_owned(), "test.toml:1:"),
        (String::new(), "source"),
    ] {
        let text = if text.contains("[sin") {
            text
        } else {
            pipeline(&[&text, DUCKDB])
        };
        eprintln!("--- {says}");
        let ran = refused(&sim, &text);
        eprintln!("{}", ran.stderr);
        ran.says(says);
    }
}

#[test]
fn all_errors_of_a_file_are_shown_at_once_with_a_caret() {
    let place = Place::new();
    place.write(
        "test.toml",
        r#"[source]
type = "synthetic_events"
rows = "many"
sed = 1

[[transform]]
type = "slect"

[sink]
type = "duckdb"
path = "out.db"
table = "my table"

[run]
workers = 1.5
"#,
    );
    let ran = place.mixflow(&["check", "test.toml"]).ended(2);
    insta::assert_snapshot!(ran.stderr, @r#"
    error: test.toml:3:8: `source.rows`: invalid type: string "many", expected a whole number from 0
      |
    3 | rows = "many"
      |        ^^^^^^
    error: test.toml:4:1: `source.sed`: unknown field `sed`, expected one of `rows`, `seed`, `from`, `to`, `users`, did you mean `seed`?
      |
    4 | sed = 1
      | ^^^
    error: test.toml:7:8: `transform.0.type`: there is no transform `slect`, known are `dedupe`, `extract`, `filter`, `hash`, `mask`, `rename`, `select`, did you mean `select`?
      |
    7 | type = "slect"
      |        ^^^^^^^
    error: test.toml:12:9: `sink.table`: a table's name is a letter followed by letters, digits and `_`
       |
    12 | table = "my table"
       |         ^^^^^^^^^^
    error: test.toml:15:11: `run.workers`: invalid type: number `1.5`, expected a whole number from 1
       |
    15 | workers = 1.5
       |           ^^^
    "#);
}

#[test]
fn variables_are_put_in_and_unset_ones_are_named() {
    let sim = started(sim(Data::sample()));
    let text = pipeline(&[
        &events(&sim, "events = [\"${EVENT:-Page View}\", \"${OTHER}\"]"),
        STDOUT,
    ]);
    refused(&sim, &text).says("OTHER").says("test.toml:11:");
    let place = Place::new();
    place.write("test.toml", &text);
    let output = place
        .command(&["run", "test.toml"])
        .env("OTHER", "Sign \"Up\"")
        .output()
        .unwrap();
    Ran::of(output).ended(0);
    assert_eq!(
        sim.requests()[0].param("event"),
        Some(r#"["Page View","Sign \"Up\""]"#)
    );
}

#[test]
fn a_secret_that_is_not_there_is_an_error_when_it_is_needed() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, ""), DUCKDB]).replace("SIM_SECRET", "NO_SUCH_VARIABLE");
    place.write("test.toml", &text);
    place.mixflow(&["check", "test.toml"]).ended(0);
    place
        .mixflow(&["run", "test.toml"])
        .ended(2)
        .says("NO_SUCH_VARIABLE");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn secrets_come_from_files_and_commands_too() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let secret = crate::support::SECRET;
    place.write("secret", &format!("{secret}\n"));
    let source = events(&sim, "");
    let env = "{ env = \"SIM_SECRET\" }";
    for (form, warned) in [
        ("{ file = \"secret\" }", false),
        ("{ command = [\"cat\", \"secret\"] }", false),
        ("\"${SIM_SECRET}\"", false),
        (&format!("\"{secret}\""), true),
    ] {
        let source = source.replace(env, form);
        let (ran, _) = place.run(&pipeline(&[&source, STDOUT]));
        assert_eq!(ran.ended(0).stderr.contains("plain text"), warned, "{form}");
    }
    for (form, says) in [
        ("{ file = \"nowhere\" }", "nowhere"),
        ("{ command = [\"false\"] }", "false"),
        (
            "{ command = [\"no-such-command-here\"] }",
            "no-such-command-here",
        ),
    ] {
        let source = source.replace(env, form);
        let (ran, _) = place.run(&pipeline(&[&source, STDOUT]));
        let ran = ran.says(says);
        assert!(matches!(ran.code, Some(1 | 2)), "{}", ran.stderr);
    }
}

#[test]
fn a_secret_in_a_bad_file_is_not_shown() {
    let place = Place::new();
    let secret = crate::support::SECRET;
    for line in [
        format!("auth = {{ username = 1, secret = \"{secret}\" }}"),
        format!("auth = {{ usrname = \"x\", secret = \"{secret}\" }}"),
        format!("auth = {{ project_secret = [\"{secret}\"] }}"),
        format!("auth = {{ project_secret = {{ evn = \"{secret}\" }} }}"),
        format!("auth = {{ token = \"{secret}\" "),
        format!("auth = \"{secret}\""),
        format!("auth = {{ secret = '{secret}'"),
    ] {
        let text = format!("[source]\ntype = \"mixpanel_events\"\n{line}\n\n{DUCKDB}");
        place.write("test.toml", &text);
        // That nothing tells the secret is asserted for every run.
        let ran = place.mixflow(&["run", "test.toml"]).ended(2);
        eprintln!("{}", ran.stderr);
    }
}

#[test]
fn set_overrides_any_key() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, ""), DUCKDB]);
    let (ran, report) = place.run_with(
        &text,
        &[
            "--set",
            "sink.type=duckdb",
            "--set",
            "sink.table=mine",
            "--set",
            "source.workers=3",
            "--set",
            "source.window_days=7",
            "--from",
            "2024-01-08",
        ],
    );
    ran.ended(0);
    assert_eq!(report["table"], "mine");
    assert_eq!(report["partitions"][0]["label"], "2024-01-08..2024-01-14");

    for (set, says) in [
        ("sink.mode=replase", "did you mean `replace`?"),
        ("sink.mod=replace", "did you mean `mode`?"),
        ("sink", "has no `=`"),
        ("source.limit=none", "--set source.limit=none"),
    ] {
        let (ran, _) = place.run_with(&text, &["--set", set]);
        ran.ended(2).says(says);
    }
    let (ran, _) = place.run_with(&text, &["--to", "2024-99-99"]);
    ran.ended(2).says("--to 2024-99-99");
}

#[test]
fn relative_days_are_the_projects() {
    let place = Place::new();
    place.write(
        "test.toml",
        "[source]\ntype = \"mixpanel_events\"\nproject_id = 1\nauth = { token = { env = \"T\" } }\nfrom = \"-2d\"\nto = \"yesterday\"\nlookback = \"1d\"\nwindow_days = 1\n[sink]\ntype = \"jsonl\"\n",
    );
    let ran = place.mixflow(&["plan", "test.toml"]).ended(0);
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let ago = |days: i64| today.checked_sub(jiff::Span::new().days(days)).unwrap();
    let days = format!("{} to {}", ago(3), ago(1));
    // Midnight may pass in between.
    let days_later = format!("{} to {}", ago(2), today);
    let said = ran.stdout_lossy();
    assert!(said.contains(&days) || said.contains(&days_later), "{said}");
}

/// `check`, `plan` and `run` take from the environment what `fetch` does.
#[test]
fn what_the_file_leaves_out_comes_from_the_environment() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let bare = "[source]\ntype = \"mixpanel_events\"\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n";
    place.write("bare.toml", &pipeline(&[bare, DUCKDB]));
    place.write(
        "other.toml",
        &pipeline(&[&format!("{bare}project_id = 777\n"), DUCKDB]),
    );
    place.write(
        "made.toml",
        &pipeline(&[&bare.replace("mixpanel", "synthetic"), DUCKDB]),
    );
    place.mixflow(&["check", "bare.toml"]).ended(2);
    let with = |args: &[&str]| {
        let mut command = place.command(args);
        command
            .env("MIXPANEL_USERNAME", "sim")
            .env("MIXPANEL_SECRET", crate::support::SECRET)
            .env("MIXPANEL_PROJECT_ID", "12345")
            .env("MIXPANEL_BASE_URL", sim.base_url());
        Ran::of(command.output().unwrap())
    };
    // Other sources have no use for them.
    with(&["check", "bare.toml", "made.toml"]).ended(0);
    with(&["plan", "bare.toml"]).ended(0);
    // What the file says stands.
    let ran = with(&["plan", "other.toml"]).ended(0);
    assert!(ran.stdout_lossy().contains("project 777"));
    with(&["run", "bare.toml"]).ended(0);
}

#[test]
fn a_missing_quote_is_one_mistake() {
    let place = Place::new();
    let right = "[source]\ntype = \"synthetic_events\"\nrows = 3\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n[sink]\ntype = \"jsonl\"\n";
    let auth = "auth = { username = \"sim\", secret = { env = \"X\" } }";
    for (from, to, line) in [
        (
            "rows = 3",
            "auth = { username = \"sim, secret = { env = \"X\" } }",
            3,
        ),
        ("[sink]", "[sink", 6),
        ("\"2024-01-01\"\nto", "\"2024-01-01\nto", 4),
        ("rows = 3", &auth.replacen('"', "", 1), 3),
    ] {
        place.write("t.toml", &right.replacen(from, to, 1));
        let said = place.mixflow(&["check", "t.toml"]).ended(2).stderr;
        assert_eq!(said.matches("error: ").count(), 1, "{to}: {said}");
        assert!(
            said.starts_with(&format!("error: t.toml:{line}:")),
            "{said}"
        );
    }
    // Another mistake is told beside it.
    let two = right
        .replacen("rows = 3", "rows = \"3", 1)
        .replace("type = \"jsonl\"", "type = \"jsonk\"");
    place.write("t.toml", &two);
    let said = place.mixflow(&["check", "t.toml"]).ended(2).stderr;
    assert!(
        said.contains("t.toml:3:") && said.contains("jsonk"),
        "{said}"
    );
}
