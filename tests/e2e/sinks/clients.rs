//! Other versions of DuckDB on our files.

use std::path::{Path, PathBuf};
use std::process::Command;

use mixflow::{Events, Store};
use mixflow_tests::sim::{Data, Simulator};

use crate::cli::python::python;
use crate::packages::python_with;
use crate::rows::form::{Event, in_parquet};
use crate::support::{DUCKDB, Place, events, pipeline, profiles, sim, started, workspace};

/// DuckDB's Python clients: the oldest one that a file promises, the last of
/// the line that most tools have, and the newest that there is.
fn clients() -> Vec<PathBuf> {
    ["duckdb==1.2.0", "duckdb==1.4.*", "duckdb"]
        .iter()
        .filter_map(|package| {
            let name = package.replace("==", "-").replace(".*", "");
            python_with(&name, &[package], "duckdb")
        })
        .collect()
}

/// Asks a database by a client, each value in a line of its own.
#[track_caller]
pub fn asked(client: &Path, db: &Path, sql: &str) -> String {
    const SCRIPT: &str = "\
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as db:
    for row in db.sql(sys.argv[2]).fetchall():
        print(*row)
";
    let output = Command::new(client)
        .args(["-c", SCRIPT])
        .args([db.as_os_str(), sql.as_ref()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", client.display());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn storage_version(db: &Path) -> String {
    let store = Store::open_read_only(db).unwrap();
    let sql = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()";
    store.scalar(sql).unwrap()
}

/// A run of one day, and what its report warns of.
fn run(sim: &Simulator, place: &Place, sink: &str) -> Vec<String> {
    let source = events(sim, "from = \"2024-01-14\"\nto = \"2024-01-14\"");
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n{sink}");
    let (ran, report) = place.run(&pipeline(&[&source, &sink]));
    ran.ended(0);
    let warnings = report["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| warning.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_new_file_opens_in_duckdb_1_2_and_later() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let db = place.path("out.db");
    let people = profiles(&sim, "");
    for source in [events(&sim, ""), people] {
        place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    }
    // A run that adds to the file, and one that replaces in it.
    run(&sim, &place, "");
    let asking = [
        "SELECT count(*), min(event_time), count(properties->>'/$os') FROM events",
        "SELECT properties->>'/$os' AS os, count(*) FROM events GROUP BY os ORDER BY os",
        "SELECT count(*), count(properties->>'/$city'), max(last_seen) FROM profiles",
        "SELECT table_name, row_count, status, missing FROM _metadata ORDER BY table_name",
        "SELECT count(*), sum(rows), min(day), max(state) FROM _mixflow_days",
        "SELECT * FROM mf_daily('checkout') ORDER BY 1",
        "SELECT step, people FROM mf_funnel(['view item', 'checkout'], INTERVAL 1 DAY)",
        "SELECT sum(people), max(size) FROM mf_retention('sign up', NULL)",
        "SELECT count(*), sum(n), max(session) FROM mf_sessions(INTERVAL 30 MINUTE)",
        "SELECT count(*), count(person->>'/$city') FROM mf_people('events')",
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'events'",
    ];
    for client in clients() {
        for sql in asking {
            let ours = place.sql("out.db", sql);
            let ours: Vec<String> = ours.iter().map(|row| row.join(" ")).collect();
            // A time and an absent value read otherwise in Python.
            let theirs = asked(&client, &db, sql).replace("None", "NULL");
            let ours = ours.join("\n").replace("Z", "").replace('T', " ");
            let theirs = theirs.replace('T', " ");
            assert_eq!(theirs, ours, "{}: {sql}", client.display());
        }
        let events = asked(&client, &db, "SELECT count(*) FROM events");
        assert_eq!(events, "8000");
    }
}

#[test]
fn a_new_file_has_the_storage_version_that_was_asked_for() {
    let sim = started(sim(Data::sample()));
    for (asked, has) in [
        ("", "v1.2.0+"),
        ("storage_version = \"v1.4.0\"", "v1.4.0+"),
        ("storage_version = \"latest\"", "v2.0.0+"),
    ] {
        let place = Place::new();
        assert_eq!(run(&sim, &place, asked), Vec::<String>::new());
        assert_eq!(storage_version(&place.path("out.db")), has, "{asked}");
        // It stays, and nobody is told what he knows.
        assert_eq!(run(&sim, &place, asked), Vec::<String>::new());
        assert_eq!(run(&sim, &place, ""), Vec::<String>::new());
        assert_eq!(storage_version(&place.path("out.db")), has, "{asked}");
    }
}

#[test]
fn a_file_that_is_there_keeps_its_storage_version_with_a_warning() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    run(&sim, &place, "storage_version = \"v1.4.0\"");
    let ignored = |asked: &str| {
        format!(
            "`storage_version = \"{asked}\"` was ignored: `out.db` was made with v1.4.0, which stays"
        )
    };
    for asked in ["v1.2.0", "latest"] {
        let sink = format!("storage_version = \"{asked}\"");
        assert_eq!(run(&sim, &place, &sink), [ignored(asked)]);
    }
    // A patch of DuckDB changes nothing of its files.
    let same = run(&sim, &place, "storage_version = \"v1.4.3\"");
    assert_eq!(same, Vec::<String>::new());
    assert_eq!(storage_version(&place.path("out.db")), "v1.4.0+");
}

#[test]
fn stores_are_made_for_duckdb_1_2_too() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let path = place.path("store.db");
    let asking = workspace(&sim).state_folder(place.path("state"));
    let workspace = asking.path(&path).build().unwrap();
    let days = Events::between("2024-01-14", "2024-01-14");
    workspace.fetch_events(&days).unwrap();
    drop(workspace);
    assert_eq!(storage_version(&path), "v1.2.0+");
    let store = Store::open(place.path("own.db")).unwrap();
    drop(store);
    assert_eq!(storage_version(&place.path("own.db")), "v1.2.0+");
}

/// Without the note on UTC, Spark takes a time for the wall clock of its own
/// zone, and DuckDB and pyarrow for a time of no zone at all.
#[test]
fn parquet_times_are_instants_for_everybody() {
    const SCRIPT: &str = "\
import duckdb, pyarrow.parquet as pq
name = 'out.parquet'
print(pq.read_schema(name).field('event_time').type)
print(pq.read_metadata(name).schema.column(1).logical_type.to_json())
times = pq.read_table(name)['event_time'].to_pylist()
print(min(times).isoformat(), len(times))
with duckdb.connect() as db:
    db.execute(\"SET TimeZone = 'America/Los_Angeles'\")
    print(*db.execute(f\"SELECT typeof(event_time), epoch_us(event_time) FROM '{name}' ORDER BY 2\").fetchone())
";
    let Some(python) = python() else { return };
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let sink = "[sink]\ntype = \"parquet\"\npath = \"out.parquet\"\n";
    let text = pipeline(&[&events(&sim, ""), sink]);
    place.run(&text).0.ended(0);
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let first = in_parquet::<Event>(&place.path("out.parquet"));
    let first = first.iter().map(|event| event.event_time_us).min().unwrap();
    let shown = jiff::Timestamp::from_microsecond(first).unwrap();
    let shown = shown.to_string().replace('Z', "+00:00");
    let expected = format!(
        "timestamp[us, tz=UTC]\n\
         {{\"Type\":\"Timestamp\",\"isAdjustedToUTC\":true,\"timeUnit\":\"microseconds\",\
         \"is_from_converted_type\":false,\"force_set_converted_type\":false}}\n\
         {shown} 8000\n\
         TIMESTAMP WITH TIME ZONE {first}\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
