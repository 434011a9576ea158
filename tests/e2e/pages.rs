//! Where a snapshot of profiles ends, whatever the server says about it.

use mixflow_tests::sim::{Action, Builder, Data, Endpoint, EngageQuery, Fault, Matcher, TotalOn};

use super::rows::{Profile, assert_same, expected_profiles, in_table};
use super::support::{DUCKDB, Place, pipeline, profiles, sim, started, workers};

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

#[test]
fn a_total_that_is_missing_or_on_every_page_changes_nothing() {
    for count in [0, 99, 100, 101, 650, 700] {
        all_are_there(|| of(count).total_on(TotalOn::Never));
        all_are_there(|| of(count).total_on(TotalOn::EveryPage).results_first(true));
    }
}

#[test]
fn a_total_that_is_wrong_loses_no_page_and_is_told() {
    for (count, total) in [
        (650, 100),
        (650, 99),
        (650, 0),
        (650, 300),
        (650, 649),
        (650, 1_500),
        (600, 500),
        (600, 601),
        (50, 200),
    ] {
        for (said, _) in all_are_there(|| of(count).lie_about_total(total)) {
            let told = format!("the source announced {total} rows and gave {count}");
            assert!(said.contains(&told), "{count}, {total}:\n{said}");
        }
    }
}

#[test]
fn an_empty_page_in_the_middle_is_told() {
    for n in [1, 5] {
        let fault = Fault::always(Matcher::engage_page(2), Action::EmptyPage);
        let sim = started(of(550).fault(fault));
        let (ran, report) =
            Place::new().run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(n)]));
        ran.ended(0)
            .says("page 2 has 0 profiles where 100 were announced, and is not the last page")
            .says("the source announced 550 rows and gave 450");
        assert_eq!(report["row_count"], 450);
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
