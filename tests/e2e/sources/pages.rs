//! Where a snapshot of profiles ends, whatever the server says about it.

use std::time::Duration;

use mixflow_tests::sim::{
    Action, Builder, Cut, Data, Endpoint, EngageQuery, Fault, Matcher, Simulator, TotalOn,
};

use crate::rows::form::{Profile, assert_same, expected_profiles, in_table};
use crate::support::{DUCKDB, Place, pipeline, profiles, sim, started, workers};

/// Runs sequentially and in parallel; all profiles must be there, in order.
/// Returns what was warned about and the number of requests.
fn all_are_there(builder: impl Fn() -> Builder) -> Vec<(String, usize)> {
    [1, 5]
        .map(|n| {
            let sim = started(builder());
            let place = Place::new();
            let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
            let ran = ran.ended(0);
            assert_same(
                &in_table::<Profile>(&place.path("out.db"), "profiles"),
                &expected_profiles(&sim, &EngageQuery::default()),
            );
            assert_eq!(report["status"], "committed");
            (ran.stderr, sim.requests_to(Endpoint::Engage).len())
        })
        .into()
}

fn of(count: usize) -> Builder {
    sim(Data::generated(0, count, 3)).page_size(100)
}

#[test]
fn a_total_is_taken_at_its_word_and_a_full_last_page_is_not() {
    for (count, requests) in [
        (0, 1),
        (1, 1),
        (99, 1),
        (100, 2),
        (101, 2),
        (300, 4),
        (350, 4),
    ] {
        for (said, made) in all_are_there(|| of(count)) {
            assert_eq!(made, requests, "{count}");
            assert!(!said.contains("warning"), "{said}");
        }
    }
}

/// Asked for after the last page, it would cost a run of 40 pages a tenth more.
#[test]
fn the_page_that_proves_the_end_waits_for_no_other() {
    for (count, pages) in [(300, 4), (350, 4), (100, 2), (99, 1)] {
        let sim = started(of(count));
        let place = Place::new();
        let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]);
        let (ran, report) = place.run(&text);
        ran.ended(0);
        let labels = report["partitions"].as_array().unwrap().iter();
        let labels: Vec<&str> = labels
            .map(|partition| partition["label"].as_str().unwrap())
            .collect();
        let planned: Vec<String> = (0..pages).map(|n| format!("page {n}")).collect();
        assert_eq!(labels, planned, "{count}");
        assert_eq!(sim.requests_to(Endpoint::Engage).len(), pages);
    }
}

/// The beginning of page 0 says how to ask for the others, which need not wait
/// for its end.
#[test]
fn the_next_pages_are_asked_for_beside_page_0() {
    let slow = Action::SlowBody {
        bytes_per_chunk: 4_000,
        pause: Duration::from_millis(20),
    };
    for (n, at_once, results_first) in [(1, 1, false), (3, 3, false), (5, 5, false), (5, 4, true)] {
        // As many pages after page 0 as can be asked for at once without it.
        let builder = of(450).latency(Duration::from_millis(100));
        let builder = builder.results_first(results_first);
        let sim = started(builder.fault(Fault::once(Matcher::engage_page(0), slow.clone())));
        let place = Place::new();
        let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]);
        let (ran, report) = place.run(&text);
        ran.ended(0);
        assert_same(
            &in_table::<Profile>(&place.path("out.db"), "profiles"),
            &expected_profiles(&sim, &EngageQuery::default()),
        );
        assert_eq!(sim.peak_concurrency_of(Endpoint::Engage), at_once, "{n}");
        assert_eq!(sim.requests_to(Endpoint::Engage).len(), 5);
        assert_eq!(report["requests"], 5);
        let partitions = report["partitions"].as_array().unwrap().iter();
        let attempts: Vec<_> = partitions.map(|page| &page["attempts"]).collect();
        assert_eq!(attempts[1..], [1, 1, 1, 1]);
    }
}

/// Page 0 is asked for again in its session, whose other pages are on their way,
/// and then in a new one. What was asked for in the old one is not taken.
#[test]
fn a_page_0_that_breaks_off_costs_no_page_of_its_session_but_once() {
    for (times, begun, requests) in [(1, 1, 6), (2, 2, 11)] {
        let cut = Action::CutBody(Cut::Fraction(0.9));
        let fault = Fault {
            times: Some(times),
            ..Fault::always(Matcher::engage_page(0), cut)
        };
        let sim = started(of(450).fault(fault));
        let place = Place::new();
        let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]);
        place.run(&text).0.ended(0);
        assert_same(
            &in_table::<Profile>(&place.path("out.db"), "profiles"),
            &expected_profiles(&sim, &EngageQuery::default()),
        );
        assert_eq!(first_pages(&sim), begun);
        assert_eq!(sim.requests_to(Endpoint::Engage).len(), requests);
    }
}

#[test]
fn a_total_that_is_missing_or_on_every_page_changes_nothing() {
    for count in [0, 99, 100, 101, 650, 700] {
        all_are_there(|| of(count).total_on(TotalOn::Never));
        all_are_there(|| of(count).total_on(TotalOn::EveryPage).results_first(true));
    }
}

#[test]
fn a_total_that_is_too_small_loses_no_page_and_is_told() {
    for (count, total) in [
        (650, 100),
        (650, 99),
        (650, 0),
        (650, 300),
        (650, 649),
        (600, 500),
    ] {
        for (said, _) in all_are_there(|| of(count).lie_about_total(total)) {
            let told = format!("the source announced {total} rows and gave {count}");
            assert!(said.contains(&told), "{count}, {total}:\n{said}");
        }
    }
}

/// Runs with one worker, which aborts, and with five, which keep what came:
/// `rows` of them.
fn comes_short(builder: impl Fn() -> Builder, rows: usize, missing: &str) {
    for n in [1, 5] {
        let sim = started(builder());
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
        let ran = ran.says("; the run starts over");
        let begun = first_pages(&sim);
        assert_eq!(begun, 2, "{}", ran.stderr);
        match n {
            1 => {
                ran.ended(1).says("hint: run it again later");
                assert_eq!(place.names(), Vec::<String>::new());
                assert_eq!(report["error"]["kind"], "incomplete");
            }
            _ => {
                ran.ended(3).says(&format!("missing: {missing}"));
                assert_eq!(
                    in_table::<Profile>(&place.path("out.db"), "profiles").len(),
                    rows
                );
                assert_eq!(report["row_count"], rows);
                assert_eq!(report["failed_partitions"], serde_json::json!([missing]));
            }
        }
        // For a project whose totals are known to be wrong.
        let accepting = profiles(&sim, "accept_short = true");
        let other = DUCKDB.replace("out.db", "other.db");
        let (ran, report) = place.run(&pipeline(&[&accepting, &other, &workers(n)]));
        ran.ended(0).says("the source announced");
        assert_eq!(report["row_count"], rows);
    }
}

/// Returns how many snapshots were begun.
fn first_pages(sim: &Simulator) -> usize {
    let requests = sim.requests_to(Endpoint::Engage);
    let first = requests
        .iter()
        .filter(|request| request.param("page").is_none());
    first.count()
}

#[test]
fn profiles_that_were_announced_and_do_not_come_are_a_failure() {
    for (count, total) in [(650, 1_500), (600, 601), (100, 200), (50, 200), (50, 60)] {
        let missing = format!("{} of {total} announced rows", total - count);
        comes_short(|| of(count).lie_about_total(total as u64), count, &missing);
    }
}

#[test]
fn an_empty_page_in_the_middle_is_a_failure() {
    let empty = || Fault::always(Matcher::engage_page(2), Action::EmptyPage);
    comes_short(|| of(550).fault(empty()), 450, "100 of 550 announced rows");
}

#[test]
fn an_empty_page_that_is_whole_the_next_time_costs_nothing() {
    // The page is asked for twice, and then all of them anew.
    for (times, begun) in [(1, 1), (2, 2)] {
        let fault = || Fault {
            times: Some(times),
            ..Fault::always(Matcher::engage_page(2), Action::EmptyPage)
        };
        for n in [1, 5] {
            let sim = started(of(550).fault(fault()));
            let place = Place::new();
            let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]);
            place.run(&text).0.ended(0);
            assert_same(
                &in_table::<Profile>(&place.path("out.db"), "profiles"),
                &expected_profiles(&sim, &EngageQuery::default()),
            );
            assert_eq!(first_pages(&sim), begun);
        }
    }
}

fn other_page(page: u64, content: u64, admitted: bool) -> (Matcher, Action) {
    let action = Action::OtherPage { content, admitted };
    (Matcher::engage_page(page), action)
}

#[test]
fn another_page_than_was_asked_for_is_not_taken() {
    for (admitted, reason) in [
        (true, "the answer is page 1"),
        (false, "100 of its 100 profiles have come before"),
    ] {
        let (matcher, action) = other_page(2, 1, admitted);
        // It passes.
        let once = || of(550).fault(Fault::once(matcher.clone(), action.clone()));
        all_are_there(once);
        // It stays. Which of two equal pages is wrong cannot be told, so that
        // none is kept of a snapshot that has them.
        for (n, code) in [(1, 1), (5, if admitted { 3 } else { 1 })] {
            let sim = started(of(550).fault(Fault::always(matcher.clone(), action.clone())));
            let place = Place::new();
            let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
            ran.ended(code).says(reason);
            if code == 3 {
                assert_eq!(report["row_count"], 450);
            }
        }
    }
}

#[test]
fn a_cache_that_repeats_page_0_for_ever_ends_the_run() {
    for admitted in [true, false] {
        for total in [None, Some(1_000_000), Some(1_000_000_000_000)] {
            for n in [1, 5] {
                let action = Action::OtherPage {
                    content: 0,
                    admitted,
                };
                let mut builder = of(550).fault(Fault::always(Matcher::engage(), action));
                builder = match total {
                    None => builder.total_on(TotalOn::Never),
                    Some(total) => builder.lie_about_total(total),
                };
                let sim = started(builder);
                let place = Place::new();
                let text = pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]);
                let (ran, report) = place.run(&text);
                // Of a snapshot of unknown length the first page may be kept.
                let keeps = n > 1 && total.is_none() && admitted;
                ran.ended(if keeps { 3 } else { 1 });
                let kept = if keeps { 100 } else { 0 };
                assert_eq!(report["row_count"], kept);
                // The tries of five workers, in two snapshots.
                let requests = sim.requests_to(Endpoint::Engage).len();
                assert!(requests <= 2 * (1 + 5 * 5), "{requests}");
            }
        }
    }
}

#[test]
fn a_total_beyond_all_reason_is_an_error_or_left_out_of_account() {
    let sim = started(of(550).lie_about_total(1_000_000_000_000));
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB]));
    ran.ended(1)
        .says("1000000000000 profiles were announced")
        .says("hint: narrow them by `where`");
    let accepting = profiles(&sim, "accept_short = true");
    let (ran, report) = place.run(&pipeline(&[&accepting, DUCKDB]));
    ran.ended(0);
    assert_eq!(report["row_count"], 550);
    // One that is only very wrong costs few requests.
    let sim = started(of(550).lie_about_total(1_000_000));
    let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]));
    ran.ended(6);
    assert_eq!(report["requests"], 0);
    let other = DUCKDB.replace("out.db", "other.db");
    let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), &other, &workers(5)]));
    ran.ended(3);
    assert_eq!(report["row_count"], 550);
    let requests = sim.requests_to(Endpoint::Engage).len();
    assert!(requests < 60, "{requests}");
}

#[test]
fn an_error_beyond_the_total_is_not_the_end() {
    let message = "internal error".to_owned();
    for action in [Action::ErrorIn200 { message }, Action::ExpireSession] {
        for n in [1, 5] {
            let fault = Fault::always(Matcher::engage_page(2), action.clone());
            // Two pages are announced, and there are seven.
            let sim = started(of(650).lie_about_total(200).fault(fault));
            let place = Place::new();
            let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
            assert_ne!(ran.code, Some(0), "{action:?}:\n{}", ran.stderr);
            assert_ne!(report["status"], "committed");
        }
    }
    // A server may say that there is no page after those of the total.
    let refused = Action::Status {
        code: 400,
        retry_after: None,
        body: Some("there is no such page".to_owned()),
    };
    all_are_there(|| of(200).fault(Fault::always(Matcher::engage_page(2), refused.clone())));
}

#[test]
fn without_a_page_size_an_empty_page_is_the_end() {
    let nameless = || Fault::always(Matcher::engage(), Action::NoPageSize);
    for count in [0, 1, 99, 100, 101, 650, 700] {
        all_are_there(|| of(count).fault(nameless()));
        all_are_there(|| of(count).fault(nameless()).total_on(TotalOn::Never));
    }
}

#[test]
fn behaviors_over_several_pages_have_a_time() {
    let sim = started(of(250));
    let source = profiles(&sim, "behaviors = \"[{}]\"");
    let (ran, report) = Place::new().run(&pipeline(&[&source, DUCKDB]));
    ran.ended(0);
    assert_eq!(report["row_count"], 250);
    let requests = sim.requests_to(Endpoint::Engage);
    let time = |n: usize| requests[n].param("as_of_timestamp").map(str::to_owned);
    assert!(time(0).is_some_and(|time| time.parse::<i64>().is_ok()));
    assert_eq!(time(0), time(2));
}

#[test]
fn a_cohorts_members_without_a_profile_come_when_they_are_asked_for() {
    for (include, sent) in [("", "false"), ("include_all_users = true", "true")] {
        let sim = started(of(70).members_without_profile(5));
        let source = profiles(&sim, &format!("cohort_id = 3\n{include}"));
        let (ran, report) = Place::new().run(&pipeline(&[&source, DUCKDB]));
        ran.ended(0);
        let requests = sim.requests_to(Endpoint::Engage);
        assert_eq!(requests[0].param("include_all_users"), Some(sent));
        let members = if sent == "true" { 15 } else { 10 };
        assert_eq!(report["row_count"], members);
    }
}

#[test]
fn a_profile_that_cannot_be_read_costs_no_page() {
    let mut data = Data::generated(0, 150, 3);
    for bad in [
        r#"{"$properties":{}}"#,
        r#"{"$distinct_id":"a","$properties":7}"#,
        "17",
    ] {
        data.add_profile(bad);
    }
    let sim = started(sim(data).page_size(100));
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB]));
    ran.ended(0).says("3 records could not be read");
    assert_eq!(
        (&report["row_count"], &report["rejected"]),
        (&150.into(), &3.into())
    );
    let rejects = std::fs::read_to_string(report["reject_file"].as_str().unwrap()).unwrap();
    assert!(
        rejects.contains("\"partition\":\"page 1\",\"line\":51"),
        "{rejects}"
    );
}
