//! The contract of every sink, for each database.

use std::path::{Path, PathBuf};

use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::testing::{Cells, SinkUnderTest, cells_of, sink_conformance};
use mixflow_sink_adbc::AdbcOptions;
use mixflow_tests::databases::{Postgres, driver};

use crate::support::{ask, connect, duckdb, options, sink};

/// A database in a file.
struct File {
    driver: PathBuf,
    /// What the driver calls the option with the path.
    option: &'static str,
    modes: &'static [WriteMode],
}

const ALL: &[WriteMode] = &[
    WriteMode::Create,
    WriteMode::Append,
    WriteMode::Replace,
    WriteMode::ReplaceWindow,
];

impl SinkUnderTest for File {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        if !self.modes.contains(&mode) {
            return None;
        }
        let path = place.with_extension("db");
        let options = options(&self.driver, path.to_str().unwrap(), mode);
        Some(Box::new(sink(options)))
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let path = place.with_extension("db");
        if !path.exists() {
            return None;
        }
        let mut connection = connect(&self.driver, &[(self.option, path.to_str().unwrap())]);
        let batches = ask(&mut connection, "SELECT * FROM events").ok()?;
        let mut rows = cells_of(&batches);
        for cell in rows
            .iter_mut()
            .filter_map(|row| row.get_mut("a_bool")?.as_mut())
        {
            // SQLite has no booleans.
            *cell = cell.replace('1', "true").replace('0', "false");
        }
        Some(rows)
    }
}

#[test]
fn sqlite_keeps_the_contract() {
    let Some(driver) = driver("sqlite") else {
        return;
    };
    let report = sink_conformance(&File {
        driver,
        option: "uri",
        modes: ALL,
    });
    assert_eq!(report.skipped, Vec::<&str>::new());
    let refused = [
        "a_text_view",
        "a_uint64",
        "a_decimal",
        "a_time_in_s",
        "a_time_in_ms",
        "a_time_in_ns",
    ];
    assert_eq!(report.refused_types, refused);
}

#[test]
fn duckdb_through_adbc_keeps_the_contract() {
    let Some(driver) = duckdb() else {
        return;
    };
    let report = sink_conformance(&File {
        driver,
        option: "path",
        modes: ALL,
    });
    assert_eq!(report.skipped, Vec::<&str>::new());
}

struct Server {
    server: Postgres,
    driver: PathBuf,
}

impl Server {
    /// A schema for each place.
    fn schema(place: &Path) -> String {
        let name = place.parent().unwrap().file_name().unwrap();
        name.to_str().unwrap().to_owned()
    }

    fn options(&self, place: &Path, mode: WriteMode) -> AdbcOptions {
        AdbcOptions {
            schema: Some(Server::schema(place)),
            ..options(&self.driver, &self.server.uri("postgres"), mode)
        }
    }
}

impl SinkUnderTest for Server {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        Some(Box::new(sink(self.options(place, mode))))
    }

    fn unwritable(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        let mut options = self.options(place, mode);
        options.uri = crate::support::plain("postgresql:///x?host=/nonexistent&user=x");
        Some(Box::new(sink(options)))
    }

    fn holds_nul(&self) -> bool {
        false
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let mut connection = connect(&self.driver, &[("uri", &self.server.uri("postgres"))]);
        let sql = format!("SELECT * FROM \"{}\".events", Server::schema(place));
        let batches = ask(&mut connection, &sql).ok()?;
        Some(cells_of(&batches))
    }
}

#[test]
fn postgres_keeps_the_contract() {
    let (Some(driver), Some(server)) = (driver("postgresql"), Postgres::start(&[])) else {
        return;
    };
    let report = sink_conformance(&Server { server, driver });
    assert_eq!(report.skipped, Vec::<&str>::new());
}
