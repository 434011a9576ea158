//! 003: pages of profiles in parallel.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mixflow_tests::sim::{
    Action, Builder, Data, Endpoint, EngageQuery, Fault, Limits, LoggedRequest, Matcher,
};
use serde_json::{Value, json};

use super::{DB, Project, progress};
use crate::rows::form::{Profile, assert_same, expected_profiles};
use crate::support::{Ran, sim};

/// Profiles on pages of 100, the last one half full.
fn pages(pages: usize) -> Builder {
    sim(Data::generated(0, pages * 100 - 50, 3))
}

fn slow(count: usize, ms: u64) -> Project {
    Project::of(pages(count).latency(Duration::from_millis(ms)))
}

fn expected(project: &Project) -> Vec<Profile> {
    expected_profiles(&project.sim, &EngageQuery::default())
}

fn requests(project: &Project) -> Vec<LoggedRequest> {
    project.sim.requests_to(Endpoint::Engage)
}

fn peak(project: &Project) -> usize {
    project.sim.peak_concurrency_of(Endpoint::Engage)
}

/// Ten pages, of which these are never answered.
fn without(bad: &[u64]) -> Project {
    let faults = bad
        .iter()
        .map(|&page| Fault::always(Matcher::engage_page(page), Action::Drop));
    Project::of(faults.fold(pages(10), Builder::fault))
}

/// The benchmark measures the time: 0.22 of the sequential one.
#[test]
fn seed_003_us1_1_five_pages_are_fetched_in_the_time_of_one() {
    let project = slow(25, 40);
    project.profiles(&["one"]).ended(0);
    assert_eq!((peak(&project), requests(&project).len()), (1, 25));
    project.profiles(&["five", "--parallel"]).ended(0);
    assert_eq!((peak(&project), requests(&project).len()), (5, 50));
}

#[test]
fn seed_003_us1_2_the_pages_behind_the_first_are_fetched_at_once() {
    let project = slow(5, 200);
    project.profiles(&["--parallel"]).ended(0);
    let requests = requests(&project);
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[0].param("page"), None);
    assert_eq!(peak(&project), 4);
    // The first is answered before the others are sent.
    let waited = requests[1].at.duration_since(requests[0].at);
    assert!(waited >= Duration::from_millis(200), "{waited:?}");
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_us1_3_the_table_is_the_same_as_the_sequential_one() {
    let project = slow(12, 5);
    project.profiles(&["one"]).ended(0);
    project.profiles(&["five", "--parallel"]).ended(0);
    let [one, five] = ["one", "five"].map(|table| project.table::<Profile>(table));
    assert_eq!(one.len(), 1_150);
    assert_same(&five, &one);
}

#[test]
fn seed_003_us2_1_each_page_that_completes_is_told_with_their_number() {
    let project = slow(8, 20);
    let ran = project
        .profiles(&["--parallel", "--progress", "json"])
        .ended(0);
    let told: Vec<Value> = progress(&ran, "partition_done")
        .iter()
        .map(|line| json!([line["partitions_done"], line["partitions"]]))
        .collect();
    let expected: Vec<Value> = (1..=8).map(|done| json!([done, 8])).collect();
    assert_eq!(told, expected);
}

#[test]
fn seed_003_us2_2_a_terminal_shows_a_bar_of_pages() {
    let project = slow(8, 200);
    let command = project.command(&["profiles", "--workers", "2"], &[]);
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let line: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let output = Command::new("script")
        .args(["-qec", &line.join(" "), "/dev/null"])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("TERM", "xterm")
        .current_dir(project.place.path(""))
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no script");
        return;
    };
    let shown = Ran::of(output).ended(0).stdout_lossy();
    assert!(shown.contains('━'), "{shown}");
    // Pages complete in twos.
    for done in [3, 5, 7] {
        let text = format!("{done} of 8");
        assert!(shown.contains(&text), "no `{text}` in:\n{shown}");
    }
}

#[test]
fn seed_003_us2_3_what_is_told_of_a_page_has_the_rows_so_far() {
    let project = slow(5, 20);
    let ran = project
        .profiles(&["--parallel", "--progress", "json"])
        .ended(0);
    let lines = progress(&ran, "partition_done");
    let last = &lines[4];
    assert_eq!(lines.len(), 5);
    assert_eq!(
        (&last["rows"], &last["expected_rows"]),
        (&json!(450), &json!(450))
    );
    assert_eq!(
        (&last["requests"], &last["retries"]),
        (&json!(5), &json!(0))
    );
    for (before, after) in lines.iter().zip(&lines[1..]) {
        assert!(before["rows"].as_u64() < after["rows"].as_u64());
    }
}

#[test]
fn seed_003_us3_1_the_pages_that_could_be_had_are_stored() {
    let project = without(&[3, 7]);
    project
        .profiles(&["--parallel"])
        .ended(3)
        .says("missing: page 3, page 7");
    let all = expected(&project);
    let good = [&all[..300], &all[400..700], &all[800..]].concat();
    assert_eq!(project.report()["row_count"], 750);
    assert_same(&project.table("profiles"), &good);
}

#[test]
fn seed_003_us3_2_the_missing_pages_are_in_the_report_and_in_the_metadata() {
    let project = without(&[3, 7]);
    project.profiles(&["--parallel"]).ended(3);
    let report = project.report();
    assert_eq!(report["failed_partitions"], json!(["page 3", "page 7"]));
    for (page, partition) in report["partitions"].as_array().unwrap().iter().enumerate() {
        let failed = [3, 7].contains(&page);
        assert_eq!(partition["status"], if failed { "failed" } else { "done" });
        assert_eq!(partition["error"].is_string(), failed, "page {page}");
    }
    let sql = "SELECT missing->0->>'partition', missing->1->>'partition' FROM _metadata";
    assert_eq!(project.place.sql(DB, sql), [["page 3", "page 7"]]);
}

#[test]
fn seed_003_us3_3_a_429_is_tried_again_after_waits_that_double() {
    let busy = Action::Status {
        code: 429,
        retry_after: None,
        body: None,
    };
    let faults = (0..3).map(|_| Fault::once(Matcher::engage_page(2), busy.clone()));
    let project = Project::of(faults.fold(pages(5), Builder::fault));
    project.place.write(
        "source.toml",
        "[source]\nretry = { base_delay = \"40ms\", max_delay = \"10s\" }",
    );
    project.profiles(&["--parallel"]).ended(0);
    let report = project.report();
    let waits = report["waits"].as_array().unwrap();
    assert_eq!(waits.len(), 3);
    // Each between half of it and all of it, so that workers do not keep step.
    for (wait, whole) in waits.iter().zip([0.04, 0.08, 0.16]) {
        assert_eq!(
            (&wait["label"], &wait["kind"]),
            (&json!("page 2"), &json!("retry"))
        );
        let seconds = wait["seconds"].as_f64().unwrap();
        assert!((whole / 2.0..=whole).contains(&seconds), "{waits:?}");
    }
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_us4_1_parallel_is_a_flag() {
    let project = slow(12, 50);
    project.profiles(&["--parallel"]).ended(0);
    assert_eq!(peak(&project), 5);
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_us4_2_three_workers_fetch_three_pages_at_once() {
    let project = slow(12, 50);
    project.profiles(&["--parallel", "--workers", "3"]).ended(0);
    assert_eq!(peak(&project), 3);
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_us4_3_a_page_that_failed_is_warned_about_and_the_code_is_3() {
    let project = without(&[4]);
    project
        .profiles(&["--parallel"])
        .ended(3)
        .says("warning: page 4 could not be had in 5 tries: ")
        .says("missing: page 4");
}

#[test]
fn seed_003_edge_a_single_page_needs_a_single_request() {
    let project = slow(1, 0);
    let ran = project.profiles(&["--parallel"]).ended(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    assert_eq!(requests(&project).len(), 1);
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_edge_when_no_page_is_answered_nothing_is_stored() {
    let fault = Fault::always(Matcher::engage(), Action::Drop);
    let project = Project::of(pages(10).fault(fault));
    project
        .profiles(&["--parallel"])
        .ended(1)
        .says("nothing was written");
    assert_eq!(project.report()["row_count"], 0);
    assert!(!project.place.path(DB).exists());
}

#[test]
fn seed_003_sc_002_sixty_pages_are_within_the_limit_of_an_hour() {
    let limits = Limits {
        per_hour: Some(60),
        ..Limits::default()
    };
    let project = Project::of(pages(60).limits_of(Endpoint::Engage, limits));
    // Mixpanel's limits, as they are by default.
    project.place.write("source.toml", "[source]\n");
    project
        .profiles(&["--parallel"])
        .ended(0)
        .says("60 pages are 100 % of the 60 requests");
    let requests = requests(&project);
    assert_eq!(requests.len(), 60);
    assert!(requests.iter().all(|request| request.status == 200));
    assert_same(&project.table("profiles"), &expected(&project));
}

#[test]
fn seed_003_sc_004_a_page_is_told_within_a_second() {
    let latency = Duration::from_millis(200);
    let project = Project::of(pages(9).latency(latency));
    let mut child = project
        .command(&["profiles", "--workers", "2"], &["--progress", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told: Vec<Instant> = lines
        .filter(|line| line.as_ref().unwrap().contains("\"partition_done\""))
        .map(|_| Instant::now())
        .collect();
    assert!(child.wait().unwrap().success());
    let requests = requests(&project);
    assert_eq!((told.len(), requests.len()), (9, 9));
    for (told, request) in told.iter().zip(&requests) {
        let since = told.duration_since(request.at + latency);
        assert!(since < Duration::from_secs(1), "{since:?}");
    }
}
