//! The daily job catches up by itself, and asks for no day twice without need.

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};

use crate::support::{Place, Ran, STDOUT, events, pipeline, sim, started};

const LAST: &str = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-01\"\n";
const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 31), 3_100, 50, 3)
}

/// Runs a pipeline on a day of January, early in the morning.
fn run_on(place: &Place, day: i8, pipeline: &str, more: &[&str]) -> Ran {
    place.write("daily.toml", pipeline);
    let mut args = vec!["run", "daily.toml"];
    args.extend(more);
    let mut command = place.command(&args);
    command.env("MIXFLOW_NOW", format!("2024-01-{day:02}T03:00:00Z"));
    Ran::of(command.output().unwrap())
}

/// The days that were asked for since the last call.
fn asked(sim: &Simulator) -> Vec<String> {
    let asked = sim.requests().into_iter().map(|request| {
        let day = |name| request.param(name).unwrap_or_default()[8..].to_owned();
        format!("{}..{}", day("from_date"), day("to_date"))
    });
    let mut asked: Vec<String> = asked.collect();
    asked.sort();
    sim.clear_log();
    asked
}

fn days(place: &Place) -> Vec<String> {
    let sql = "SELECT day(day) || ' ' || state || ' ' || rows FROM _mixflow_days ORDER BY day";
    place.sql("out.db", sql).into_iter().flatten().collect()
}

#[test]
fn an_outage_of_any_length_is_made_good_in_one_run() {
    let sim = started(sim(data()));
    let place = Place::new();
    let daily = pipeline(&[&events(&sim, &format!("{LAST}window_days = 1\n")), SINK]);
    run_on(&place, 3, &daily, &[]).ended(0);
    assert_eq!(asked(&sim), ["01..01", "02..02"]);
    run_on(&place, 4, &daily, &[]).ended(0);
    assert_eq!(asked(&sim), ["03..03"]);
    // Nothing new: no request, and that is well.
    run_on(&place, 4, &daily, &[])
        .ended(0)
        .says("committed 0 rows");
    assert_eq!(asked(&sim), [""; 0]);
    run_on(&place, 9, &daily, &[]).ended(0);
    assert_eq!(
        asked(&sim),
        ["04..04", "05..05", "06..06", "07..07", "08..08"]
    );
    assert_eq!(days(&place).len(), 8);
    let count = "SELECT count(DISTINCT event_time::DATE) FROM events";
    assert_eq!(place.sql("out.db", count), [["8"]]);
}

#[test]
fn a_day_that_failed_is_fetched_when_the_next_run_comes() {
    let place = Place::new();
    let keep = "[run]\non_failure = \"keep\"\n";
    let daily = |sim: &Simulator| {
        pipeline(&[
            &events(sim, &format!("{LAST}window_days = 1\n")),
            SINK,
            keep,
        ])
    };
    let refusal = Action::Status {
        code: 404,
        retry_after: None,
        body: None,
    };
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 2)), refusal);
    run_on(&place, 5, &daily(&started(sim(data()).fault(fault))), &[]).ended(3);
    let sim = started(sim(data()));
    run_on(&place, 6, &daily(&sim), &[]).ended(0);
    assert_eq!(asked(&sim), ["02..02", "05..05"]);
    assert_eq!(days(&place).len(), 5);
}

#[test]
fn lookback_asks_for_days_until_they_cannot_change() {
    let sim = started(sim(data()));
    let place = Place::new();
    let more = format!("{LAST}lookback = \"2d\"\nwindow_days = 1\n");
    let daily = pipeline(&[&events(&sim, &more), SINK]);
    run_on(&place, 6, &daily, &[]).ended(0);
    asked(&sim);
    run_on(&place, 7, &daily, &[]).ended(0);
    // Of the 4th, fetched on the 6th, less than two days had passed since its end.
    assert_eq!(asked(&sim), ["04..04", "05..05", "06..06"]);
    run_on(&place, 7, &daily, &[]).ended(0);
    assert_eq!(asked(&sim), ["05..05", "06..06"]);
    run_on(&place, 20, &daily, &[]).ended(0);
    let all: Vec<String> = (5..20).map(|day| format!("{day:02}..{day:02}")).collect();
    assert_eq!(asked(&sim), all);
}

#[test]
fn days_on_the_command_line_are_just_these_days() {
    let sim = started(sim(data()));
    let place = Place::new();
    let more = format!("{LAST}lookback = \"5d\"\nwindow_days = 1\n");
    let daily = pipeline(&[&events(&sim, &more), SINK]);
    run_on(
        &place,
        10,
        &daily,
        &["--from", "2024-01-07", "--to", "2024-01-08"],
    )
    .ended(0);
    assert_eq!(asked(&sim), ["07..07", "08..08"]);
    run_on(
        &place,
        10,
        &daily,
        &["--from", "2024-01-08", "--to", "2024-01-08"],
    )
    .ended(0);
    assert_eq!(asked(&sim), ["08..08"]);
}

#[test]
fn a_day_that_is_not_over_is_fetched_again() {
    let sim = started(sim(data()));
    let place = Place::new();
    let daily = pipeline(&[&events(&sim, &LAST.replace("yesterday", "today")), SINK]);
    run_on(&place, 2, &daily, &[]).ended(0);
    let states = days(&place);
    assert!(states[0].starts_with("1 complete"), "{states:?}");
    assert!(states[1].starts_with("2 partial"), "{states:?}");
    asked(&sim);
    run_on(&place, 3, &daily, &[]).ended(0);
    assert_eq!(asked(&sim), ["02..02", "03..03"]);
}

#[test]
fn under_a_limit_no_day_is_whole() {
    let sim = started(sim(data()));
    let place = Place::new();
    let more = "from = \"2024-01-01\"\nto = \"2024-01-02\"\nlimit = 7\n";
    run_on(&place, 5, &pipeline(&[&events(&sim, more), SINK]), &[]).ended(0);
    let states = days(&place);
    assert!(
        states.iter().all(|day| day.contains("partial")),
        "{states:?}"
    );
}

#[test]
fn where_rows_are_added_a_day_is_added_once() {
    let sim = started(sim(data()));
    let place = Place::new();
    let append = SINK.replace("replace_window", "append");
    let daily = pipeline(&[&events(&sim, &format!("{LAST}window_days = 1\n")), &append]);
    run_on(&place, 4, &daily, &[]).ended(0);
    run_on(&place, 6, &daily, &[]).ended(0);
    assert_eq!(asked(&sim).len(), 5);
    let twice = "SELECT count(*) - count(DISTINCT (event_name, event_time, distinct_id, insert_id)) \
                 FROM events";
    let expected = place.sql("out.db", twice);
    run_on(&place, 6, &daily, &[]).ended(0);
    assert_eq!(place.sql("out.db", twice), expected);
    // A day that is fetched again would come twice.
    let refused = daily.replace("window_days", "lookback = \"5d\"\nwindow_days");
    run_on(&place, 7, &refused, &[])
        .ended(2)
        .says("would come twice");
}

/// A sink whose ledger is in the state folder: without it nobody knows which
/// days are there already.
#[test]
fn days_are_not_added_where_the_state_cannot_be_read() {
    let sim = started(sim(data()));
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"append\"\n";
    let daily = pipeline(&[&events(&sim, LAST), sink]);
    let place = Place::new();
    run_on(&place, 4, &daily, &[]).ended(0);
    let before = place.read("out.jsonl");
    sim.clear_log();
    std::fs::remove_file(place.path("state/state.db-wal")).ok();
    place.write("state/state.db", "no database any more");
    // The damaged file is set aside by the first one, and known to the next.
    for _ in 0..2 {
        run_on(&place, 5, &daily, &[])
            .ended(1)
            .says("cannot add what is missing to out.jsonl: it may be there already")
            .says("in `state.db.damaged-")
            .says("set `start` to the first day that the destination lacks");
        assert_eq!(asked(&sim), [""; 0]);
        assert_eq!(place.read("out.jsonl"), before);
    }
    // A folder that is none.
    std::fs::rename(place.path("state"), place.path("aside")).unwrap();
    place.write("state", "a file");
    run_on(&place, 5, &daily, &[])
        .ended(1)
        .says("it may be there already");
    assert_eq!(place.read("out.jsonl"), before);
    // What the hint says: then it goes on.
    std::fs::remove_file(place.path("state")).unwrap();
    let from_here = daily.replace("start = \"2024-01-01\"", "start = \"2024-01-04\"");
    run_on(&place, 5, &from_here, &[]).ended(0);
    assert_eq!(asked(&sim), ["04..04"]);
}

#[test]
fn windows_are_few_where_nothing_is_known_and_large_where_days_are_thin() {
    let sim = started(sim(data()));
    let place = Place::new();
    let more = "from = \"2024-01-01\"\nto = \"2024-01-14\"\nwindow_days = \"auto\"\n";
    let fetch = pipeline(&[&events(&sim, more), SINK]);
    run_on(&place, 20, &fetch, &[]).ended(0);
    assert_eq!(asked(&sim), ["01..05", "06..10", "11..14"]);
    run_on(&place, 20, &fetch, &[]).ended(0);
    assert_eq!(asked(&sim), ["01..14"]);
}

#[test]
fn what_last_needs_is_said_before_any_request() {
    let sim = started(sim(data()));
    let place = Place::new();
    let bare = "from = \"last\"\nto = \"yesterday\"\n";
    run_on(&place, 5, &pipeline(&[&events(&sim, bare), STDOUT]), &[])
        .ended(2)
        .says("with `from = \"last\"` it is the first day ever wanted");
    assert_eq!(asked(&sim), [""; 0]);
}
