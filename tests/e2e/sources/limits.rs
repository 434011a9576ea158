//! A 429 as Mixpanel answers it today, and requests that reach nobody.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Endpoint, Fault, Limits, Matcher};

use crate::support::{
    DUCKDB, Place, Ran, Stamped, events, pipeline, profiles, sim, started, workers,
};

const TEN: &str = "from = \"2024-01-01\"\nto = \"2024-01-10\"\nwindow_days = 1\n";

fn ten_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 10), 500, 300, 7)
}

fn rate_limited(resets_in: u32) -> Action {
    Action::RateLimited {
        per_hour: 60,
        resets_in,
    }
}

fn retry(max_wait: &str) -> String {
    format!("retry = {{ base_delay = \"1ms\", max_delay = \"5ms\", max_wait = \"{max_wait}\" }}\n")
}

#[test]
fn it_is_waited_for_as_it_says() {
    for engage in [false, true] {
        let fault = if engage {
            Fault::once(Matcher::engage_page(1), rate_limited(2))
        } else {
            Fault::once(Matcher::export(), rate_limited(2))
        };
        let sim = started(sim(ten_days()).page_size(100).fault(fault));
        let source = if engage {
            profiles(&sim, "")
        } else {
            events(&sim, TEN)
        };
        let (ran, report) = Place::new().run(&pipeline(&[&source, DUCKDB]));
        ran.ended(0)
            .says("(61/60 queries running in the last hour)")
            .says("trying again in 2.0 s");
        assert_eq!(report["retries"], 1);
        let times: Vec<Instant> = sim.requests().iter().map(|request| request.at).collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() >= Duration::from_secs(2));
    }
}

#[test]
fn beyond_max_wait_it_ends_the_run_at_once_under_any_policy() {
    for n in [1, 3] {
        let fault = Fault::always(Matcher::export(), rate_limited(3_600));
        let sim = started(sim(ten_days()).fault(fault));
        let source = events(&sim, &format!("{TEN}{}", retry("10s")));
        let place = Place::new();
        let (ran, report) = place.run(&pipeline(&[&source, DUCKDB, &workers(n)]));
        ran.ended(5)
            .says("would have to wait 60 min, longer than `max_wait` (10 s)")
            .says("hint: run again later");
        assert_eq!(report["error"]["kind"], "quota");
        assert!(sim.requests().len() <= n, "{}", sim.requests().len());
        assert_eq!(place.names(), Vec::<String>::new());
    }
}

#[test]
fn an_hour_that_is_not_over_when_it_was_to_be_does_not_eat_the_tries() {
    let fault = Fault::always(Matcher::export(), rate_limited(1));
    let sim = started(sim(ten_days()).fault(fault));
    let source = events(&sim, &format!("{TEN}{}", retry("10s")));
    let (ran, _) = Place::new().run(&pipeline(&[&source, DUCKDB]));
    ran.ended(5).says("longer than `max_wait` (10 s)");
    assert_eq!(sim.requests().len(), 2);
}

#[test]
fn a_wait_of_a_day_does_not_keep_later_runs_from_asking() {
    let fault = Fault::once(
        Matcher::export(),
        Action::Status {
            code: 429,
            retry_after: Some("80000".to_owned()),
            body: None,
        },
    );
    let sim = started(sim(ten_days()).fault(fault));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, TEN), DUCKDB]);
    place.run(&text).0.ended(5).says("longer than `max_wait`");
    assert_eq!(sim.requests().len(), 1);
    place.run(&text).0.ended(0);
}

/// As `events`, but with a limit an hour only if there is one to say.
fn seventy_days(sim: &mixflow_tests::sim::Simulator, per_hour: &str) -> String {
    let days = "from = \"2024-01-01\"\nto = \"2024-03-10\"\nwindow_days = 1\n";
    events(sim, &format!("{days}{}", retry("1s"))).replace(
        "per_second = 10000, per_hour = 10000",
        &format!("per_second = 10000{per_hour}"),
    )
}

#[test]
fn the_server_teaches_its_limit() {
    let limited = |per_hour| {
        let limits = Limits {
            per_hour: Some(per_hour),
            ..Limits::default()
        };
        started(sim(ten_days()).limits_of(Endpoint::Export, limits))
    };
    // More than the 60 that are documented.
    let sim = limited(240);
    let text = pipeline(&[&seventy_days(&sim, ""), DUCKDB]);
    let (ran, report) = Place::new().run(&text);
    ran.ended(0);
    assert_eq!(report["requests"], 70);
    // Fewer: it need not say no.
    let sim = limited(10);
    let place = Place::new();
    let text = pipeline(&[&seventy_days(&sim, ""), DUCKDB]);
    place
        .run(&text)
        .0
        .ended(5)
        .says("10 requests were made within the hour");
    assert!(sim.requests().iter().all(|request| request.status == 200));
    assert_eq!(sim.requests().len(), 10);
    // The pipeline knows better.
    let sim = limited(240);
    let text = pipeline(&[&seventy_days(&sim, ", per_hour = 20"), DUCKDB]);
    Place::new().run(&text).0.ended(5);
    assert_eq!(sim.requests().len(), 20);
}

#[test]
fn an_unreachable_host_ends_the_run_and_is_not_charged() {
    let sim = started(sim(ten_days()));
    let source = events(&sim, &format!("{TEN}{}", retry("1m")));
    drop(sim);
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&source, DUCKDB, &workers(3)]));
    ran.ended(1)
        .says("cannot reach http://127.0.0.1")
        .says("hint: check the network");
    assert_eq!(report["error"]["kind"], "network");
    // The tries of three workers, not of ten windows.
    assert!(report["requests"].as_u64().unwrap() <= 15, "{report}");
    let plan = place.mixflow(&["plan", "test.toml"]).stdout_lossy();
    assert!(plan.contains("that are allowed in an hour"), "{plan}");
    assert!(!plan.contains("were made in the last hour"), "{plan}");
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error() {
    let sim = started(sim(ten_days()));
    for source in [events(&sim, TEN), profiles(&sim, "")] {
        let place = Place::new();
        place.write("test.toml", &pipeline(&[&source, DUCKDB]));
        let mut command = place.command(&["run", "test.toml"]);
        command.env("HTTPS_PROXY", "socks5://me:pw-3f@127.0.0.1:1");
        let ran = Ran::of(command.output().unwrap())
            .ended(2)
            .says("cannot use the proxy of `HTTPS_PROXY`")
            .says("SOCKS");
        assert!(!ran.stderr.contains("pw-3f"), "{}", ran.stderr);
    }
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn a_day_that_has_not_come_names_the_zone() {
    let sim = started(sim(ten_days()).today(date(2024, 1, 9)));
    let zoned = format!("{TEN}timezone = \"US/Pacific\"");
    for (more, zone) in [(TEN, "UTC"), (&zoned, "US/Pacific")] {
        let (ran, _) = Place::new().run(&pipeline(&[&events(&sim, more), DUCKDB]));
        ran.ended(1)
            .says("to_date cannot be later than today")
            .says(&format!("`timezone` says `{zone}`, where today is 20"));
    }
}

/// Runs until a line of stderr says `text`, and returns the lines until then.
fn said_until(args: &[&str], source: &str, text: &str) -> Vec<String> {
    let place = Place::new();
    place.write("test.toml", &pipeline(&[source, DUCKDB]));
    let mut child = place
        .command(&[&["run", "test.toml"], args].concat())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said.last().is_some_and(|line| line.contains(text)) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

#[test]
fn a_long_wait_is_told_with_quiet_too_and_when_it_ends() {
    // Page 0 of profiles is asked for while the plan is made.
    let fault = || Fault::always(Matcher::default(), rate_limited(125));
    let sim = started(sim(ten_days()).fault(fault()));
    for source in [events(&sim, TEN), profiles(&sim, "")] {
        let said = said_until(&["-q"], &source, "trying again in 2 min 5 s");
        assert_eq!(said.len(), 1, "{said:?}");
        let said = Stamped::read(&said[0]).unwrap();
        assert!(said.text.starts_with("note: "), "{said:?}");
        let said = said_until(&[], &source, " goes on at ");
        let last = said.last().unwrap();
        assert!(last.contains(" UTC, in "), "{last}");
    }
}
