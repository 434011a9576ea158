//! A PostgreSQL, and mixflow with a driver for it.

use std::path::PathBuf;
use std::process::Command;

use mixflow_tests::databases::{Postgres, driver};
use mixflow_tests::sim::Simulator;

use crate::rows::form::{Event, sorted};
use crate::support::{Place, Ran, events, pipeline};

/// Returns a folder with the manifest of a driver, as somebody would install it;
/// `None` where the driver cannot be had.
pub fn manifests(place: &Place, name: &str) -> Option<PathBuf> {
    let library = driver(name)?;
    let folder = place.path("drivers");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "manifest_version = 1\nname = \"{name}\"\n[Driver]\nshared = \"{}\"\n",
        library.display()
    );
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    Some(folder)
}

/// A server and a place to run pipelines into it.
pub struct Warehouse {
    pub server: Postgres,
    pub place: Place,
    drivers: PathBuf,
    /// What the pipelines have as the database's URI.
    pub uri: String,
}

impl Warehouse {
    pub fn start() -> Option<Warehouse> {
        Warehouse::on(Postgres::start(&[])?)
    }

    pub fn on(server: Postgres) -> Option<Warehouse> {
        let place = Place::new();
        Some(Warehouse {
            drivers: manifests(&place, "postgresql")?,
            uri: server.uri("postgres"),
            server,
            place,
        })
    }

    /// Returns a `[sink]` into the table `events`, whose `properties` keep their
    /// text, so that rows can be compared.
    pub fn sink(mode: &str) -> String {
        let columns = "event_name text, event_time timestamptz, distinct_id text, insert_id text, properties json";
        format!(
            "[sink]\ntype = \"adbc\"\ndriver = \"postgresql\"\nuri = {{ env = \"DATABASE_URL\" }}\ntable = \"events\"\nmode = \"{mode}\"\nddl = \"CREATE TABLE {{table}} ({columns})\"\n"
        )
    }

    /// Writes a pipeline of days into the table.
    pub fn write(&self, sim: &Simulator, days: &str, mode: &str, run: &str) {
        let text = pipeline(&[&events(sim, days), &Warehouse::sink(mode), run]);
        self.place.write("test.toml", &text);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command
            .env("DATABASE_URL", &self.uri)
            .env("ADBC_DRIVER_PATH", &self.drivers);
        command
    }

    pub fn mixflow(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs a command at another time.
    pub fn at(&self, now: &str, args: &[&str]) -> Ran {
        Ran::of(self.command(args).env("MIXFLOW_NOW", now).output().unwrap())
    }

    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(sql)
    }

    /// Returns the rows of `events`, sorted; `None` if there is no such table.
    pub fn rows(&self) -> Option<Vec<Event>> {
        rows(&self.server)
    }

    pub fn report(&self) -> serde_json::Value {
        serde_json::from_str(&self.place.read("report.json")).unwrap()
    }

    /// Checks that the ledger has as many rows of each day as the table.
    #[track_caller]
    pub fn ledger_agrees(&self) {
        if self.sql("SELECT to_regclass('_mixflow_unit_days')::text IS NOT NULL AND to_regclass('events') IS NOT NULL") != "t" {
            return;
        }
        let differ = "SELECT count(*) FROM (SELECT event_time::date AS day, count(*) AS n FROM events GROUP BY 1) t \
             FULL JOIN (SELECT day, \"rows\" AS n FROM _mixflow_unit_days WHERE \"rows\" > 0) l USING (day) \
             WHERE t.n IS DISTINCT FROM l.n";
        assert_eq!(self.sql(differ), "0");
    }
}

/// Returns the rows of the table `events` of a server, sorted.
pub fn rows(server: &Postgres) -> Option<Vec<Event>> {
    let sql = "SELECT (extract(epoch FROM event_time) * 1000000)::bigint, insert_id, event_name, distinct_id, properties FROM events";
    let output = server
        .psql("postgres")
        .args(["-qAt", "-F", "\u{1f}", "-R", "\u{1e}", "-c", sql])
        .output()
        .unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let rows = text.split('\u{1e}').filter(|row| !row.is_empty());
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('\u{1f}').collect();
        Event {
            event_time_us: cells[0].parse().unwrap(),
            insert_id: cells[1].to_owned(),
            event_name: cells[2].to_owned(),
            distinct_id: cells[3].to_owned(),
            properties: cells[4].to_owned(),
        }
    });
    Some(sorted(rows.collect()))
}
