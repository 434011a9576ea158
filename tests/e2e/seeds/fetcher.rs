//! 000: events and profiles into a local database.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Endpoint, EngageQuery, ExportQuery, Fault, Matcher};
use serde_json::Value;

use super::{DB, PRO, Project, days, progress};
use crate::rows::form::{Event, Profile, assert_same, expected_events, expected_profiles};
use crate::support::{Ran, sim};

fn all_profiles(project: &Project) -> Vec<Profile> {
    expected_profiles(&project.sim, &EngageQuery::default())
}

#[test]
fn seed_000_us1_1_all_events_of_the_days_are_in_a_new_table() {
    let project = Project::new();
    project.events(&["january"]).ended(0);
    assert_same(&project.table::<Event>("january"), &project.expected());
    assert_eq!(project.tables(), [["_metadata"], ["january"]]);
    assert!(project.expected().len() < 1_500);
}

#[test]
fn seed_000_us1_2_only_the_named_events_are_stored() {
    let project = Project::new();
    project.events(&["--events", "sign up,checkout"]).ended(0);
    let query = ExportQuery {
        events: vec!["sign up".to_owned(), "checkout".to_owned()],
        ..days()
    };
    let expected = expected_events(&project.sim, &query);
    assert!((1..900).contains(&expected.len()));
    assert_same(&project.table::<Event>("events"), &expected);
}

#[test]
fn seed_000_us1_3_only_events_that_match_the_expression_are_stored() {
    let project = Project::new();
    project.events(&["--where", PRO]).ended(0);
    let query = ExportQuery {
        where_: Some(PRO.to_owned()),
        ..days()
    };
    let expected = expected_events(&project.sim, &query);
    assert!((1..900).contains(&expected.len()));
    assert_same(&project.table::<Event>("events"), &expected);
}

#[test]
fn seed_000_us1_4_progress_tells_the_count_of_events() {
    let project = Project::new();
    let ran = project.events(&["--progress", "json"]).ended(0);
    let told: Vec<Value> = progress(&ran, "partition_done")
        .iter()
        .map(|line| line["rows"].clone())
        .collect();
    assert_eq!(told, project.running_counts());
}

#[test]
fn seed_000_us1_5_the_report_of_events_has_table_rows_time_and_days() {
    let project = Project::new();
    let before = Timestamp::now();
    project.events(&["january"]).ended(0);
    let report = project.report();
    assert_eq!(report["table"], "january");
    assert_eq!(report["row_count"], project.expected().len());
    assert_eq!(report["data_type"], "events");
    assert_eq!(report["from_date"], "2024-01-02");
    assert_eq!(report["to_date"], "2024-01-04");
    assert!(report["duration_seconds"].as_f64().unwrap() > 0.0);
    assert_ended_between(&report, before);
}

#[track_caller]
fn assert_ended_between(report: &Value, before: Timestamp) {
    let completed = report["completed_at"].as_str().unwrap();
    let completed: Timestamp = completed.parse().unwrap();
    // The report has fewer digits than the clock.
    let slack = jiff::SignedDuration::from_secs(1);
    assert!(before - slack <= completed && completed <= Timestamp::now() + slack);
}

#[test]
fn seed_000_us2_1_all_profiles_are_in_a_new_table() {
    let project = Project::new();
    project.profiles(&["people"]).ended(0);
    assert_same(&project.table::<Profile>("people"), &all_profiles(&project));
    assert_eq!(project.tables(), [["_metadata"], ["people"]]);
}

#[test]
fn seed_000_us2_2_only_profiles_that_match_the_expression_are_stored() {
    let project = Project::new();
    project.profiles(&["--where", PRO]).ended(0);
    let query = EngageQuery {
        where_: Some(PRO.to_owned()),
        ..EngageQuery::default()
    };
    let expected = expected_profiles(&project.sim, &query);
    assert!((1..450).contains(&expected.len()));
    assert_same(&project.table::<Profile>("profiles"), &expected);
}

#[test]
fn seed_000_us2_3_progress_tells_the_count_of_profiles() {
    let project = Project::new();
    let ran = project.profiles(&["--progress", "json"]).ended(0);
    let told: Vec<Value> = progress(&ran, "partition_done")
        .iter()
        .map(|line| line["rows"].clone())
        .collect();
    assert_eq!(told, [100, 200, 300, 400, 450]);
}

#[test]
fn seed_000_us2_4_the_report_of_profiles_has_no_days() {
    let project = Project::new();
    let before = Timestamp::now();
    project.profiles(&["people"]).ended(0);
    let report = project.report();
    assert_eq!(report["table"], "people");
    assert_eq!(report["row_count"], 450);
    assert_eq!(report["data_type"], "profiles");
    assert!(report["from_date"].is_null() && report["to_date"].is_null());
    assert!(report["duration_seconds"].as_f64().unwrap() > 0.0);
    assert_ended_between(&report, before);
}

/// A project whose events are in the table `mine`.
fn stored() -> Project {
    let project = Project::new();
    project.events(&["mine"]).ended(0);
    project.sim.clear_log();
    project
}

#[test]
fn seed_000_us3_1_events_are_not_fetched_into_a_table_that_exists() {
    let project = stored();
    project
        .events(&["mine"])
        .ended(6)
        .says("the table `mine` in ")
        .says("already exists");
    assert_eq!(project.sim.requests().len(), 0);
    assert_same(&project.table::<Event>("mine"), &project.expected());
}

#[test]
fn seed_000_us3_2_profiles_are_not_fetched_into_a_table_that_exists() {
    let project = stored();
    project
        .profiles(&["mine"])
        .ended(6)
        .says("the table `mine` in ")
        .says("already exists");
    assert_eq!(project.sim.requests().len(), 0);
    assert_same(&project.table::<Event>("mine"), &project.expected());
}

#[test]
fn seed_000_us3_3_the_error_says_to_drop_the_table_and_that_helps() {
    let project = stored();
    project
        .events(&["mine"])
        .ended(6)
        .says("hint: drop it first (`mixflow drop mine --db ");
    let drop = ["drop", "mine", "--db", DB, "--yes"];
    project.place.mixflow(&drop).ended(0);
    project.events(&["mine"]).ended(0);
    assert_same(&project.table::<Event>("mine"), &project.expected());
}

/// A project whose days take 800 ms each.
fn slow() -> Project {
    let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_500, 0, 7);
    Project::of(sim(data).latency(Duration::from_millis(800)))
}

#[test]
fn seed_000_us4_1_a_long_fetch_tells_its_count_every_second() {
    let project = slow();
    let ran = project.events(&["--progress", "json"]).ended(0);
    let mut counts = vec![0];
    counts.extend(project.running_counts());
    let (mut rows, mut seconds) = (0, 0.0);
    let lines = progress(&ran, "progress");
    assert!(lines.len() >= 2, "{}", ran.stderr);
    for line in lines {
        let now = line["rows"].as_u64().unwrap() as usize;
        assert!(now >= rows && counts.contains(&now), "{line}");
        let elapsed = line["elapsed_seconds"].as_f64().unwrap();
        // Machines are noisy.
        assert!((0.9..2.0).contains(&(elapsed - seconds)), "{line}");
        (rows, seconds) = (now, elapsed);
    }
    assert!(rows > 0);
}

#[test]
fn seed_000_us4_2_a_fetch_without_progress_is_the_same() {
    let project = Project::new();
    let ran = project.events(&["--progress", "off", "-q"]).ended(0);
    assert_eq!((ran.stdout, ran.stderr), (vec![], String::new()));
    assert_same(&project.table::<Event>("events"), &project.expected());
}

#[test]
fn seed_000_sc_001_a_hundred_thousand_events_are_stored_at_once() {
    let day = date(2024, 1, 2);
    let project = Project::of(sim(Data::generated_between(day, day, 100_000, 0, 7)));
    project.events(&[]).ended(0);
    let sql = "SELECT count(*), count(DISTINCT insert_id) FROM events";
    assert_eq!(project.place.sql(DB, sql), [["100000", "100000"]]);
}

#[test]
fn seed_000_sc_002_the_duration_is_the_time_that_passed() {
    let project = slow();
    let started = Instant::now();
    project.events(&[]).ended(0);
    let passed = started.elapsed().as_secs_f64();
    let told = project.report()["duration_seconds"].as_f64().unwrap();
    assert!((2.4..=passed).contains(&told), "{told} of {passed}");
    assert!(passed - told < 1.0, "{told} of {passed}");
}

#[test]
fn seed_000_sc_004_what_was_fetched_is_there_for_sql() {
    let project = Project::new();
    project.events(&[]).ended(0);
    project.profiles(&[]).ended(0);
    let sql = "SELECT properties->>'plan' AS plan, count(*) AS n FROM events GROUP BY ALL";
    let plans = project.place.sql(DB, sql);
    assert_eq!(plans.len(), 3);
    let count: usize = plans
        .iter()
        .map(|row| row[1].parse::<usize>().unwrap())
        .sum();
    assert_eq!(count, project.expected().len());
    let sql = "SELECT count(*) FROM profiles WHERE last_seen >= TIMESTAMP '2024-01-01'";
    assert_eq!(project.place.sql(DB, sql), [["450"]]);
}

#[test]
fn seed_000_edge_a_connection_that_fails_in_the_middle_leaves_no_table() {
    let project = stored();
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 4)), Action::Drop);
    project.sim.add_fault(fault);
    project.events(&["other"]).ended(1);
    project
        .sim
        .add_fault(Fault::always(Matcher::engage_page(3), Action::Drop));
    project.profiles(&["other"]).ended(1);
    assert_eq!(project.tables(), [["_metadata"], ["mine"]]);
    assert_same(&project.table::<Event>("mine"), &project.expected());
}

#[test]
fn seed_000_edge_a_day_that_is_none_is_refused_before_any_request() {
    let project = Project::new();
    for day in ["2024-1-2", "02/01/2024", "2024-02-30", "soon"] {
        let args = ["events", "--from", day, "--to", "2024-01-04"];
        let output = project.command(&args, &[]).output().unwrap();
        Ran::of(output).ended(2).says(&format!("--from {day}"));
    }
    assert_eq!(project.sim.requests_to(Endpoint::Export).len(), 0);
}
