//! `mixflow replay`: the same table out of the archive, without a request.

use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};
use mixflow_tests::sim::{Data, ExportQuery, Simulator};
use serde_json::{Value, json};

use crate::rows::form::{Event, assert_same, expected_events, in_lines, sorted, written_by};
use crate::support::{DUCKDB, Place, Ran, STDOUT, events, pipeline, sim, started, workers};

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 7), 1_400, 0, seed)
}

const ARCHIVE: &str = "[archive]\npath = \"archive\"\n";

/// A week, in windows of a day.
const WEEK: &str = "from = \"2024-01-01\"\nto = \"2024-01-07\"\nwindow_days = 1\n";

fn day(n: i8) -> Date {
    date(2024, 1, n)
}

fn expected(sim: &Simulator, first: i8, last: i8) -> Vec<Event> {
    expected_events(sim, &ExportQuery::new(day(first), day(last)))
}

/// Replays `test.toml` where nothing is known of a server or its secret.
fn replay(place: &Place, more: &[&str]) -> (Ran, Value) {
    let mut args = vec!["replay", "test.toml", "--report", "report.json"];
    args.extend(more);
    let mut command = place.command(&args);
    let ran = Ran::of(command.env_remove("SIM_SECRET").output().unwrap());
    let report = std::fs::read(place.path("report.json")).unwrap();
    (ran, serde_json::from_slice(&report).unwrap())
}

fn again(path: &str) -> String {
    format!("sink.path={path}")
}

/// The body of a day's window, the newest one.
fn body(place: &Place, day: i8) -> PathBuf {
    let folder = place.path(format!("archive/12345/events/2024-01-0{day}"));
    let entries = std::fs::read_dir(folder).unwrap();
    let mut bodies: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() == "gz")
        .collect();
    // The time of fetching is behind the key of the unit.
    bodies.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.split_once('-').unwrap().1.to_owned()
    });
    bodies.pop().unwrap()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_replay_gives_the_rows_of_the_run_without_a_server() {
    let server = started(sim(data(1)));
    let rows = sorted(expected(&server, 1, 7));
    let sinks = [("duckdb", "db"), ("parquet", "parquet"), ("jsonl", "jsonl")];
    let places = sinks.map(|(kind, end)| {
        let place = Place::new();
        let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"run.{end}\"\n");
        let dedupe = "[[transform]]\ntype = \"dedupe\"\n";
        let text = pipeline(&[&events(&server, WEEK), dedupe, ARCHIVE, &sink, &workers(2)]);
        place.run(&text).0.ended(0);
        place
    });
    drop(server);
    for (place, (kind, end)) in places.iter().zip(sinks) {
        let path = format!("again.{end}");
        let (ran, report) = replay(place, &["--set", &again(&path)]);
        ran.ended(0).says("committed 1,400 rows from 7 partitions");
        assert_eq!(report["requests"], 0);
        assert_eq!(report["bytes_received"], 0);
        let ran = written_by(kind, &place.path(format!("run.{end}")));
        assert_same(&written_by(kind, &place.path(path)), &ran);
        assert_same(&ran, &rows);
    }
}

#[test]
fn a_replay_needs_no_variable_that_only_a_server_is_asked_with() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let url = format!("\"{}\"", server.base_url());
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    let text = text
        .replace("\"sim\"", "\"${NO_SUCH_USER}\"")
        .replace(&url, "\"${NO_SUCH_URL}\"");
    place.write("test.toml", &text);
    place.mixflow(&["check", "test.toml"]).ended(2);
    replay(&place, &["--set", &again("again.db")]).0.ended(0);
    // Nor any at all.
    let line = text.lines().find(|line| line.starts_with("auth")).unwrap();
    place.write("test.toml", &text.replace(line, ""));
    let (ran, _) = replay(&place, &["--set", &again("third.db")]);
    ran.ended(0);
    assert_same(
        &written_by("duckdb", &place.path("third.db")),
        &sorted(expected(&server, 1, 7)),
    );
}

#[test]
fn the_newest_body_of_each_day_counts_whatever_the_windows() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let first = expected(&server, 1, 7);
    let fetch = |days: &str, seed| {
        server.set_data(data(seed));
        let sink = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";
        let source = events(&server, days);
        place.run(&pipeline(&[&source, ARCHIVE, sink])).0.ended(0);
    };
    let days = |from, to| {
        format!("from = \"2024-01-0{from}\"\nto = \"2024-01-0{to}\"\nwindow_days = 30\n")
    };
    fetch(&days(1, 7), 1);
    fetch(&days(2, 2), 2);
    let second = expected(&server, 2, 2);
    fetch(&days(4, 6), 3);
    let third = expected(&server, 4, 6);
    fetch(&days(5, 5), 4);
    let fourth = expected(&server, 5, 5);
    let of = |rows: &[Event], days: &[i8]| -> Vec<Event> {
        let on = |event: &&Event| {
            let time = jiff::Timestamp::from_microsecond(event.event_time_us).unwrap();
            let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
            days.iter().any(|n| date == day(*n))
        };
        rows.iter().filter(on).cloned().collect()
    };
    let model = sorted(
        [
            of(&first, &[1, 3, 7]),
            second,
            of(&third, &[4, 6]),
            fourth.clone(),
        ]
        .concat(),
    );
    // Nothing of it but the fifth is asked for now.
    let source = events(&server, WEEK);
    place.write("test.toml", &pipeline(&[&source, ARCHIVE, DUCKDB]));
    let (ran, report) = replay(&place, &["--set", &again("again.db")]);
    ran.ended(0);
    let labels = report["partitions"].as_array().unwrap().iter();
    let labels: Vec<&str> = labels.map(|unit| unit["label"].as_str().unwrap()).collect();
    let expected_labels = [
        "2024-01-01",
        "2024-01-02",
        "2024-01-03",
        "2024-01-04",
        "2024-01-05",
        "2024-01-06",
        "2024-01-07",
    ];
    assert_eq!(labels, expected_labels);
    let table = written_by("duckdb", &place.path("out.db"));
    assert_same(&table, &model);
    assert_same(&written_by("duckdb", &place.path("again.db")), &table);

    // Raw records as well, and only some of the days.
    place.write("test.toml", &pipeline(&[&source, ARCHIVE, STDOUT]));
    let some = ["--from", "2024-01-05", "--to", "2024-01-06"];
    let (ran, _) = replay(&place, &some);
    let rows: Vec<Event> = in_lines(&ran.ended(0).stdout);
    assert_same(&sorted(rows), &sorted([of(&third, &[6]), fourth].concat()));
    let raw = format!("{STDOUT}format = \"raw\"\n");
    place.write("test.toml", &pipeline(&[&source, ARCHIVE, &raw]));
    let (ran, _) = replay(&place, &[]);
    let lines = ran.ended(0).stdout_lossy().lines().count();
    assert_eq!(lines, model.len());
}

#[test]
fn days_begin_in_the_projects_zone() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let zone = "timezone = \"US/Pacific\"\n";
    let sink = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";
    let week = format!(
        "{}{zone}",
        WEEK.replace("window_days = 1", "window_days = 7")
    );
    let run = |days: &str| {
        let text = pipeline(&[&events(&server, days), ARCHIVE, sink]);
        place.run(&text).0.ended(0);
    };
    run(&week);
    server.set_data(data(2));
    run(&format!(
        "from = \"2024-01-03\"\nto = \"2024-01-04\"\nwindow_days = 1\n{zone}"
    ));
    let text = pipeline(&[&events(&server, &week), ARCHIVE, DUCKDB]);
    place.write("test.toml", &text);
    replay(&place, &["--set", &again("again.db")]).0.ended(0);
    let table = written_by("duckdb", &place.path("out.db"));
    assert_same(&written_by("duckdb", &place.path("again.db")), &table);
}

#[test]
fn what_is_missing_or_damaged_is_named_and_the_rest_is_there() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    flip(&body(&place, 2));
    std::fs::remove_file(body(&place, 4)).unwrap();
    std::fs::remove_dir_all(place.path("archive/12345/events/2024-01-06")).unwrap();
    let note = body(&place, 7).with_extension("").with_extension("json");
    flip(&note);
    let (ran, report) = replay(&place, &["--set", &again("again.db"), "--to", "2024-01-08"]);
    ran.ended(3)
        .says("missing: 2024-01-02, 2024-01-04, 2024-01-06, 2024-01-07, 2024-01-08")
        .says("mixflow run test.toml --only-failed");
    assert_eq!(
        report["failed_partitions"],
        json!([
            "2024-01-02",
            "2024-01-04",
            "2024-01-06",
            "2024-01-07",
            "2024-01-08"
        ])
    );
    let errors: Vec<&str> = report["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|unit| unit["error"].as_str())
        .collect();
    for (error, says) in errors.iter().zip([
        "it has other bytes than were fetched",
        "No such file",
        "the archive `archive` has no 2024-01-06",
        "the `.json` beside it cannot be used",
        "the archive `archive` has no 2024-01-08",
    ]) {
        assert!(error.contains(says), "{error}");
    }
    let rows = [1, 3, 5].map(|day| expected(&server, day, day)).concat();
    assert_same(
        &written_by("duckdb", &place.path("again.db")),
        &sorted(rows),
    );
    // What is missing can be fetched, and is then there to be replayed.
    let run = [
        "run",
        "test.toml",
        "--only-failed",
        "--set",
        "sink.path=again.db",
    ];
    place
        .mixflow(&[&run[..], &["--to", "2024-01-08"]].concat())
        .ended(0);
    replay(&place, &["--set", &again("third.db")]).0.ended(0);
    assert_same(
        &written_by("duckdb", &place.path("third.db")),
        &sorted(expected(&server, 1, 7)),
    );
}

/// An older body is whole, and not what the table has.
#[test]
fn no_older_body_takes_the_place_of_one_that_is_damaged() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    server.set_data(data(2));
    place.run(&format!("{text}mode = \"replace\"\n")).0.ended(0);
    let newest = body(&place, 2);
    flip(&newest);
    let set = again("again.db");
    let (ran, _) = replay(&place, &["--set", &set]);
    ran.ended(3).says("missing: 2024-01-02");
    // Nor one whose note is lost.
    std::fs::remove_file(newest.with_extension("").with_extension("json")).unwrap();
    let (ran, _) = replay(&place, &["--set", &set, "--set", "sink.mode=replace"]);
    ran.ended(3).says("missing: 2024-01-02");
}

#[test]
fn without_anything_to_replay_it_fails_and_writes_nothing() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    place.write("test.toml", &text);
    let (ran, report) = replay(&place, &[]);
    ran.ended(1)
        .says("there is nothing to replay of the events of project 12345")
        .says("the archive `archive` has nothing of 2024-01-01..2024-01-07");
    assert_eq!(report["status"], "aborted");
    assert_eq!(place.names(), Vec::<String>::new());
    // All of it damaged.
    place.run(&text).0.ended(0);
    for day in 1..=7 {
        flip(&body(&place, day));
    }
    replay(&place, &["--set", &again("again.db")]).0.ended(1);
    assert!(!place.path("again.db").exists());

    place.write("test.toml", &pipeline(&[&events(&server, WEEK), DUCKDB]));
    replay(&place, &[])
        .0
        .ended(2)
        .says("there is no `[archive]` table");
    assert_eq!(server.requests().len(), 7);
}

#[test]
fn other_data_in_the_same_archive_is_not_mixed_in() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    server.set_data(data(2));
    for other in [
        "events = [\"Sign Up\"]\n",
        "where = 'properties[\"plan\"] == \"pro\"'\n",
        "timezone = \"US/Pacific\"\n",
        "window_days = 30\nlimit = 3\n",
    ] {
        let days = WEEK.replace("window_days = 1\n", "");
        let days = match other.contains("window_days") {
            true => format!("{days}{other}"),
            false => format!("{WEEK}{other}"),
        };
        let text = pipeline(&[&events(&server, &days), ARCHIVE, DUCKDB]);
        place
            .run_with(
                &text,
                &[
                    "--set",
                    "sink.path=other.db",
                    "--set",
                    "sink.mode=replace",
                    "--set",
                    "sink.allow_shrink=true",
                ],
            )
            .0
            .ended(0);
    }
    place.write("test.toml", &text);
    replay(&place, &["--set", &again("again.db")]).0.ended(0);
    let run = written_by("duckdb", &place.path("out.db"));
    assert_same(&written_by("duckdb", &place.path("again.db")), &run);
}

#[test]
fn a_body_of_times_in_milliseconds_is_read_as_such() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let days = format!("{WEEK}time_in_ms = true\n");
    let text = pipeline(&[&events(&server, &days), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    // The file has changed its mind; the bodies are what they are.
    place.write(
        "test.toml",
        &pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]),
    );
    replay(&place, &["--set", &again("again.db")]).0.ended(0);
    let run = written_by("duckdb", &place.path("out.db"));
    assert_same(&written_by("duckdb", &place.path("again.db")), &run);
}

#[test]
fn an_archive_that_is_copied_is_an_archive_there() {
    let server = started(sim(data(1)));
    let (here, there) = (Place::new(), Place::new());
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    here.run(&text).0.ended(0);
    let copied = std::process::Command::new("cp")
        .args(["-r".as_ref(), here.path("archive").as_os_str()])
        .arg(there.path("archive"))
        .status();
    assert!(copied.unwrap().success());
    there.write("test.toml", &text);
    there.mixflow(&["archive", "verify", "test.toml"]).ended(0);
    replay(&there, &[]).0.ended(0);
    assert_same(
        &written_by("duckdb", &there.path("out.db")),
        &sorted(expected(&server, 1, 7)),
    );
}

/// A server that sends nearly nothing and calls it a success: the run refuses
/// that, and so must what comes after it.
#[test]
fn what_a_run_has_refused_counts_only_where_there_is_nothing_else() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&server, WEEK), ARCHIVE, DUCKDB]);
    let text = format!("{text}mode = \"replace\"\n");
    place.run(&text).0.ended(0);
    server.set_data(Data::default());
    place.run(&text).0.ended(1).says("less than half");
    let (ran, _) = replay(&place, &["--set", &again("again.db")]);
    ran.ended(0);
    let run = written_by("duckdb", &place.path("out.db"));
    assert_eq!(run.len(), 1_400);
    assert_same(&written_by("duckdb", &place.path("again.db")), &run);
    place.mixflow(&["archive", "verify", "test.toml"]).ended(0);

    server.set_data(data(2));
    let place = Place::new();
    let strict = format!("{text}[run]\nmin_rows = 5000\n");
    place.run(&strict).0.ended(1);
    place.write("test.toml", &text);
    replay(&place, &[]).0.ended(0);
    assert_same(
        &written_by("duckdb", &place.path("out.db")),
        &sorted(expected(&server, 1, 7)),
    );
}

/// What the ledger says of a day does not depend on which way its rows came.
#[test]
fn the_ledger_of_a_replay_says_what_that_of_the_runs_says() {
    let server = started(sim(data(1)));
    let place = Place::new();
    let sink = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";
    let run = |days: &str, now: &str| {
        let text = pipeline(&[&events(&server, days), ARCHIVE, sink]);
        place.write("test.toml", &text);
        let mut command = place.command(&["run", "test.toml"]);
        Ran::of(command.env("MIXFLOW_NOW", now).output().unwrap()).ended(0);
    };
    let week = WEEK.replace("window_days = 1", "window_days = 7");
    // The last day is not over.
    run(&week, "2024-01-07T18:00:00Z");
    server.set_data(data(2));
    run(
        "from = \"2024-01-03\"\nto = \"2024-01-04\"\nwindow_days = 1\n",
        "2024-01-09T18:00:00Z",
    );
    let text = pipeline(&[&events(&server, &week), ARCHIVE, DUCKDB]);
    place.write("test.toml", &text);
    replay(&place, &["--set", &again("again.db")]).0.ended(0);
    let days = |db: &str| {
        let columns = "day, state, rows, duplicates, bytes, fetched_at";
        place.sql(
            db,
            &format!("SELECT {columns} FROM _mixflow_days ORDER BY day"),
        )
    };
    let of_runs = days("out.db");
    assert_eq!(of_runs.len(), 7);
    assert_eq!((&*of_runs[0][1], &*of_runs[6][1]), ("complete", "partial"));
    assert_eq!(days("again.db"), of_runs);
}
