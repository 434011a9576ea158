//! What a destination holds, day by day: `mixflow status` and `mixflow gaps`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use jiff::civil::{Date, date};
use mixflow_tests::sim::{Data, Fault, Simulator};
use serde_json::{Value, json};

use crate::support::{
    DUCKDB, Place, Ran, STDOUT, events, on_a_terminal, pipeline, profiles, sim, started,
};

const REPLACING: &str =
    "[sink]\ntype = \"duckdb\"\npath = \"mixpanel.db\"\nmode = \"replace_window\"\n";

/// How the picture is drawn again: `PICTURES=1 cargo nextest run …`.
const AGAIN: &str = "PICTURES";

/// A command at another time.
fn at(place: &Place, now: &str, args: &[&str]) -> Command {
    let mut command = place.command(args);
    command.env("MIXFLOW_NOW", now);
    // Looking needs no secret.
    if args[0] != "run" {
        command.env_remove("SIM_SECRET");
    }
    command
}

fn run_at(place: &Place, now: &str, args: &[&str]) -> Ran {
    Ran::of(at(place, now, args).output().unwrap())
}

/// Rows of JSON, as `members` of each.
fn shown(place: &Place, now: &str, args: &[&str], members: &[&str]) -> Vec<Value> {
    let args = [args, &["--format", "json"]].concat();
    let ran = run_at(place, now, &args);
    let rows: Vec<Value> = serde_json::from_slice(&ran.stdout).expect(&ran.stderr);
    rows.iter()
        .map(|row| members.iter().map(|name| row[name].clone()).collect())
        .collect()
}

/// Ten events on each day from the 1st to the 20th of January, but none on the 3rd.
fn twenty_days() -> Simulator {
    let days = (1..=20).filter(|day| *day != 3);
    let days =
        days.map(|day| Data::generated_between(date(2024, 1, day), date(2024, 1, day), 10, 0, 7));
    started(sim(days.reduce(Data::merged).unwrap()))
}

const NOW: &str = "2024-01-12T09:00:00Z";

/// Runs of a morning and of a noon; a window that failed.
fn filled() -> (Place, Simulator) {
    let sim = twenty_days();
    sim.add_fault(Fault::parse("export from=2024-01-05 always status=500").unwrap());
    let place = Place::new();
    let days = "from = \"2024-01-02\"\nto = \"yesterday\"\nlookback = \"3d\"\nstart = \"2024-01-02\"\nwindow_days = 1\n";
    let kept = "[run]\non_failure = \"keep\"\n";
    place.write(
        "daily.toml",
        &pipeline(&[&events(&sim, days), REPLACING, kept]),
    );
    run_at(&place, "2024-01-08T03:00:00Z", &["run", "daily.toml"]).ended(3);
    let noon = ["run", "daily.toml", "--from", "2024-01-10", "--to", "today"];
    run_at(&place, "2024-01-10T12:00:00Z", &noon).ended(0);
    (place, sim)
}

#[test]
fn each_day_stands_as_it_was_fetched() {
    let (place, _sim) = filled();
    let states = shown(&place, NOW, &["status", "daily.toml"], &["day", "state"]);
    let expected = [
        ("02", "complete"),
        ("03", "empty"),
        ("04", "complete"),
        ("05", "missing"),
        ("06", "stale"),
        ("07", "stale"),
        ("08", "missing"),
        ("09", "missing"),
        ("10", "partial"),
        ("11", "missing"),
    ];
    assert_eq!(
        states,
        expected.map(|(day, state)| json!([format!("2024-01-{day}"), state]))
    );
    let ran = run_at(&place, NOW, &["gaps", "daily.toml", "--format", "csv"]).ended(3);
    assert_eq!(
        ran.stdout_lossy(),
        "first,last,days\n2024-01-05,2024-01-05,1\n2024-01-08,2024-01-11,4\n"
    );
    let days = ["--from", "2024-01-02", "--to", "-8d"];
    let whole = [&["gaps", "daily.toml", "--format", "csv"], &days[..]].concat();
    let ran = run_at(&place, NOW, &whole).ended(0);
    assert_eq!(ran.stdout_lossy(), "first,last,days\n");
}

#[test]
fn a_row_says_what_the_table_has_and_who_fetched_it() {
    let (place, _sim) = filled();
    let args = ["status", "daily.toml", "--to", "2024-01-05"];
    let members = ["day", "rows", "duplicates", "fetched_at", "run_id"];
    let rows = shown(&place, NOW, &args, &members);
    let runs = place.mixflow(&["runs", "--format", "json"]).ended(0);
    let runs: Value = serde_json::from_slice(&runs.stdout).unwrap();
    let first = &runs[1]["run_id"];
    for (row, (day, count)) in rows.iter().zip([("02", 10), ("03", 0), ("04", 10)]) {
        let fetched_at = row[3].as_str().unwrap();
        assert!(fetched_at.starts_with("2024-01-08T03:"), "{fetched_at}");
        let day = format!("2024-01-{day}");
        assert_eq!(row, &json!([day, count, 0, fetched_at, first]));
    }
    assert_eq!(rows[3], json!(["2024-01-05", 0, 0, null, null]));
    let bytes = shown(&place, NOW, &args, &["bytes"]);
    assert!(bytes[0][0].as_u64() > Some(10 * 50), "{bytes:?}");
    assert_eq!((&bytes[1][0], &bytes[3][0]), (&json!(0), &json!(0)));
}

#[test]
fn a_destination_that_is_not_there_is_missing_and_is_not_made() {
    let sim = twenty_days();
    let place = Place::new();
    let days = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-09\"\n";
    let file = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"append\"\n";
    let folder = "[sink]\ntype = \"parquet\"\npath = \"out\"\nmode = \"replace_window\"\n";
    for sink in [DUCKDB, REPLACING, file, folder] {
        let place = Place::new();
        place.write("daily.toml", &pipeline(&[&events(&sim, days), sink]));
        let states = shown(&place, NOW, &["status", "daily.toml"], &["state"]);
        assert_eq!(states, vec![json!(["missing"]); 3], "{sink}");
        let ran = run_at(&place, NOW, &["gaps", "daily.toml", "--format", "jsonl"]);
        let gap = "{\"first\":\"2024-01-09\",\"last\":\"2024-01-11\",\"days\":3}\n";
        assert_eq!(ran.ended(3).stdout_lossy(), gap, "{sink}");
        assert!(place.names().is_empty() && !place.path("state").exists());
    }
    // Without `start`, and without a day that is held: what the file asks for.
    let days = "from = \"2024-01-10\"\nto = \"2024-01-10\"\n";
    place.write("daily.toml", &pipeline(&[&events(&sim, days), DUCKDB]));
    let gaps = shown(&place, NOW, &["gaps", "daily.toml"], &["first", "last"]);
    assert_eq!(gaps, [json!(["2024-01-10", "2024-01-11"])]);
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn json_lines_that_are_added_to_are_counted_until_their_file_is_gone() {
    let sim = twenty_days();
    let place = Place::new();
    let file = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
    let days = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";
    place.write("a.toml", &pipeline(&[&events(&sim, days), file]));
    let status = || {
        shown(
            &place,
            NOW,
            &["status", "a.toml", "--to", "2024-01-05"],
            &["state", "rows"],
        )
    };
    let append = ["run", "a.toml", "--set", "sink.mode=append"];
    run_at(&place, NOW, &append).ended(0);
    run_at(
        &place,
        NOW,
        &[&append[..], &["--from", "2024-01-04"]].concat(),
    )
    .ended(0);
    let [complete, empty, twice, missing] = [
        json!(["complete", 10]),
        json!(["empty", 0]),
        json!(["complete", 20]),
        json!(["missing", 0]),
    ];
    let expected = [&complete, &complete, &empty, &twice, &missing].map(Clone::clone);
    assert_eq!(status(), expected);
    // By whatever name, and whatever the pipeline's file is called.
    std::fs::copy(place.path("a.toml"), place.path("b.toml")).unwrap();
    let other = place.path("out.jsonl");
    let set = format!("sink.path={}", other.display());
    let elsewhere = ["status", "b.toml", "--set", &set, "--to", "2024-01-05"];
    assert_eq!(shown(&place, NOW, &elsewhere, &["state", "rows"]), expected);
    // Another dataset.
    let filtered = [
        "gaps",
        "a.toml",
        "--set",
        "source.events=[\"A\"]",
        "--from",
        "2024-01-01",
    ];
    assert_eq!(shown(&place, NOW, &filtered, &["days"]), [json!([11])]);
    std::fs::remove_file(other).unwrap();
    assert_eq!(status()[0], missing);
    // What replaces a file leaves nothing of what it was.
    let replace = [
        "run",
        "a.toml",
        "--set",
        "sink.mode=replace",
        "--set",
        "sink.allow_shrink=true",
    ];
    run_at(&place, NOW, &replace).ended(0);
    run_at(
        &place,
        NOW,
        &[&replace[..], &["--from", "2024-01-02"]].concat(),
    )
    .ended(0);
    assert_eq!(
        status(),
        [complete, empty, json!(["complete", 10]), missing]
    );
}

#[test]
fn what_keeps_no_ledger_catches_up_by_the_state() {
    let sim = twenty_days();
    let days = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-01\"\nwindow_days = 1\n";
    let file = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"append\"\n";
    for sink in [file, STDOUT] {
        let place = Place::new();
        place.write("daily.toml", &pipeline(&[&events(&sim, days), sink]));
        let mut lines = Vec::new();
        let mut requests = Vec::new();
        for day in [3, 3, 7] {
            sim.clear_log();
            let now = format!("2024-01-{day:02}T03:00:00Z");
            let ran = run_at(&place, &now, &["run", "daily.toml"]).ended(0);
            requests.push(sim.requests().len());
            lines.extend(ran.stdout_lossy().lines().map(str::to_owned));
        }
        assert_eq!(requests, [2, 0, 4], "{sink}");
        if sink == file {
            lines.extend(place.read("out.jsonl").lines().map(str::to_owned));
        }
        // Five days of ten events, and each of them once.
        assert_eq!(lines.len(), 50, "{sink}");
        assert_eq!(BTreeSet::from_iter(&lines).len(), 50, "{sink}");
        // Without the state nothing is known, and so all is fetched again.
        std::fs::remove_dir_all(place.path("state")).unwrap();
        let gaps = shown(&place, NOW, &["gaps", "daily.toml"], &["days"]);
        assert_eq!(gaps, [json!([11])]);
    }
}

#[test]
fn a_database_that_is_written_is_locked_and_named() {
    let (place, _sim) = filled();
    let store = mixflow::Store::open(place.path("mixpanel.db")).unwrap();
    for command in ["status", "gaps"] {
        let ran = run_at(&place, NOW, &[command, "daily.toml"]).ended(6);
        ran.says("cannot open `mixpanel.db`")
            .says(&format!("(PID {}) has it open", std::process::id()));
    }
    drop(store);
}

#[test]
fn what_has_no_days_or_days_in_the_wrong_order_is_refused() {
    let sim = twenty_days();
    let place = Place::new();
    place.write("people.toml", &pipeline(&[&profiles(&sim, ""), DUCKDB]));
    for command in ["status", "gaps"] {
        let ran = run_at(&place, NOW, &[command, "people.toml"]).ended(2);
        ran.says("cannot count the days of `people`")
            .says("`mixpanel_profiles` gives no days")
            .says("hint: see `mixflow runs`");
    }
    place.write("daily.toml", &pipeline(&[&events(&sim, ""), DUCKDB]));
    let wrong = [
        "status",
        "daily.toml",
        "--from",
        "2024-01-02",
        "--to",
        "2024-01-01",
    ];
    run_at(&place, NOW, &wrong)
        .ended(2)
        .says("the first day, 2024-01-02, is after the last one, 2024-01-01");
    let unread = ["gaps", "daily.toml", "--from", "last"];
    run_at(&place, NOW, &unread)
        .ended(2)
        .says("`last` is not a date");
}

#[test]
fn a_terminal_shows_a_calendar_that_needs_no_colour() {
    let (place, _sim) = filled();
    let drawn = |args: &[&str], columns| {
        let drawn = on_a_terminal(&at(&place, NOW, args), columns)?;
        Some(drawn.replace("\r\n", "\n"))
    };
    let Some(weeks) = drawn(&["status", "daily.toml"], 80) else {
        return;
    };
    insta::assert_snapshot!(weeks, @r"
    daily: the events of project 12345
    table events in mixpanel.db

                Mon     Tue     Wed     Thu     Fri     Sat     Sun
    2024-01-01          █   10  ·       █   10  ×       ▒   10  ▒   10    40
    2024-01-08  ×       ×       ▄   10  ×                                 10

    █ 2 complete   · 1 empty   ▒ 2 stale   ▄ 1 partial   × 4 missing
    50 rows, 36.08 kB before compression
    missing or partial: 2024-01-05, 2024-01-08 to 2024-01-11 (4 days)
    ");
    let narrow = drawn(&["status", "daily.toml", "--from", "2024-01-08"], 40).unwrap();
    insta::assert_snapshot!(narrow, @r"
    daily: the events of project 12345
    table events in mixpanel.db

                Mon Wed Fri Sun
    2024-01-08  × × ▄ ×         10

    █ 0 complete   · 0 empty   ▒ 0 stale   ▄ 1 partial   × 3 missing
    10 rows, 7.22 kB before compression
    missing or partial: 2024-01-08 to 2024-01-11 (4 days)
    ");
    let months = drawn(&["status", "daily.toml", "--from", "2023-10-30"], 80).unwrap();
    insta::assert_snapshot!(months, @r"
    daily: the events of project 12345
    table events in mixpanel.db

                1       5         10        15        20        25        30
    2023-10                                                               × ×    0
    2023-11     × × × × × × × × × × × × × × × × × × × × × × × × × × × × × ×      0
    2023-12     × × × × × × × × × × × × × × × × × × × × × × × × × × × × × × ×    0
    2024-01     × █ · █ × ▒ ▒ × × ▄ ×                                           50

    █ 2 complete   · 1 empty   ▒ 2 stale   ▄ 1 partial   × 68 missing
    50 rows, 36.08 kB before compression
    missing or partial: 2023-10-30 to 2024-01-01 (64 days), 2024-01-05, 2024-01-08 to 2024-01-11 (4 days)
    ");
    let nothing = ["status", "daily.toml", "--from", "2024-01-12"];
    assert!(drawn(&nothing, 80).unwrap().contains("no day to show yet"));
    // A format that was asked for is given.
    let table = [
        "status",
        "daily.toml",
        "--format",
        "table",
        "--to",
        "2024-01-02",
    ];
    assert!(drawn(&table, 100).unwrap().contains("│ day "));
}

/// Four months: three windows that failed, an outage, a run at noon, a day
/// without events, and days that may still change.
fn four_months() -> Place {
    let days = |from: Date, to: Date, rows| Data::generated_between(from, to, rows, 0, 7);
    let before = days(date(2023, 11, 1), date(2023, 12, 24), 21_000);
    let after = days(date(2023, 12, 26), date(2024, 2, 29), 29_000);
    let fault = |day| Fault::parse(&format!("export from=2023-12-{day} always status=500"));
    let faults = [11, 12, 13].map(fault).into_iter();
    let sim = faults.fold(sim(before.merged(after)), |sim, fault| {
        sim.fault(fault.unwrap())
    });
    let sim = started(sim);
    let place = Place::new();
    let source = events(
        &sim,
        "from = \"2023-11-01\"\nto = \"yesterday\"\nlookback = \"5d\"\nwindow_days = 1\n",
    );
    let run = "[run]\nworkers = 4\non_failure = \"keep\"\n";
    place.write("daily.toml", &pipeline(&[&source, REPLACING, run]));
    let runs = [
        ("2024-01-31T03:00:00Z", ["2023-11-01", "yesterday"], 3),
        ("2024-02-05T12:00:00Z", ["2024-01-31", "today"], 0),
        ("2024-03-01T03:00:00Z", ["2024-02-15", "yesterday"], 0),
    ];
    for (now, [from, to], code) in runs {
        let args = ["run", "daily.toml", "--from", from, "--to", to];
        run_at(&place, now, &args).ended(code);
    }
    place
}

#[test]
fn the_picture_of_the_page_is_what_a_terminal_shows() {
    let place = four_months();
    let args = ["status", "daily.toml", "--color", "always"];
    let Some(drawn) = on_a_terminal(&at(&place, "2024-03-01T09:00:00Z", &args), 80) else {
        return;
    };
    let drawn = format!(
        "$ mixflow status daily.toml\n{}",
        drawn.replace("\r\n", "\n")
    );
    let svg = anstyle_svg::Term::new().render_svg(&drawn);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/status.svg");
    if std::env::var_os(AGAIN).is_some() {
        std::fs::write(&file, &svg).unwrap();
    }
    assert_eq!(
        svg,
        std::fs::read_to_string(&file).unwrap_or_default(),
        "set {AGAIN}=1 to draw it again"
    );
}

#[test]
fn a_database_is_asked_without_the_pipeline_that_wrote_it() {
    let (place, _sim) = filled();
    let members = ["day", "state", "rows", "run_id"];
    let mut by_file = shown(&place, NOW, &["status", "daily.toml"], &members);
    for day in &mut by_file {
        // Nobody says how long it may still change.
        if day[1] == "stale" {
            day[1] = json!("complete");
        }
    }
    let before = std::fs::read(place.path("mixpanel.db")).unwrap();
    let args = ["status", "--db", "mixpanel.db", "events"];
    assert_eq!(shown(&place, NOW, &args, &members), by_file);
    assert_eq!(shown(&place, NOW, &args[..3], &members), by_file);
    assert_eq!(
        shown(&place, NOW, &args, &["table_name", "filters"])[0],
        json!(["events", {}])
    );
    assert_eq!(std::fs::read(place.path("mixpanel.db")).unwrap(), before);
    run_at(&place, NOW, &["status", "--db", "nowhere.db"]).ended(6);
    run_at(&place, NOW, &["status"]).ended(2);
    run_at(&place, NOW, &["status", "--db", "mixpanel.db", "evnts"])
        .ended(6)
        .says("there is no table `evnts`");
    let Some(drawn) = on_a_terminal(&at(&place, NOW, &args), 80) else {
        return;
    };
    assert!(drawn.contains("table events"), "{drawn}");
}
