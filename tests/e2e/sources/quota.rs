//! Mixpanel's limits, kept by all processes of a machine together.

use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Endpoint, Fault, Limits, Matcher};

use crate::support::{
    DUCKDB, Place, Ran, STDOUT, events, pipeline, profiles, sim, started, workers,
};

fn ten_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 10), 1_000, 1_000, 7)
}

const TEN: &str = "from = \"2024-01-01\"\nto = \"2024-01-10\"\nwindow_days = 1\n";

/// Ten windows under a limit, with no patience.
fn limited(sim: &mixflow_tests::sim::Simulator, limits: &str) -> String {
    events(sim, &format!("{TEN}retry = {{ max_wait = \"3s\" }}"))
        .replace("per_second = 10000, per_hour = 10000", limits)
}

#[test]
fn two_processes_share_the_hour() {
    // The server enforces the same, and must never have to.
    let limits = Limits {
        per_hour: Some(15),
        ..Limits::default()
    };
    let sim = started(sim(ten_days()).limits_of(Endpoint::Export, limits));
    let place = Place::new();
    let source = limited(&sim, "per_second = 100, per_hour = 15");
    place.write("a.toml", &pipeline(&[&source, DUCKDB, "table = \"a\"\n"]));
    let other = DUCKDB.replace("out.db", "b.db");
    // Another request, whose answers are not shared.
    let in_ms = source.replace("window_days", "time_in_ms = true\nwindow_days");
    place.write("b.toml", &pipeline(&[&in_ms, &other]));
    let children = ["a.toml", "b.toml"].map(|file| place.spawn(&["run", file]));
    let ran = children.map(|child| Ran::of(child.wait_with_output().unwrap()));
    // Fifteen requests of twenty: at most one process has had all of its ten.
    let mut codes = ran.each_ref().map(|ran| ran.code);
    codes.sort();
    let [a, b] = &ran;
    assert!(
        codes == [Some(0), Some(5)] || codes == [Some(5), Some(5)],
        "{}\n{}",
        a.stderr,
        b.stderr
    );
    let requests = sim.requests_to(Endpoint::Export);
    assert_eq!(requests.len(), 15);
    assert!(requests.iter().all(|request| request.status == 200));
    // A third one knows it too, and `plan` shows it.
    place.write("c.toml", &pipeline(&[&source, STDOUT]));
    let plan = place.mixflow(&["plan", "c.toml"]).ended(0);
    let said = plan.stdout_lossy();
    assert!(said.contains("; 15 were made in the last hour"), "{said}");
    place
        .mixflow(&["run", "c.toml"])
        .ended(5)
        .says("15 requests were made within the hour");
    assert_eq!(sim.requests_to(Endpoint::Export).len(), 15);
}

#[test]
fn two_processes_share_the_second_and_the_places() {
    let latency = Duration::from_millis(100);
    let sim = started(sim(ten_days()).latency(latency).page_size(50));
    let place = Place::new();
    let source = limited(&sim, "per_second = 5, per_hour = 100, concurrent = 3");
    place.write("a.toml", &pipeline(&[&source, DUCKDB, &workers(10)]));
    let other = DUCKDB.replace("out.db", "b.db");
    let in_ms = source.replace("window_days", "time_in_ms = true\nwindow_days");
    place.write("b.toml", &pipeline(&[&in_ms, &other, &workers(10)]));
    let started = Instant::now();
    let children = ["a.toml", "b.toml"].map(|file| place.spawn(&["run", file]));
    for child in children {
        Ran::of(child.wait_with_output().unwrap()).ended(0);
    }
    assert!(sim.peak_concurrency_of(Endpoint::Export) <= 3);
    // Twenty requests, five in any second.
    assert!(started.elapsed() >= Duration::from_secs(3));
    let times: Vec<Instant> = sim.requests().iter().map(|request| request.at).collect();
    for (first, sixth) in times.iter().zip(&times[5..]) {
        // They are booked when they are sent, and heard a little later.
        let between = sixth.duration_since(*first);
        assert!(between > Duration::from_millis(700), "{between:?}");
    }
}

#[test]
fn another_address_or_project_is_another_quota() {
    let (one, two) = (started(sim(ten_days())), started(sim(ten_days())));
    let place = Place::new();
    for sim in [&one, &two] {
        let source = limited(sim, "per_second = 100, per_hour = 10");
        place.run(&pipeline(&[&source, STDOUT])).0.ended(0);
        place.run(&pipeline(&[&source, STDOUT])).0.ended(5);
    }
}

#[test]
fn later_pages_of_a_session_do_not_count_for_the_hour() {
    let sim = started(sim(ten_days()).page_size(50));
    let place = Place::new();
    let source =
        profiles(&sim, "retry = { max_wait = \"1s\" }").replace("per_hour = 10000", "per_hour = 2");
    for _ in 0..2 {
        place.run(&pipeline(&[&source, STDOUT])).0.ended(0);
    }
    place.run(&pipeline(&[&source, STDOUT])).0.ended(5);
    // They go on until the server says otherwise.
    let said = "1/5 queries running concurrently and 61/60 queries running in the last hour";
    let sim = started(
        crate::support::sim(ten_days())
            .page_size(50)
            .fault(Fault::always(
                Matcher::engage_page(7),
                Action::Status {
                    code: 429,
                    retry_after: None,
                    body: Some(said.to_owned()),
                },
            )),
    );
    let source = profiles(&sim, "retry = { max_wait = \"50m\" }");
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB]));
    ran.ended(5).says(said).says("would have to wait");
    assert_eq!(report["partitions"][7]["status"], "failed");
}

#[test]
fn a_429_pauses_every_worker() {
    let sim = started(
        sim(ten_days())
            .fault(Fault::once(
                Matcher::export(),
                Action::Status {
                    code: 429,
                    retry_after: Some("2".to_owned()),
                    body: None,
                },
            ))
            .latency(Duration::from_millis(50)),
    );
    let place = Place::new();
    let source = limited(&sim, "per_second = 2, per_hour = 1000");
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB, &workers(5)]));
    ran.ended(0).says("trying again in 2.0 s");
    let times: Vec<Instant> = sim.requests().iter().map(|request| request.at).collect();
    // At most one more was on its way when the answer came.
    let pause = times
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]))
        .max()
        .unwrap();
    assert!(pause > Duration::from_millis(1_500), "{pause:?}");
    assert_eq!(report["waits"][0]["kind"], "retry");
    assert_eq!(report["waits"][0]["seconds"], 2.0);
}

/// Mixpanel names no limit a second for profiles: five workers are five times
/// as fast, however short the answers.
#[test]
fn pages_of_profiles_are_not_held_to_the_exports_figure_a_second() {
    let sim = started(sim(ten_days()).page_size(50));
    let source =
        profiles(&sim, "").replace("limits = { per_second = 10000, per_hour = 10000 }", "");
    let (ran, report) = Place::new().run(&pipeline(&[&source, STDOUT, &workers(5)]));
    ran.ended(0);
    assert_eq!(report["requests"], 21);
    assert_eq!(report["waits"], serde_json::json!([]));
}
