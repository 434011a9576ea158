//! Bodies that nothing but the end of their connection ends, and answers that
//! are none.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator, Unframed};

use crate::rows::form::{Event, assert_same, expected_events, in_lines, in_table, sorted};
use crate::support::{DUCKDB, Place, Ran, STDOUT, events, pipeline, sim, started, workers};

const THREE: &str = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 600, 0, 7)
}

fn three() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 1), date(2024, 1, 3))
}

fn second() -> Matcher {
    Matcher::export_from(date(2024, 1, 2))
}

fn asked(sim: &Simulator) -> Vec<String> {
    let requests = sim.requests();
    let days = requests
        .iter()
        .filter_map(|request| request.param("from_date"));
    days.map(str::to_owned).collect()
}

fn has_all(sim: &Simulator, place: &Place) {
    assert_same(
        &sorted(in_table::<Event>(&place.path("out.db"), "events")),
        &sorted(expected_events(sim, &three())),
    );
}

#[test]
fn a_body_without_a_length_is_whole_when_two_answers_are_the_same() {
    for sink in [DUCKDB, STDOUT] {
        let whole = Fault::always(Matcher::export(), Action::Unframed(Unframed::Whole));
        let sim = started(sim(data()).fault(whole));
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&events(&sim, THREE), sink]));
        let ran = ran.ended(0).says("asked for twice");
        match sink {
            DUCKDB => has_all(&sim, &place),
            _ => assert_same(
                &in_lines::<Event>(&ran.stdout),
                &expected_events(&sim, &three()),
            ),
        }
        assert_eq!(report["requests"], 6);
        assert_eq!(report["retries"], 0);
    }
}

#[test]
fn a_gzip_trailer_proves_a_body_without_a_length() {
    let gzip = Fault::always(Matcher::export(), Action::Unframed(Unframed::Gzip));
    let sim = started(sim(data()).fault(gzip));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, THREE), DUCKDB]))
        .0
        .ended(0);
    has_all(&sim, &place);
    assert_eq!(asked(&sim).len(), 3);
}

#[test]
fn a_body_without_a_length_that_ends_elsewhere_each_time_fails() {
    for sink in [DUCKDB, STDOUT] {
        let cut = Fault::always(second(), Action::Unframed(Unframed::Cut));
        let sim = started(sim(data()).fault(cut));
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&events(&sim, THREE), sink]));
        ran.ended(1);
        assert_eq!(report["status"], "aborted");
        assert_eq!(
            report["failed_partitions"],
            serde_json::json!(["2024-01-02"])
        );
        assert_eq!(place.names(), Vec::<String>::new());
    }
}

/// Waits until half of a body has come into a file that is not done.
fn wait_for_part(place: &Place) {
    let since = Instant::now();
    let state = mixflow_state::State::at(&place.path("state"));
    loop {
        let entries = std::fs::read_dir(place.path("state/spool"))
            .into_iter()
            .flatten();
        let mut parts = entries.flatten().filter(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let is_part = state.checkpoint(&name) == Ok(None);
            is_part && entry.metadata().is_ok_and(|found| found.len() > 0)
        });
        if parts.next().is_some() {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "nothing has come"
        );
        std::thread::yield_now();
    }
}

/// The connection is shut down by us, which to the HTTP library is the end of
/// such a body.
#[test]
fn a_body_that_a_cancel_cuts_is_not_kept_for_the_next_run() {
    let stall = || Fault::once(second(), Action::Unframed(Unframed::Stall));
    for by_signal in [true, false] {
        let sim = started(sim(data()).fault(stall()));
        if !by_signal {
            let refusal = Action::Status {
                code: 401,
                retry_after: None,
                body: None,
            };
            let slow = Action::SlowFirstByte(Duration::from_secs(2));
            let third = || Matcher::export_from(date(2024, 1, 3));
            sim.add_fault(Fault::once(third(), slow));
            sim.add_fault(Fault::once(third(), refusal));
        }
        let place = Place::new();
        let abort = format!("{}on_failure = \"abort\"\n", workers(2));
        let text = pipeline(&[&events(&sim, THREE), DUCKDB, &abort]);
        place.write("test.toml", &text);
        let child = place.spawn(&["run", "test.toml"]);
        if by_signal {
            wait_for_part(&place);
            let pid = child.id().to_string();
            let killed = Command::new("kill").args(["-s", "INT", &pid]).status();
            assert!(killed.unwrap().success());
        }
        let ran = Ran::of(child.wait_with_output().unwrap());
        ran.ended(if by_signal { 130 } else { 4 });
        sim.clear_faults();
        sim.clear_log();
        place.run(&text).0.ended(0);
        has_all(&sim, &place);
        assert!(asked(&sim).contains(&"2024-01-02".to_owned()));
    }
}

#[test]
fn a_damaged_plain_body_of_another_run_is_not_used() {
    for damage in [0, 1, 2, 3] {
        let sim = started(sim(data()));
        sim.add_fault(Fault::always(
            Matcher::export(),
            Action::Unframed(Unframed::Whole),
        ));
        let third = Matcher::export_from(date(2024, 1, 3));
        sim.add_fault(Fault::always(third, Action::Drop));
        let place = Place::new();
        let text = pipeline(&[&events(&sim, THREE), DUCKDB]);
        place.run(&text).0.ended(1);
        let spool = std::fs::read_dir(place.path("state/spool")).unwrap();
        let mut paths: Vec<_> = spool.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let mut bytes = std::fs::read(&paths[0]).unwrap();
        match damage {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes.truncate(memchr_last_line(&bytes)),
            _ => bytes[40] ^= 1,
        }
        std::fs::write(&paths[0], bytes).unwrap();
        sim.clear_faults();
        sim.clear_log();
        place.run(&text).0.ended(0);
        has_all(&sim, &place);
        assert_eq!(asked(&sim).len(), 2, "{damage}");
    }
}

/// Where the last line but one ends.
fn memchr_last_line(bytes: &[u8]) -> usize {
    let before = &bytes[..bytes.len() - 1];
    before.iter().rposition(|byte| *byte == b'\n').unwrap() + 1
}

#[test]
fn a_redirect_is_not_followed() {
    let other = started(Simulator::builder());
    for (code, tries) in [(301, 1), (302, 5), (303, 5), (307, 5), (308, 1)] {
        let location = format!("{}/login?next=x", other.base_url());
        let action = Action::Redirect { code, location };
        let sim = started(sim(data()).fault(Fault::always(Matcher::export(), action)));
        let place = Place::new();
        let (ran, _) = place.run(&pipeline(&[&events(&sim, THREE), DUCKDB]));
        ran.ended(1)
            .says(&format!("the server answered {code} "))
            .says(&format!(
                "which points to `{}/login?next=x`",
                other.base_url()
            ))
            .says("hint: check `region` and `base_url`");
        assert_eq!(sim.requests().len(), tries, "{code}");
        assert_eq!(place.names(), Vec::<String>::new());
    }
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_page_for_people_is_called_that() {
    let page = "<html><body>Please log in to the hotel</body></html>";
    let action = Action::Status {
        code: 200,
        retry_after: None,
        body: Some(page.to_owned()),
    };
    let sim = started(sim(data()).fault(Fault::always(Matcher::export(), action)));
    let (ran, _) = Place::new().run(&pipeline(&[&events(&sim, THREE), DUCKDB]));
    ran.ended(1)
        .says("an HTML page: <html><body>Please log in to the hotel");
}

/// Each byte is in time, and all of them would take hours.
#[test]
fn an_error_that_drips_is_not_waited_for() {
    let pause = Duration::from_millis(100);
    let drip = Action::Drip { code: 500, pause };
    let sim = started(sim(data()).fault(Fault::once(second(), drip)));
    let place = Place::new();
    let retry = "retry = { base_delay = \"1ms\", idle_timeout = \"1s\" }\n";
    let source = events(&sim, &format!("{THREE}{retry}"));
    let since = Instant::now();
    place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    assert!(since.elapsed() < Duration::from_secs(60));
    has_all(&sim, &place);
}

#[test]
fn a_last_line_that_is_no_json_is_a_reject() {
    for line in [
        "{\"event\": \"bad",
        "not json",
        "{\"event\":\"e\",\"n\":NaN}",
    ] {
        let mut data = data();
        data.add_raw_line(date(2024, 1, 3), line.as_bytes());
        let sim = started(sim(data));
        for sink in [DUCKDB, STDOUT] {
            sim.clear_log();
            let (ran, report) = Place::new().run(&pipeline(&[&events(&sim, THREE), sink]));
            ran.ended(0);
            assert_eq!(report["rejected"], 1, "{line}");
            assert_eq!(asked(&sim).len(), 3);
        }
    }
}
