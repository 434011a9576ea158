//! Years of history, a part at a time.

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};
use serde_json::Value;

use crate::support::{Place, Ran, events, pipeline, sim, started};

const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 31), 3_100, 50, 3)
}

fn daily(sim: &Simulator) -> String {
    let days = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-20\"\nlookback = \"2d\"\n";
    pipeline(&[&events(sim, days), SINK])
}

/// Prepares `mixflow` on the morning of the 11th.
fn command(place: &Place, args: &[&str]) -> std::process::Command {
    let mut command = place.command(args);
    command.env("MIXFLOW_NOW", "2024-01-11T03:00:00Z");
    command
}

fn backfill(place: &Place, more: &[&str]) -> Ran {
    backfill_at(place, "2024-01-11T03:00:00Z", more)
}

fn backfill_at(place: &Place, now: &str, more: &[&str]) -> Ran {
    let mut args = vec!["backfill", "daily.toml", "--from", "2024-01-01"];
    args.extend(["--report", "report.json"]);
    args.extend(more);
    let mut command = command(place, &args);
    Ran::of(command.env("MIXFLOW_NOW", now).output().unwrap())
}

fn reports(place: &Place) -> Vec<Value> {
    let reports: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    reports.as_array().unwrap().clone()
}

/// The first days of the windows that were asked for, in that order.
fn asked(sim: &Simulator) -> Vec<String> {
    let requests = sim.requests().into_iter();
    let days = requests.map(|request| request.param("from_date").unwrap()[8..].to_owned());
    let days = days.collect();
    sim.clear_log();
    days
}

fn days(place: &Place) -> Vec<String> {
    let sql = "SELECT day(day) || ' ' || state FROM _mixflow_days ORDER BY day";
    place.sql("out.db", sql).into_iter().flatten().collect()
}

#[test]
fn the_days_that_are_lacking_are_fetched_newest_first_and_committed_in_parts() {
    let sim = started(sim(data()));
    let place = Place::new();
    place.write("daily.toml", &daily(&sim));
    let run = [
        "run",
        "daily.toml",
        "--from",
        "2024-01-05",
        "--to",
        "2024-01-06",
    ];
    Ran::of(command(&place, &run).output().unwrap()).ended(0);
    asked(&sim);
    backfill(&place, &["--commit-every", "3"])
        .ended(0)
        .says("fetching 8 days between 2024-01-01 and 2024-01-10 with 8 requests");
    let newest_first = ["10", "09", "08", "07", "04", "03", "02", "01"];
    assert_eq!(asked(&sim), newest_first);
    let rows: Vec<_> = reports(&place)
        .iter()
        .map(|report| report["partitions"].as_array().unwrap().len())
        .collect();
    assert_eq!(rows, [3, 3, 2]);
    assert_eq!(days(&place).len(), 10);
    assert!(days(&place).iter().all(|day| day.ends_with("complete")));
    // Nothing is left, and nothing asked for twice.
    backfill(&place, &[]).ended(0).says("nothing is missing");
    assert_eq!(asked(&sim), [""; 0]);
}

#[test]
fn a_dry_run_says_what_it_would_take_and_asks_nothing() {
    let sim = started(sim(data()));
    let place = Place::new();
    place.write(
        "daily.toml",
        &daily(&sim).replace("per_hour = 10000", "per_hour = 4"),
    );
    let said = backfill(&place, &["--dry-run", "--oldest-first"])
        .ended(0)
        .stdout_lossy();
    insta::assert_snapshot!(said, @r"
    pipeline  daily
    into      table events in out.db
    days      10 days between 2024-01-01 and 2024-01-10
    windows   2024-01-01, 2024-01-02, 2024-01-03, 2024-01-04, 2024-01-05, 2024-01-06, 2024-01-07, 2024-01-08, 2024-01-09, 2024-01-10
    requests  10
    commits   1
    time      about 2 hours for the quota, until 2024-01-11 05:00 UTC
    note      10 requests are 250 % of the 4 that Mixpanel allows in an hour; a larger `window_days` makes fewer
    ");
    assert_eq!(asked(&sim), [""; 0]);
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn it_goes_on_after_a_day_that_fails_and_says_that_one_is_missing() {
    let refusal = Action::Status {
        code: 404,
        retry_after: None,
        body: None,
    };
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 9)), refusal);
    let faulty = started(sim(data()).fault(fault));
    let place = Place::new();
    place.write("daily.toml", &daily(&faulty));
    // The run that commits nothing is not the end.
    backfill(&place, &["--commit-every", "1"]).ended(3);
    assert_eq!(days(&place).len(), 9);
    assert_eq!(reports(&place).len(), 10);
    let sim = started(sim(data()));
    place.write("daily.toml", &daily(&sim));
    backfill(&place, &[]).ended(0);
    assert_eq!(asked(&sim), ["09"]);
}

#[test]
fn no_more_requests_are_made_than_are_allowed() {
    // The first window takes three requests.
    let cut = || Fault::once(Matcher::export(), Action::Drop);
    let sim = started(sim(data()).fault(cut()).fault(cut()));
    let place = Place::new();
    place.write("daily.toml", &daily(&sim));
    backfill(&place, &["--max-requests", "5"])
        .ended(3)
        .says("the requests are used up");
    assert_eq!(asked(&sim).len(), 5);
    let some = days(&place).len();
    assert!((1..=4).contains(&some), "{some}");
    backfill(&place, &["--max-requests", "50"]).ended(0);
    assert_eq!(days(&place).len(), 10);
}

#[test]
fn out_of_quota_what_is_committed_stays() {
    let sim = started(sim(data()));
    let place = Place::new();
    let few = daily(&sim).replace("per_hour = 10000", "per_hour = 5");
    let few = few.replace("retry = {", "retry = { max_wait = \"1s\",");
    place.write("daily.toml", &few);
    backfill(&place, &["--commit-every", "2"]).ended(5);
    assert_eq!(asked(&sim), ["10", "09", "08", "07", "06"]);
    assert_eq!(days(&place).len(), 4);
    // The fifth was kept, and is not asked for again.
    let more = few.replace("per_hour = 5", "per_hour = 100");
    place.write("daily.toml", &more);
    backfill_at(&place, "2024-01-11T05:00:00Z", &[]).ended(0);
    assert_eq!(asked(&sim), ["05", "04", "03", "02", "01"]);
}

#[test]
fn stale_and_empty_days_are_left_alone() {
    let mut data = data();
    data.clear_day(date(2024, 1, 4));
    let sim = started(sim(data));
    let place = Place::new();
    place.write("daily.toml", &daily(&sim));
    let run = [
        "run",
        "daily.toml",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-10",
    ];
    Ran::of(command(&place, &run).output().unwrap()).ended(0);
    asked(&sim);
    backfill(&place, &[]).ended(0).says("nothing is missing");
    assert_eq!(asked(&sim), [""; 0]);
}

#[test]
fn a_pipeline_without_days_cannot_be_filled() {
    let sim = started(sim(data()));
    let place = Place::new();
    place.write(
        "daily.toml",
        &pipeline(&[&crate::support::profiles(&sim, ""), SINK]),
    );
    backfill(&place, &[]).ended(2);
}
