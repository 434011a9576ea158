//! What a person sees of a run on a terminal, and how Ctrl-C is answered.

use std::time::Duration;

use mixflow_tests::sim::{Data, Fault, Simulator};

use crate::pty::Terminal;
use crate::support::{DUCKDB, Place, events, pipeline, profiles, sim, started, workers};

/// A simulator of the sample with faults.
fn faulty(faults: &[&str]) -> Simulator {
    let sim = started(sim(Data::sample()));
    for fault in faults {
        sim.add_fault(fault.parse::<Fault>().unwrap());
    }
    sim
}

fn run(place: &Place, text: &str, columns: u16) -> Terminal {
    place.write("test.toml", text);
    Terminal::of(&place.command(&["run", "test.toml"]), columns)
}

const FAST: &str = "limits = { per_second = 10000, per_hour = 10000 }";
const ONE_DAY: &str = "from = \"2024-01-01\"\nto = \"2024-01-01\"";

#[test]
fn one_line_says_what_happens_now_at_any_width() {
    let sim = faulty(&["export always slow_first_byte=1500ms"]);
    let days = "from = \"2024-01-01\"\nto = \"2024-01-02\"";
    let source = events(&sim, days).replace(FAST, "limits = { per_second = 10, per_hour = 50 }");
    for columns in [30, 80, 160] {
        let place = Place::new();
        let terminal = run(&place, &pipeline(&[&source, DUCKDB]), columns);
        terminal.until(|shown| {
            let lines = shown.lines().filter(|line| !line.is_empty());
            assert!(lines.count() <= 1 || shown.contains("committed"), "{shown}");
            shown.contains("fetching")
        });
        if columns > 30 {
            terminal.until(|shown| shown.contains("1 of 2") && shown.contains("requests left"));
        }
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.starts_with("committed"), "{shown}");
    }
}

#[test]
fn a_wait_is_told_with_its_reason_and_a_download_by_its_bytes() {
    let sim = faulty(&["export times=1 status=503 retry_after=3"]);
    let place = Place::new();
    let source = events(&sim, &format!("{ONE_DAY}\nretry = {{ max_attempts = 3 }}"));
    let terminal = run(&place, &pipeline(&[&source, DUCKDB]), 100);
    let waits =
        |line: &str| line.contains("waiting") && line.contains(" s: ") && line.contains("503");
    terminal.until(|shown| shown.lines().any(waits));
    assert_eq!(terminal.end().0, Some(0));

    let sim = faulty(&["export always slow_body=4000/100ms"]);
    let place = Place::new();
    let source = events(&sim, "window_days = 14");
    let terminal = run(&place, &pipeline(&[&source, DUCKDB]), 100);
    terminal.until(|shown| shown.contains("fetching · ") && shown.contains("B received"));
    terminal.press("\x03");
    assert_eq!(terminal.end().0, Some(130));
}

#[test]
fn an_idle_worker_takes_no_line() {
    let sim = faulty(&[
        "export from=2024-01-02 always slow_first_byte=4s",
        "export from=2024-01-01 always slow_first_byte=1s",
        "export from=2024-01-03 always slow_first_byte=1s",
    ]);
    let place = Place::new();
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-03\"");
    let terminal = run(&place, &pipeline(&[&source, DUCKDB, &workers(3)]), 80);
    let busy = |shown: &str| {
        shown
            .lines()
            .filter(|line| line.contains(" 2024-01-0"))
            .count()
    };
    terminal.until(|shown| busy(shown) == 3);
    terminal.until(|shown| busy(shown) == 1 && shown.contains("2 of 3"));
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(busy(&shown), 0, "{shown}");
}

const STOPPING: &str = "stopping; Ctrl-C again leaves at once";

/// Waits for a state, presses Ctrl-C, and looks how that is answered and ends.
#[track_caller]
fn stops(state: &str, terminal: Terminal, is_there: impl Fn(&str) -> bool) {
    terminal.until(is_there);
    terminal.press("\x03");
    let took = terminal.until_shows(STOPPING);
    // The aim is 0.2 s; machines are noisy.
    assert!(took < Duration::from_secs(2), "{state}: {took:?}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{state}: {shown}");
    assert_eq!(shown.matches(STOPPING).count(), 1, "{state}: {shown}");
}

fn fetching(shown: &str) -> bool {
    shown.contains("fetching")
}

fn waiting(shown: &str) -> bool {
    shown.contains("waiting")
}

#[test]
fn ctrl_c_is_answered_at_once_while_something_is_fetched() {
    let place = Place::new();
    let sim = faulty(&["export always slow_first_byte=60s"]);
    let text = pipeline(&[&events(&sim, ONE_DAY), DUCKDB]);
    stops("no byte yet", run(&place, &text, 80), fetching);
    let text = pipeline(&[&events(&sim, ""), DUCKDB, &workers(4)]);
    stops("several workers", run(&place, &text, 80), fetching);

    let sim = faulty(&["export always slow_body=500/500ms"]);
    let text = pipeline(&[&events(&sim, "window_days = 14"), DUCKDB]);
    let received = |shown: &str| shown.contains("received");
    stops("in a body", run(&place, &text, 80), received);

    let sim = faulty(&["engage always slow_first_byte=60s"]);
    let text = pipeline(&[&profiles(&sim, ""), DUCKDB]);
    let planning = |shown: &str| shown.contains("planning");
    stops("while it is planned", run(&place, &text, 80), planning);
}

#[test]
fn ctrl_c_is_answered_at_once_in_every_wait() {
    let place = Place::new();
    let sim = faulty(&["export always status=503 retry_after=100"]);
    let text = pipeline(&[&events(&sim, ONE_DAY), DUCKDB]);
    stops("before another try", run(&place, &text, 80), waiting);

    let sim = faulty(&[]);
    let source = events(&sim, "").replace(FAST, "limits = { per_second = 10, per_hour = 2 }");
    let text = pipeline(&[&source, DUCKDB]);
    stops("for the hourly limit", run(&place, &text, 80), waiting);
}

#[test]
fn ctrl_c_is_answered_at_once_by_what_waits_for_others() {
    let sim = faulty(&[]);
    let place = Place::new();
    let sink = "[sink]\ntype = \"exec\"\ncommand = [\"sleep\", \"1000\"]\n";
    let text = pipeline(&[&events(&sim, "window_days = 14"), sink]);
    let terminal = run(&place, &text, 80);
    // Nothing can be told of it: the sink has been given rows, and does not answer.
    std::thread::sleep(Duration::from_secs(2));
    stops("for a sink that does not read", terminal, |_| true);

    let place = Place::new();
    let notify = "[notify]\non = [\"committed\"]\ncommand = [\"sleep\", \"1000\"]\n";
    let text = pipeline(&[&events(&sim, ONE_DAY), DUCKDB, notify]);
    let terminal = run(&place, &text, 80);
    terminal.until_shows("committed");
    terminal.press("\x03");
    let took = terminal.until_shows(STOPPING);
    assert!(took < Duration::from_secs(2), "{took:?}");
    terminal.end();

    // Programs are answered, too.
    let place = Place::new();
    let sim = faulty(&["export always slow_first_byte=60s"]);
    place.write("test.toml", &pipeline(&[&events(&sim, ONE_DAY), DUCKDB]));
    let args = ["run", "test.toml", "--progress", "json"];
    let terminal = Terminal::of(&place.command(&args), 200);
    terminal.until_shows("\"event\":\"partition_started\"");
    terminal.press("\x03");
    terminal.until_shows("\"event\":\"stopping\"");
    assert_eq!(terminal.end().0, Some(130));

    // A second key waits for nothing.
    let sim = faulty(&["export always slow_first_byte=60s"]);
    let text = pipeline(&[&events(&sim, ONE_DAY), DUCKDB]);
    let place = Place::new();
    let terminal = run(&place, &text, 80);
    terminal.until(fetching);
    terminal.press("\x03");
    terminal.until_shows(STOPPING);
    terminal.press("\x03");
    assert_eq!(terminal.end().0, Some(130));
}
