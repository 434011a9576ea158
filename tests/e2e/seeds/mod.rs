//! The scenarios of the requirements, one test each.
//!
//! `tests/SEEDS.md` names the test of every requirement.

mod fetcher;
mod parallel;
mod store;
mod streaming;
mod workspace;

use std::process::Command;

use jiff::civil::date;
use mixflow_tests::sim::{Builder, Data, ExportQuery, Simulator};
use serde_json::Value;

use crate::rows::form::{Event, Row, expected_events, in_table};
use crate::support::{Place, Ran, SECRET, sim, started};

/// Where `fetch` stores rows unless it is told otherwise.
const DB: &str = ".mixpanel_data/12345.db";

/// Three days of the five that there are, one request each.
const DAYS: [&str; 6] = [
    "--from",
    "2024-01-02",
    "--to",
    "2024-01-04",
    "--window-days",
    "1",
];

const PRO: &str = "properties[\"plan\"] == \"pro\"";

/// What [`DAYS`] ask for.
fn days() -> ExportQuery {
    ExportQuery::new(date(2024, 1, 2), date(2024, 1, 4))
}

/// A project in Mixpanel, and a place to fetch it to.
struct Project {
    sim: Simulator,
    place: Place,
}

impl Project {
    /// 1,500 events of five days, and 450 profiles on five pages.
    fn new() -> Project {
        let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_500, 450, 7);
        Project::of(sim(data))
    }

    fn of(builder: Builder) -> Project {
        let place = Place::new();
        // No waits that only the real Mixpanel needs.
        place.write(
            "source.toml",
            "[source]
             limits = { per_second = 1000, per_hour = 10000 }
             retry = { base_delay = \"1ms\", max_delay = \"5ms\" }",
        );
        let sim = started(builder.page_size(100));
        Project { sim, place }
    }

    /// Prepares `mixflow fetch …` with credentials in the environment.
    fn command(&self, args: &[&str], more: &[&str]) -> Command {
        let mut command = self.place.command(&["fetch"]);
        command
            .args(args)
            .args(more)
            .args(["--config", "source.toml", "--report", "report.json"])
            .env("MIXPANEL_USERNAME", "sim")
            .env("MIXPANEL_SECRET", SECRET)
            .env("MIXPANEL_PROJECT_ID", "12345")
            .env("MIXPANEL_BASE_URL", self.sim.base_url());
        command
    }

    /// Prepares to fetch the events of [`DAYS`].
    fn command_for_events(&self, more: &[&str]) -> Command {
        self.command(&[&["events"], &DAYS[..]].concat(), more)
    }

    fn events(&self, more: &[&str]) -> Ran {
        Ran::of(self.command_for_events(more).output().unwrap())
    }

    fn profiles(&self, more: &[&str]) -> Ran {
        Ran::of(self.command(&["profiles"], more).output().unwrap())
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.place.read("report.json")).unwrap()
    }

    fn table<R: Row>(&self, name: &str) -> Vec<R> {
        in_table(&self.place.path(DB), name)
    }

    /// The names of all tables, ours included.
    fn tables(&self) -> Vec<Vec<String>> {
        let sql = "SELECT table_name FROM duckdb_tables() WHERE NOT starts_with(table_name, '_mixflow') ORDER BY ALL";
        self.place.sql(DB, sql)
    }

    /// What [`DAYS`] hold.
    fn expected(&self) -> Vec<Event> {
        expected_events(&self.sim, &days())
    }

    /// The number of rows after the first, second and third day.
    fn running_counts(&self) -> [usize; 3] {
        let up_to = |day| ExportQuery::new(date(2024, 1, 2), date(2024, 1, day));
        [2, 3, 4].map(|day| expected_events(&self.sim, &up_to(day)).len())
    }
}

/// The lines of `--progress json` of a kind.
fn progress(ran: &Ran, event: &str) -> Vec<Value> {
    let lines = ran.stderr.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}
