//! Windows that are too large for one answer: they come in parts.

use std::time::Duration;

use jiff::civil::{Date, date};
use mixflow_tests::sim::{Data, ExportQuery, Fault, LoggedRequest, Simulator};
use serde_json::{Value, json};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started};

const LIGHT: Date = date(2024, 1, 4);
const HEAVY: Date = date(2024, 1, 5);

/// A day of 400 events and one of 4,000, among them the first one of its name.
fn data() -> Data {
    let mut data = Data::generated_between(LIGHT, LIGHT, 400, 0, 1);
    data = data.merged(Data::generated_between(HEAVY, HEAVY, 4_000, 0, 2));
    data.add_event(
        r#"{"event":"Never Seen","properties":{"time":1704495599,"distinct_id":"u","$insert_id":"n"}}"#,
    )
    .unwrap();
    data
}

fn heavy() -> Simulator {
    started(sim(data()))
}

/// Answers that have more than some bytes are cut short from now on.
fn cut_large(sim: &Simulator) {
    sim.add_fault(Fault::parse("export always cut_over=300000").unwrap());
}

fn text(sim: &Simulator, day: Date, more: &str) -> String {
    let day = format!("from = \"{day}\"\nto = \"{day}\"\n{more}");
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    let archive = "[archive]\npath = \"archive\"\n";
    pipeline(&[&events(sim, &day), &sink, archive])
}

/// Fetches the light day, so that the ledger knows of days.
fn light(sim: &Simulator, place: &Place, more: &str) {
    place.run(&text(sim, LIGHT, more)).0.ended(0);
    sim.clear_log();
}

fn expected(sim: &Simulator, query: &ExportQuery) -> Vec<Event> {
    expected_events(sim, query)
}

fn both(sim: &Simulator) -> Vec<Event> {
    expected(sim, &ExportQuery::new(LIGHT, HEAVY))
}

fn assert_table(place: &Place, expected: Vec<Event>) {
    let found = written_by("duckdb", &place.path("out.db"));
    assert_same(&sorted(found), &sorted(expected));
}

fn param<'a>(request: &'a LoggedRequest, name: &str) -> &'a str {
    request.param(name).unwrap_or_default()
}

#[test]
fn a_day_that_is_too_large_comes_in_parts() {
    let (sim, place) = (heavy(), Place::new());
    light(&sim, &place, "");
    cut_large(&sim);
    let (ran, report) = place.run(&text(&sim, HEAVY, ""));
    let warning = "2024-01-05 was too large in one answer: fetched in 4 parts by time of day";
    ran.ended(0).says(warning);
    assert_eq!(report["warnings"], json!([warning]));
    assert_eq!(report["status"], "committed");
    // Five tries of the day, and its parts.
    assert_eq!(report["requests"], 9);
    assert_eq!(sim.requests().len(), 9);
    assert_table(&place, both(&sim));
    let names = place.sql(
        "out.db",
        "SELECT count(*) FROM events WHERE event_name = 'Never Seen'",
    );
    assert_eq!(names, [["1"]]);
    // One unit, and one day that is whole.
    let days = place.sql(
        "out.db",
        "SELECT day, state, rows FROM _mixflow_days ORDER BY day",
    );
    assert_eq!(
        days,
        [
            ["2024-01-04", "complete", "400"],
            ["2024-01-05", "complete", "4001"]
        ]
    );
    let units = place.sql("out.db", "SELECT label FROM _mixflow_units ORDER BY label");
    assert_eq!(units, [["2024-01-04"], ["2024-01-05"]]);
}

#[test]
fn the_next_day_is_not_tried_so_often() {
    let next = date(2024, 1, 6);
    let more = Data::generated_between(next, next, 4_000, 0, 3);
    let (sim, place) = (started(sim(data().merged(more))), Place::new());
    light(&sim, &place, "");
    cut_large(&sim);
    let two = text(&sim, HEAVY, "").replace("to = \"2024-01-05\"", "to = \"2024-01-06\"");
    let (ran, report) = place.run(&two);
    ran.ended(0);
    assert_eq!(report["partitions"][0]["attempts"], 5 + 4);
    assert_eq!(report["partitions"][1]["attempts"], 2 + 4);
    assert_table(&place, expected(&sim, &ExportQuery::new(LIGHT, next)));
}

#[test]
fn a_day_that_came_in_parts_is_replayed_as_any_other() {
    let (sim, place) = (heavy(), Place::new());
    light(&sim, &place, "");
    cut_large(&sim);
    place.run(&text(&sim, HEAVY, "")).0.ended(0);
    place.mixflow(&["archive", "verify", "test.toml"]).ended(0);
    let hashes = |db: &str| {
        place.sql(
            db,
            "SELECT sha256 FROM _mixflow_units WHERE label = '2024-01-05'",
        )
    };
    let before = hashes("out.db");
    std::fs::remove_file(place.path("out.db")).unwrap();
    let args = [
        "replay",
        "test.toml",
        "--from",
        "2024-01-04",
        "--to",
        "2024-01-05",
    ];
    let mut command = place.command(&args);
    Ran::of(command.env_remove("SIM_SECRET").output().unwrap()).ended(0);
    assert_table(&place, both(&sim));
    assert_eq!(hashes("out.db"), before);
}

#[test]
fn events_that_are_named_are_asked_for_by_name() {
    let (sim, place) = (heavy(), Place::new());
    let names: std::collections::BTreeSet<String> = expected(&sim, &ExportQuery::new(HEAVY, HEAVY))
        .iter()
        .map(|event| event.event_name.clone())
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    // One that stands twice is not fetched twice.
    let twice = [&names[..], &names[..1]].concat();
    let named = format!("events = {}\n", json!(twice));
    light(&sim, &place, &named);
    cut_large(&sim);
    let (ran, _) = place.run(&text(&sim, HEAVY, &named));
    ran.ended(0).says("parts by event name");
    assert_table(&place, both(&sim));
    let parts = &sim.requests()[5..];
    assert!(parts.iter().all(|request| request.param("where").is_none()));
    let mut asked: Vec<String> = parts
        .iter()
        .flat_map(|request| serde_json::from_str::<Vec<String>>(param(request, "event")).unwrap())
        .collect();
    asked.sort();
    assert_eq!(asked, names);
}

#[test]
fn a_part_that_is_too_large_is_split_again_and_conditions_stay() {
    let (sim, place) = (heavy(), Place::new());
    let condition = r#"properties["$browser"] == "Chrome" or properties["$os"] == "iOS""#;
    let more = format!("where = '{condition}'\nevents = [\"page view\", \"checkout\"]\n");
    light(&sim, &place, &more);
    sim.add_fault(Fault::parse("export always cut_over=20000").unwrap());
    let (ran, _) = place.run(&text(&sim, HEAVY, &more));
    ran.ended(0).says("parts by event name and time of day");
    let query = ExportQuery {
        where_: Some(condition.to_owned()),
        events: vec!["page view".to_owned(), "checkout".to_owned()],
        ..ExportQuery::new(LIGHT, HEAVY)
    };
    assert_table(&place, expected(&sim, &query));
}

#[test]
fn a_window_of_several_days_comes_in_days() {
    let sim = started(sim(Data::generated_between(
        LIGHT,
        date(2024, 1, 9),
        12_000,
        0,
        3,
    )));
    let place = Place::new();
    light(&sim, &place, "");
    cut_large(&sim);
    let more = "from = \"2024-01-05\"\nto = \"2024-01-09\"\nwindow_days = 5\n";
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    let (ran, report) = place.run(&pipeline(&[&events(&sim, more), &sink]));
    ran.ended(0).says("parts by day");
    assert_eq!(report["partitions"].as_array().unwrap().len(), 1);
    let requests = sim.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.param("where").is_none())
    );
    assert_table(
        &place,
        expected(&sim, &ExportQuery::new(LIGHT, date(2024, 1, 9))),
    );
}

#[test]
fn a_gateway_that_does_not_wait_is_asked_for_less() {
    let (sim, place) = (heavy(), Place::new());
    let one = "retry = { max_attempts = 1 }\n";
    light(&sim, &place, one);
    sim.add_fault(Fault::parse("export status=504").unwrap());
    let (ran, report) = place.run(&text(&sim, HEAVY, one));
    ran.ended(0).says("4 parts by time of day");
    assert_eq!(report["requests"], 5);
    assert_table(&place, both(&sim));
}

#[test]
fn what_fails_for_another_reason_than_size_fails_as_ever() {
    for (fault, more) in [
        ("cut=0.5", 3),
        ("status=504", 1),
        ("status=500", 0),
        ("drop", 0),
    ] {
        let (sim, place) = (heavy(), Place::new());
        light(&sim, &place, "");
        sim.add_fault(Fault::parse(&format!("export always {fault}")).unwrap());
        let (ran, report) = place.run(&text(&sim, HEAVY, ""));
        ran.ended(1).says("2024-01-05 could not be had in 5 tries");
        assert_eq!(report["requests"], 5 + more, "{fault}");
        assert_table(&place, expected(&sim, &ExportQuery::new(LIGHT, LIGHT)));
    }
}

#[test]
fn where_no_day_has_come_whole_size_is_not_thought_of() {
    let (sim, place) = (heavy(), Place::new());
    cut_large(&sim);
    let (ran, report) = place.run(&text(&sim, HEAVY, ""));
    ran.ended(1).says("2024-01-05 could not be had in 5 tries");
    assert_eq!(report["requests"], 5);
}

/// Neither would be seen in the rows: all of them would come several times, or
/// none.
#[test]
fn a_server_that_does_not_look_at_times_is_not_believed() {
    for (holds, reason) in [
        (true, "it has events of other times than were asked for"),
        (false, "it has no event before any time"),
    ] {
        let (sim, place) = (heavy(), Place::new());
        let one = "retry = { max_attempts = 1 }\n";
        light(&sim, &place, one);
        sim.add_fault(Fault::parse("export cut=0.5").unwrap());
        sim.add_fault(Fault::parse(&format!("export always where={holds}")).unwrap());
        let (ran, _) = place.run(&text(&sim, HEAVY, one));
        ran.ended(1)
            .says("2024-01-05 is too large in one answer, and cannot be split by time")
            .says(reason)
            .says("name the events that are wanted with `events`");
        assert_table(&place, expected(&sim, &ExportQuery::new(LIGHT, LIGHT)));
    }
}

/// Waits until so many requests have come, and kills the run.
fn kill_after(sim: &Simulator, place: &Place, requests: usize) {
    let mut child = place.spawn(&["run", "test.toml"]);
    while sim.requests().len() < requests {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_part_that_fails_for_another_reason_is_tried_as_often_as_ever() {
    let (sim, place) = (heavy(), Place::new());
    light(&sim, &place, "");
    cut_large(&sim);
    // The first part.
    sim.add_fault(Fault::parse("export skip=5 times=4 status=503").unwrap());
    let (ran, report) = place.run(&text(&sim, HEAVY, ""));
    ran.ended(0).says("4 parts by time of day");
    assert_eq!(report["requests"], 9 + 4);
    assert_table(&place, both(&sim));
}

#[test]
fn a_run_that_was_killed_between_parts_goes_on() {
    let (sim, place) = (heavy(), Place::new());
    light(&sim, &place, "");
    cut_large(&sim);
    // The third part takes for ever.
    sim.add_fault(Fault::parse("export skip=7 slow_first_byte=60s").unwrap());
    place.write("test.toml", &text(&sim, HEAVY, ""));
    kill_after(&sim, &place, 8);
    assert_table(&place, expected(&sim, &ExportQuery::new(LIGHT, LIGHT)));
    sim.clear_log();
    let (ran, report) = place.run(&text(&sim, HEAVY, ""));
    ran.ended(0).says("4 parts by time of day");
    // The day is not asked for again, nor are the two parts that came.
    assert_eq!(sim.requests().len(), 2);
    assert_eq!(report["requests"], Value::from(2));
    assert_table(&place, both(&sim));
    let left = std::fs::read_dir(place.path("state/spool")).unwrap();
    assert_eq!(left.count(), 0);
}
