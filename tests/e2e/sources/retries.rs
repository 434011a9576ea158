//! Faults that another try mends, and those that it does not.

use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{
    Action, CleanCut, Cut, Data, Endpoint, EngageQuery, ExportQuery, Fault, Matcher, Simulator,
};
use serde_json::Value;

use crate::rows::form::{
    Event, Profile, assert_same, expected_events, expected_profiles, in_lines, in_table,
};
use crate::support::{
    DUCKDB, Place, Ran, STDOUT, events, pipeline, profiles, sim, started, workers,
};

/// Events of four days, 500 each.
fn four_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 4), 2_000, 0, 7)
}

fn four() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 1), date(2024, 1, 4))
}

const FOUR: &str = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";

fn third() -> Matcher {
    Matcher::export_from(date(2024, 1, 3))
}

fn run(sim: &Simulator, place: &Place, sink: &str, n: usize) -> (Ran, Value) {
    place.run(&pipeline(&[&events(sim, FOUR), sink, &workers(n)]))
}

fn status(code: u16) -> Action {
    Action::Status {
        code,
        retry_after: None,
        body: None,
    }
}

fn status_after(code: u16, retry_after: &str) -> Action {
    Action::Status {
        code,
        retry_after: Some(retry_after.to_owned()),
        body: None,
    }
}

/// Faults after which the same request is answered well.
fn passing() -> Vec<(&'static str, Action)> {
    vec![
        ("429", status_after(429, "0")),
        (
            "429 with a date that is past",
            status_after(429, "Mon, 01 Jan 2024 00:00:00 GMT"),
        ),
        ("429 without a word", status(429)),
        ("408", status(408)),
        ("500", status(500)),
        ("502", status(502)),
        ("503", status(503)),
        ("504", status(504)),
        ("drop", Action::Drop),
        ("cut in the middle", Action::CutBody(Cut::Fraction(0.5))),
        ("cut at the start", Action::CutBody(Cut::Bytes(3))),
        ("cut at the end", Action::CutBody(Cut::Fraction(1.0))),
        ("no gzip trailer", Action::CutClean(CleanCut::GzipTrailer)),
        (
            "half of the gzip stream",
            Action::CutClean(CleanCut::GzipMiddle),
        ),
        ("half of the last line", Action::CutClean(CleanCut::Line)),
        ("wrong checksum", Action::CorruptGzip),
        (
            "terminated early",
            Action::TerminatedEarly {
                after_rows: 300,
                text: "export terminated early".to_owned(),
            },
        ),
        (
            "terminated early, before anything",
            Action::TerminatedEarly {
                after_rows: 0,
                text: "terminated early".to_owned(),
            },
        ),
        (
            "an error in the last line",
            Action::ErrorLine { after_rows: 300 },
        ),
    ]
}

#[test]
fn a_passing_fault_loses_nothing_and_repeats_nothing() {
    for (name, action) in passing() {
        let sim = started(sim(four_days()).fault(Fault::once(third(), action)));
        let expected = expected_events(&sim, &four());
        for (sink, n) in [(DUCKDB, 1), (STDOUT, 1), (STDOUT, 2)] {
            eprintln!("{name}, {n} workers, {sink}");
            sim.clear_log();
            let place = Place::new();
            let (ran, report) = run(&sim, &place, sink, n);
            let ran = ran.ended(0);
            let mut rows: Vec<Event> = match sink {
                DUCKDB => in_table(&place.path("out.db"), "events"),
                _ => in_lines(&ran.stdout),
            };
            if n > 1 {
                rows.sort_by_key(|row| row.event_time_us / 86_400_000_000);
            }
            assert_same(&rows, &expected);
            let requests = sim.requests_to(Endpoint::Export).len();
            assert_eq!(report["requests"], requests);
            // The fault is spent with the first of the three runs.
            assert_eq!(report["retries"], requests - 4);
        }
    }
}

#[test]
fn a_passing_fault_is_met_once_by_each_kind_of_delivery() {
    // As above, but with the fault before direct delivery and parallel runs too.
    for (name, action) in passing() {
        for (sink, n) in [(STDOUT, 1), (STDOUT, 3)] {
            let sim = started(sim(four_days()).fault(Fault::once(third(), action.clone())));
            let expected = expected_events(&sim, &four());
            let place = Place::new();
            let (ran, report) = run(&sim, &place, sink, n);
            eprintln!("{name}, {n} workers:\n{}", ran.stderr);
            let mut rows: Vec<Event> = in_lines(&ran.ended(0).stdout);
            rows.sort_by_key(|row| row.event_time_us / 86_400_000_000);
            assert_same(&rows, &expected);
            assert_eq!(report["retries"], 1, "{name}");
        }
    }
}

#[test]
fn tries_run_out() {
    for action in [
        status(503),
        Action::Drop,
        Action::CutBody(Cut::Fraction(0.5)),
        Action::CutClean(CleanCut::GzipTrailer),
    ] {
        let sim = started(sim(four_days()).fault(Fault::always(third(), action.clone())));
        let place = Place::new();
        let (ran, report) = run(&sim, &place, DUCKDB, 1);
        eprintln!("{action:?}:\n{}", ran.stderr);
        ran.ended(1)
            .says("2024-01-03 could not be had in 5 tries")
            .says("nothing was written");
        assert_eq!(report["status"], "aborted");
        assert_eq!(
            report["failed_partitions"],
            serde_json::json!(["2024-01-03"])
        );
        assert_eq!(report["partitions"][2]["attempts"], 5);
        assert_eq!(place.names(), Vec::<String>::new());
    }
}

#[test]
fn other_4xx_are_not_tried_again() {
    for code in [400, 404, 412, 413, 422] {
        let sim = started(sim(four_days()).fault(Fault::always(Matcher::export(), status(code))));
        let (ran, _) = run(&sim, &Place::new(), DUCKDB, 1);
        ran.ended(1).says(&format!("the server answered {code}"));
        assert_eq!(sim.requests().len(), 1, "{code}");
    }
}

#[test]
fn retry_after_is_waited_for_in_seconds_or_until_a_date() {
    let asked = |text: &str| -> Vec<Instant> {
        let sim = started(sim(four_days()).fault(Fault::once(third(), status_after(429, text))));
        let (ran, _) = run(&sim, &Place::new(), DUCKDB, 1);
        ran.ended(0).says("trying again in");
        sim.requests()
            .into_iter()
            .filter(|request| request.param("from_date") == Some("2024-01-03"))
            .map(|request| request.at)
            .collect()
    };
    let third = asked("2");
    assert!(third[1] - third[0] >= Duration::from_secs(2));
    // However long the run takes to its first request, the second one is not
    // before the date.
    let (now, clock) = (jiff::Timestamp::now(), Instant::now());
    let date = jiff::Timestamp::from_second(now.as_second() + 5).unwrap();
    let third = asked(&date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let due = clock + Duration::try_from(date.duration_since(now)).unwrap();
    assert!(third[1] + Duration::from_millis(20) >= due);
}

#[test]
fn a_wait_beyond_max_wait_ends_with_5() {
    let sim = started(sim(four_days()).fault(Fault::always(third(), status_after(429, "7200"))));
    let place = Place::new();
    let (ran, report) = run(&sim, &place, DUCKDB, 1);
    ran.ended(5)
        .says("longer than `max_wait` (60 min)")
        .says("hint: run again later, or raise `source.retry.max_wait`");
    assert_eq!(report["error"]["kind"], "quota");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn our_own_count_of_the_hour_ends_with_5_before_the_server_says_so() {
    let sim = started(sim(four_days()));
    let source = events(&sim, &format!("{FOUR}retry = {{ max_wait = \"1s\" }}"))
        .replace("per_hour = 10000", "per_hour = 3");
    let (ran, _) = Place::new().run(&pipeline(&[&source, DUCKDB]));
    ran.ended(5).says("longer than `max_wait`");
    assert_eq!(sim.requests().len(), 3);
}

#[test]
fn direct_rows_stop_when_the_server_answers_differently() {
    let sim = started(
        sim(Data::generated_between(
            date(2024, 1, 1),
            date(2024, 1, 1),
            30_000,
            0,
            7,
        ))
        .fault(Fault::once(
            Matcher::export(),
            Action::CutBody(Cut::Fraction(0.9)),
        ))
        .fault(Fault::always(Matcher::export(), Action::DifferentOnRetry)),
    );
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"");
    let (ran, report) = Place::new().run(&pipeline(&[&source, STDOUT]));
    let ran = ran.ended(1).says("begins differently now");
    let written = in_lines::<Event>(&ran.stdout).len();
    assert!(written > 0);
    assert_eq!(report["row_count"], written);
    assert_eq!(report["status"], "aborted");
    assert!(
        ran.stderr.contains("cannot be taken back"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_broken_page_of_profiles_is_asked_for_again() {
    for action in [
        status_after(429, "0"),
        status(500),
        Action::Drop,
        Action::CutBody(Cut::Fraction(0.5)),
        Action::CutClean(CleanCut::GzipTrailer),
        Action::ErrorIn200 {
            message: "try later".to_owned(),
        },
        Action::NullResults,
    ] {
        for page in [0, 3] {
            for n in [1, 5] {
                let sim = started(
                    sim(Data::generated(0, 1_234, 3))
                        .page_size(200)
                        .fault(Fault::once(Matcher::engage_page(page), action.clone())),
                );
                let place = Place::new();
                let (ran, report) =
                    place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
                eprintln!("{action:?} on page {page}, {n} workers");
                ran.ended(0);
                let rows: Vec<Profile> = in_table(&place.path("out.db"), "profiles");
                assert_same(&rows, &expected_profiles(&sim, &EngageQuery::default()));
                assert_eq!(report["retries"], 1);
                assert_eq!(report["requests"], 8);
            }
        }
    }
}

#[test]
fn a_slow_answer_is_given_up_and_asked_for_again() {
    use std::time::Duration;
    for (action, timeout) in [
        (
            Action::SlowFirstByte(Duration::from_secs(60)),
            "first_byte_timeout",
        ),
        (
            Action::SlowBody {
                bytes_per_chunk: 1_000,
                pause: Duration::from_secs(60),
            },
            "idle_timeout",
        ),
    ] {
        let sim = started(sim(four_days()).fault(Fault::once(third(), action)));
        let source = events(
            &sim,
            &format!("{FOUR}retry = {{ base_delay = \"1ms\", {timeout} = \"300ms\" }}"),
        );
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&source, DUCKDB]));
        ran.ended(0);
        assert_eq!(report["retries"], 1);
        assert_same(
            &in_table::<Event>(&place.path("out.db"), "events"),
            &expected_events(&sim, &four()),
        );
    }
}

fn expiring(page: u64, times: usize) -> Simulator {
    let fault = || Fault::once(Matcher::engage_page(page), Action::ExpireSession);
    let builder = (0..times).fold(
        sim(Data::generated(0, 1_234, 3)).page_size(100),
        |builder, _| builder.fault(fault()),
    );
    started(builder)
}

#[test]
fn a_session_that_expires_starts_the_snapshot_again_once() {
    for n in [1, 5] {
        let sim = expiring(7, 1);
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
        ran.ended(0)
            .says("expired before page ")
            .says("the run starts over");
        let rows: Vec<Profile> = in_table(&place.path("out.db"), "profiles");
        assert_same(&rows, &expected_profiles(&sim, &EngageQuery::default()));
        assert_eq!(report["partitions"].as_array().unwrap().len(), 13);
        // Page 0 was asked for twice, and nothing was tried in vain.
        let first_pages = sim
            .requests_to(Endpoint::Engage)
            .iter()
            .filter(|request| request.param("page").is_none())
            .count();
        assert_eq!(first_pages, 2);
        assert_eq!(report["retries"], 0);
    }
}

#[test]
fn a_session_that_expires_again_fails_the_run() {
    let sim = expiring(7, 2);
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(3)]));
    ran.ended(1).says("hint: run it again");
    assert_eq!(report["residue"], "none");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_session_that_expires_after_rows_went_out_fails_the_run() {
    let sim = expiring(7, 1);
    let (ran, report) = Place::new().run(&pipeline(&[&profiles(&sim, ""), STDOUT]));
    let ran = ran.ended(1).says("cannot be taken back");
    assert_eq!(in_lines::<Profile>(&ran.stdout).len(), 700);
    assert_eq!(report["row_count"], 700);
}
