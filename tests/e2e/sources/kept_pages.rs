//! Profiles in the archive: whole snapshots, of which the newest is replayed.

use std::path::PathBuf;

use jiff::civil::date;
use mixflow_tests::sim::{Data, EngageQuery, Fault, Simulator};
use serde_json::{Value, json};

use crate::rows::form::{Profile, assert_same, expected_profiles, in_table};
use crate::support::{Place, Ran, pipeline, profiles, sim, started, workers};

fn data(seed: u64, people: usize) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 1), 0, people, seed)
}

const ARCHIVE: &str = "[archive]\npath = \"archive\"\n";

const SINK: &str =
    "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace\"\nallow_shrink = true\n";

fn text(sim: &Simulator, more: &str) -> String {
    pipeline(&[&profiles(sim, ""), ARCHIVE, SINK, more])
}

/// Replays `test.toml` into a table of its own, without a secret.
fn replay(place: &Place, table: &str) -> (Ran, Value) {
    let set = format!("sink.table={table}");
    let args = [
        "replay",
        "test.toml",
        "--report",
        "report.json",
        "--set",
        &set,
    ];
    let mut command = place.command(&args);
    let ran = Ran::of(command.env_remove("SIM_SECRET").output().unwrap());
    let report = std::fs::read(place.path("report.json")).unwrap();
    (ran, serde_json::from_slice(&report).unwrap())
}

fn table(place: &Place, name: &str) -> Vec<Profile> {
    in_table(&place.path("out.db"), name)
}

/// The pages that are kept.
fn pages(place: &Place) -> Vec<PathBuf> {
    let days = std::fs::read_dir(place.path("archive/12345/profiles")).unwrap();
    let files = days.flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap());
    let mut pages: Vec<PathBuf> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".jsonl.gz"))
        .collect();
    // In the order in which they were fetched.
    pages.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.split_once('-').unwrap().1.to_owned()
    });
    pages
}

fn expected(sim: &Simulator) -> Vec<Profile> {
    expected_profiles(sim, &EngageQuery::default())
}

#[test]
fn the_newest_whole_snapshot_is_replayed() {
    // 30 full pages are followed by an empty one, of which nobody is told.
    for people in [75, 300] {
        let sim = started(sim(data(1, people)).page_size(10));
        let place = Place::new();
        place.run(&text(&sim, &workers(3))).0.ended(0);
        sim.set_data(data(2, people));
        place.run(&text(&sim, "")).0.ended(0);
        let rows = expected(&sim);
        let requests = sim.requests().len();
        assert_eq!(pages(&place).len(), requests);
        let (ran, report) = replay(&place, "again");
        ran.ended(0);
        assert_eq!(report["requests"], 0);
        assert_same(&table(&place, "again"), &rows);
        assert_same(&table(&place, "profiles"), &rows);
        place.mixflow(&["archive", "verify", "test.toml"]).ended(0);

        // One that broke off is none.
        sim.set_data(data(3, people));
        sim.add_fault(Fault::parse("engage page=3 always drop").unwrap());
        place
            .run(&format!("{}{}", text(&sim, ""), workers(1)))
            .0
            .ended(1);
        assert!(pages(&place).len() > requests);
        replay(&place, "third").0.ended(0);
        assert_same(&table(&place, "third"), &rows);
    }
}

#[test]
fn a_page_that_is_damaged_is_named_and_the_others_are_there() {
    let sim = started(sim(data(1, 75)).page_size(10));
    let place = Place::new();
    place.run(&text(&sim, "")).0.ended(0);
    let page = &pages(&place)[2];
    let mut bytes = std::fs::read(page).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(page, bytes).unwrap();
    let (ran, report) = replay(&place, "again");
    ran.ended(3).says("missing: page 2");
    assert_eq!(report["failed_partitions"], json!(["page 2"]));
    assert_eq!(table(&place, "again").len(), 65);
}

#[test]
fn without_a_snapshot_there_is_nothing_to_replay() {
    let sim = started(sim(data(1, 75)).page_size(10));
    let place = Place::new();
    let other = text(&sim, "").replace(ARCHIVE, &format!("where = \"x\"\n{ARCHIVE}"));
    place.write("test.toml", &text(&sim, ""));
    replay(&place, "again")
        .0
        .ended(1)
        .says("there is nothing to replay of the profiles of project 12345");
    drop(other);
}
