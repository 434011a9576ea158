//! kill -9 at random moments: the destination is as it was or as it should
//! be, and the next run works.

use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::support::{Place, events, pipeline, sim, started};

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 4), 12_000, 0, seed)
}

const KINDS: [(&str, &str); 4] = [
    ("duckdb", "out.db"),
    ("parquet", "out"),
    ("parquet", "out.parquet"),
    ("jsonl", "out.jsonl"),
];

fn rows(place: &Place, kind: &str, path: &str) -> Vec<Event> {
    match place.path(path).exists() {
        true => written_by(kind, &place.path(path)),
        false => Vec::new(),
    }
}

fn text(sim: &Simulator, kind: &str, path: &str, mode: &str) -> String {
    let days = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";
    let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n");
    pipeline(&[&events(sim, days), &sink])
}

/// How long a whole run takes.
fn whole(sim: &Simulator, kind: &str, path: &str) -> Duration {
    let place = Place::new();
    let started = Instant::now();
    place.run(&text(sim, kind, path, "create")).0.ended(0);
    started.elapsed()
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
        let whole = whole(&sim, kind, path);
        for mode in ["create", "replace"] {
            let place = Place::new();
            for kill in 0..13_u32 {
                // A little beyond the end, so that the commit is hit too.
                let after = whole.mul_f64(f64::from(kill) / 12.0 * 1.1);
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
                let mut child = place.spawn(&["run", "test.toml"]);
                std::thread::sleep(after);
                child.kill().unwrap();
                child.wait().unwrap();
                let found = rows(&place, kind, path);
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
                assert_eq!(names, [path], "{kind}, {mode}, kill {kill}");
            }
        }
    }
    eprintln!("as it was: {as_it_was}, as it should be: {as_it_should_be}");
    assert_eq!(as_it_was + as_it_should_be, 104);
    assert!(as_it_was > 20, "{as_it_was}");
}

fn remove(place: &Place, path: &str) {
    let path = place.path(path);
    match path.is_dir() {
        true => std::fs::remove_dir_all(path).unwrap(),
        false => {
            let _ = std::fs::remove_file(path);
        }
    }
}
