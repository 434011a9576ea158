//! `check --online`: one to three small requests, and what they tell.

use jiff::civil::date;
use mixflow_tests::sim::{Data, Endpoint, Fault, Simulator};

use crate::support::{DUCKDB, Place, Ran, events, pipeline, profiles, sim, started};

/// When it is.
const NOW: &str = "2024-01-20T12:00:00Z";
const TODAY: &str = "2024-01-20";

fn store() -> Simulator {
    started(sim(Data::sample()))
}

fn check(place: &Place, text: &str) -> Ran {
    place.write("t.toml", text);
    place.mixflow(&["check", "--online", "t.toml"])
}

/// Checks as on that day.
fn check_on_a_day(place: &Place, text: &str) -> Ran {
    place.write("t.toml", text);
    let mut command = place.command(&["check", "--online", "t.toml"]);
    Ran::of(command.env("MIXFLOW_NOW", NOW).output().unwrap())
}

/// A pipeline of some days, a name and an expression.
fn filtered(sim: &Simulator) -> String {
    let more = "events = [\"page view\"]\nwhere = 'properties[\"plan\"] == \"pro\"'\nlimit = 500\nfrom = \"2024-01-01\"\nto = \"2024-01-14\"\nwindow_days = 14\n";
    pipeline(&[&events(sim, more), DUCKDB])
}

#[test]
fn one_small_request_tells_what_a_run_needs() {
    let (sim, place) = (store(), Place::new());
    let ran = check_on_a_day(&place, &filtered(&sim));
    let ran = ran.ended(0).says("t.toml: ok");
    assert_eq!(
        ran.stdout_lossy().replace(sim.base_url(), "http://SERVER"),
        format!(
            "credentials ok, they may read the events of project 12345\n\
             region      `base_url` is set: http://SERVER answers\n\
             quota       1 of 10000 requests of the last hour are used, as far as this machine knows\n\
             zone        not known; it is {TODAY} there, as it is in UTC\n"
        )
    );
    let requests = sim.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].endpoint, Endpoint::Export);
    let param = |name: &str| requests[0].param(name).unwrap_or_default().to_owned();
    assert_eq!(param("from_date"), TODAY);
    assert_eq!(param("to_date"), TODAY);
    assert_eq!(param("limit"), "1");
    assert_eq!(param("event"), "[\"page view\"]");
    assert_eq!(param("where"), "properties[\"plan\"] == \"pro\"");
    // Nothing was made, but for what is remembered.
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_request_of_a_check_counts() {
    let (sim, place) = (store(), Place::new());
    check(&place, &filtered(&sim)).ended(0);
    let plan = place.mixflow(&["plan", "t.toml"]).ended(0);
    assert!(plan.stdout_lossy().contains("1 were made in the last hour"));
}

#[test]
fn profiles_are_asked_for_one() {
    let (sim, place) = (store(), Place::new());
    let text = pipeline(&[
        &profiles(&sim, "where = 'properties[\"plan\"] == \"pro\"'"),
        DUCKDB,
    ]);
    let ran = check(&place, &text).ended(0);
    let said = ran.stdout_lossy();
    assert!(
        said.starts_with("credentials ok, they may read the profiles of project 12345\n"),
        "{said}"
    );
    assert!(!said.contains("zone"), "{said}");
    let requests = sim.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].endpoint, Endpoint::Engage);
    assert_eq!(requests[0].param("page_size"), Some("1"));
    let filter = "properties[\"plan\"] == \"pro\"";
    assert_eq!(requests[0].param("where"), Some(filter));
}

#[test]
fn it_ends_as_a_run_would() {
    let (sim, place) = (store(), Place::new());
    let good = filtered(&sim);
    check(&place, &good.replace("\"sim\"", "\"nobody\""))
        .ended(4)
        .says("error: cannot read the events of project 12345")
        .says("401 Unauthorized")
        .says("hint: check that the credentials are right");
    assert_eq!(sim.requests().len(), 1);
    check(&place, &good.replace("SIM_SECRET", "UNSET"))
        .ended(2)
        .says("the environment variable is not set");
    check(&place, &good.replace("limit = 500", "limt = 500")).ended(2);
    assert_eq!(sim.requests().len(), 1);
    for (fault, code, said) in [
        ("status=500", 1, "500 Internal Server Error"),
        ("drop", 1, "cannot reach"),
        (
            "status=400 body=\"invalid where\"",
            1,
            "hint: check `where`",
        ),
        (
            "status=402",
            4,
            "hint: the account's plan does not include /api/2.0/export",
        ),
        ("error_line=0", 1, "the server answered 200 with an error"),
    ] {
        sim.clear_log();
        sim.add_fault(Fault::parse(&format!("export always {fault}")).unwrap());
        let ran = check(&place, &good).ended(code).says(said);
        assert!(!ran.stderr.contains("t.toml: ok"), "{}", ran.stderr);
        assert_eq!(sim.requests().len(), 1, "{fault}");
        sim.clear_faults();
    }
    // Of several, the worst.
    place.write("a.toml", &good.replace("\"sim\"", "\"nobody\""));
    place.write("b.toml", &good);
    place
        .mixflow(&["check", "--online", "a.toml", "b.toml"])
        .ended(4)
        .says("b.toml: ok");
}

#[test]
fn what_profiles_lack_is_said() {
    let (sim, place) = (store(), Place::new());
    let text = pipeline(&[&profiles(&sim, ""), DUCKDB]);
    for (status, said) in [
        (
            402,
            "hint: the account's plan does not include /api/query/engage; the other endpoints still work",
        ),
        (
            403,
            "hint: check that the account may use /api/query/engage",
        ),
    ] {
        sim.clear_log();
        sim.add_fault(Fault::parse(&format!("engage always status={status}")).unwrap());
        check(&place, &text)
            .ended(4)
            .says("error: cannot read the profiles of project 12345")
            .says(said);
        assert_eq!(sim.requests().len(), 1);
        sim.clear_faults();
    }
    sim.add_fault(Fault::parse("engage always error_in_200 message=\"no such cohort\"").unwrap());
    check(&place, &text)
        .ended(1)
        .says("the server answered 200 with an error: no such cohort");
}

#[test]
fn a_quota_that_is_used_up_is_not_waited_for() {
    let (sim, place) = (store(), Place::new());
    let text = filtered(&sim).replace("per_hour = 10000", "per_hour = 1");
    check(&place, &text).ended(0);
    check(&place, &text)
        .ended(5)
        .says("error: no request may be made just now")
        .says("hint: check it again later");
    assert_eq!(sim.requests().len(), 1);
    // The server's word counts, too.
    sim.add_fault(Fault::parse("export always rate_limited=60/3600").unwrap());
    check(&place, &filtered(&sim))
        .ended(5)
        .says("429 Too Many Requests");
}

#[test]
fn a_project_that_is_behind_is_noticed() {
    let place = Place::new();
    let sim = started(sim(Data::sample()).today(date(2024, 1, 14)));
    let ran = check_on_a_day(&place, &filtered(&sim)).ended(0);
    let zone = format!(
        "zone        behind UTC: it is not {} there yet; set `timezone` to the project's\n",
        TODAY
    );
    assert!(
        ran.stdout_lossy().ends_with(&zone),
        "{}",
        ran.stdout_lossy()
    );
    let requests = sim.requests();
    let days = requests
        .iter()
        .filter_map(|request| request.param("to_date"));
    let days: Vec<&str> = days.collect();
    assert_eq!(days, [TODAY, "2024-01-14"]);
}

#[test]
fn a_source_without_a_server_is_not_asked() {
    let place = Place::new();
    let made = "[source]\ntype = \"synthetic_events\"\nrows = 3\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n";
    let ran = check(&place, &pipeline(&[made, DUCKDB])).ended(0);
    assert_eq!(
        ran.stdout_lossy(),
        "online      `synthetic_events` has no server to ask\n"
    );
}
