//! Every file in `pipelines/`.

use std::path::PathBuf;

use jiff::civil::Date;
use mixflow_tests::sim::{Data, Endpoint, Simulator};

use crate::sinks::adbc::manifests;
use crate::support::{Place, Ran, SECRET, sim, started};

fn pipelines() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pipelines")
}

fn path(name: &str) -> String {
    pipelines().join(name).to_str().unwrap().to_owned()
}

#[test]
fn every_file_is_checked_without_network_or_secrets() {
    let mut names: Vec<String> = std::fs::read_dir(pipelines())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "daily.toml",
            "demo.toml",
            "exec.toml",
            "fanout.toml",
            "lake.toml",
            "parquet.toml",
            "postgres.toml",
            "private.toml",
            "profiles.toml",
            "stream.toml",
            "typed.toml"
        ]
    );
    for name in names {
        let place = Place::new();
        let mut command = place.command(&["check", &path(&name)]);
        if name == "postgres.toml" {
            // It loads the driver.
            let Some(folder) = manifests(&place, "postgresql") else {
                continue;
            };
            command.env("ADBC_DRIVER_PATH", folder);
        }
        let ran = Ran::of(command.output().unwrap()).ended(0);
        assert!(
            ran.stderr
                .ends_with(&format!("{}\n", ran.stderr.trim_end()))
        );
        assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    }
}

#[test]
fn the_demo_makes_its_database_and_can_be_run_again() {
    let place = Place::new();
    for _ in 0..2 {
        place.mixflow(&["run", &path("demo.toml")]).ended(0);
        let count = place.sql(
            "demo.db",
            "SELECT count(*), count(DISTINCT event_time::DATE) FROM events",
        );
        assert_eq!(count, [["100000", "14"]]);
    }
}

/// Runs a file against the simulator instead of Mixpanel.
fn run(place: &Place, sim: &Simulator, name: &str) -> Ran {
    let base = format!("source.base_url={}", sim.base_url());
    let output = place
        .command(&["run", &path(name), "--set", &base])
        .args(["--set", "source.limits.per_second=1000"])
        .env("MIXPANEL_USERNAME", "sim")
        .env("MIXPANEL_SECRET", SECRET)
        .env("MIXPANEL_PROJECT_ID", "12345")
        .output()
        .unwrap();
    Ran::of(output)
}

fn last_days() -> Data {
    let today: Date = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let first = today.checked_sub(jiff::Span::new().days(9)).unwrap();
    Data::generated_between(first, today, 2_000, 300, 7)
}

#[test]
fn daily_profiles_stream_and_parquet_run_and_can_be_run_again() {
    let sim = started(sim(last_days()).page_size(50));
    let place = Place::new();
    for _ in 0..2 {
        run(&place, &sim, "daily.toml").ended(0);
        // All days but today.
        assert_eq!(
            place.sql("mixpanel.db", "SELECT count(DISTINCT event_time::DATE), count(*) = count(DISTINCT insert_id) FROM events"),
            [["9", "true"]]
        );
        run(&place, &sim, "profiles.toml").ended(0);
        assert_eq!(
            place.sql("mixpanel.db", "SELECT count(*) FROM profiles"),
            [["300"]]
        );
        run(&place, &sim, "parquet.toml").ended(0);
        let folder = place.path("events").to_str().unwrap().to_owned();
        assert_eq!(
            place.sql(
                "mixpanel.db",
                &format!("SELECT count(DISTINCT date), count(*) = count(DISTINCT insert_id) FROM read_parquet('{folder}/**/*.parquet')")
            ),
            [["7", "true"]]
        );
        run(&place, &sim, "fanout.toml").ended(0);
        let lake = place.path("lake").to_str().unwrap().to_owned();
        let differ = format!(
            "SELECT count(*) FROM events ANTI JOIN read_parquet('{lake}/**/*.parquet') USING (insert_id)"
        );
        assert_eq!(place.sql("fanout.db", &differ), [["0"]]);
        let ran = run(&place, &sim, "stream.toml").ended(0);
        assert!(ran.stdout_lossy().lines().count() > 100);
    }
    // Six pages of fifty, and a look whether there is a seventh.
    assert_eq!(sim.requests_to(Endpoint::Engage).len(), 2 * 7);
}
