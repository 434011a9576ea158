//! kill -9 in every state of a run: the destination is as it was or as it
//! should be, and the next run works.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use mixflow_tests::sim::{Data, ExportQuery, Simulator};

use crate::rows::form::{Event, assert_same, delta_files, expected_events, sorted, written_by};
use crate::support::{Place, events, pipeline, sim, started};

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 4), 12_000, 0, seed)
}

const KINDS: [(&str, &str); 5] = [
    ("duckdb", "out.db"),
    ("delta", "out"),
    ("parquet", "out"),
    ("parquet", "out.parquet"),
    ("jsonl", "out.jsonl"),
];

fn rows(place: &Place, kind: &str, path: &str) -> Vec<Event> {
    if place.path(path).exists() {
        written_by(kind, &place.path(path))
    } else {
        Vec::new()
    }
}

fn text(sim: &Simulator, kind: &str, path: &str, mode: &str) -> String {
    let days = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";
    let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n");
    pipeline(&[&events(sim, days), &sink])
}

/// When the process is killed: after what it has said for the n-th time.
///
/// States, not times, so that a busy machine kills at the same places.
pub const MOMENTS: [(&str, usize); 13] = [
    ("planned", 1),
    ("partition_started", 1),
    ("partition_read", 1),
    ("partition_done", 1),
    ("partition_started", 2),
    ("partition_done", 2),
    ("partition_read", 3),
    ("partition_done", 3),
    ("partition_started", 4),
    ("partition_done", 4),
    ("committing", 1),
    // After this the commit has begun to change the folder, or has ended.
    (CHANGED, 1),
    ("finished", 1),
];

/// Something in the folder has come, gone or grown since `committing`.
const CHANGED: &str = "changed";

/// Runs `test.toml` and kills the process at `moment`.
pub fn kill_at(place: &Place, (event, nth): (&str, usize)) {
    let mut child = place.spawn(&["run", "test.toml", "--progress", "json"]);
    let waits_for = if event == CHANGED {
        "committing"
    } else {
        event
    };
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut left = nth;
    while left > 0
        && let Some(Ok(line)) = told.next()
    {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        left -= usize::from(line["event"] == waits_for);
    }
    assert_eq!(left, 0, "the run has ended without {nth} × {waits_for}");
    if event == CHANGED {
        let before = state_of(place);
        while state_of(place) == before && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns each file of the folder, hidden ones included, with its size.
fn state_of(place: &Place) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    let mut folders = vec![place.path(".")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // What goes while it is looked at is not there.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() && entry.file_name() != "state" {
                folders.push(entry.path());
            }
            files.insert(entry.path(), about.len());
        }
    }
    files
}

#[test]
fn a_process_that_is_killed_leaves_the_destination_as_it_was_or_as_it_should_be() {
    let sim = started(sim(data(1)));
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 4));
    let old = sorted(expected_events(&sim, &days));
    sim.set_data(data(2));
    let new = sorted(expected_events(&sim, &days));
    let (mut as_it_was, mut as_it_should_be) = (0, 0);
    for (kind, path) in KINDS {
        for mode in ["create", "replace"] {
            let place = Place::new();
            for moment in MOMENTS {
                let before: &[Event] = match mode {
                    "create" => &[],
                    _ => &old,
                };
                if mode == "create" {
                    remove(&place, path);
                } else {
                    sim.set_data(data(1));
                    place.run(&text(&sim, kind, path, "replace")).0.ended(0);
                    sim.set_data(data(2));
                }
                place.write("test.toml", &text(&sim, kind, path, mode));
                kill_at(&place, moment);
                let found = rows(&place, kind, path);
                if let Some(days) = days_of_ledger(&place, path) {
                    assert_eq!(days, days_of(&found), "{mode}, {moment:?}");
                }
                if found.len() == before.len() && found == before {
                    as_it_was += 1;
                } else {
                    assert_same(&found, &new);
                    as_it_should_be += 1;
                }
                // The next run works, and cleans up.
                place.run(&text(&sim, kind, path, "replace")).0.ended(0);
                assert_same(&rows(&place, kind, path), &new);
                let names = place.names();
                assert_eq!(names, [path], "{kind}, {mode}, {moment:?}");
                if kind == "delta" {
                    assert_no_leftovers(&place.path(path));
                }
            }
        }
    }
    eprintln!("as it was: {as_it_was}, as it should be: {as_it_should_be}");
    assert_eq!(as_it_was + as_it_should_be, 130);
    // Before the commit it is as it was, and after the end as it should be.
    assert!(as_it_was >= 100, "{as_it_was}");
    assert!(as_it_should_be >= 10, "{as_it_should_be}");
}

/// Returns the rows of each day by the ledger of a folder, if there is one.
fn days_of_ledger(place: &Place, path: &str) -> Option<BTreeMap<Date, u64>> {
    let text = std::fs::read(place.path(path).join("_mixflow/ledger.json")).ok()?;
    let ledger: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let days = ledger["datasets"][0]["days"].as_array().unwrap();
    let day = |record: &serde_json::Value| {
        let day = record["day"].as_str().unwrap().parse().unwrap();
        (day, record["rows"].as_u64().unwrap())
    };
    Some(days.iter().map(day).collect())
}

fn days_of(rows: &[Event]) -> BTreeMap<Date, u64> {
    let mut days = BTreeMap::new();
    for row in rows {
        let time = Timestamp::from_microsecond(row.event_time_us).unwrap();
        *days.entry(time.to_zoned(TimeZone::UTC).date()).or_default() += 1;
    }
    days
}

/// Checks that a Delta table's folder has no file that no commit ever named.
pub fn assert_no_leftovers(table: &Path) {
    let (_, ever) = delta_files(table);
    let mut folders = vec![table.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(table).unwrap().to_str().unwrap();
            if below == "_delta_log" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                assert!(ever.contains(below), "`{below}` is left");
            }
        }
    }
}

fn remove(place: &Place, path: &str) {
    let path = place.path(path);
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        let _ = std::fs::remove_file(path);
    }
}
