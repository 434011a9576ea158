//! Runs, and what is known when some are missing.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use mixflow_core::destination::Destination;
use mixflow_core::report::RunReport;
use rusqlite::Connection;
use serde_json::json;

use super::Folder;
use crate::{Begin, LastRuns, State};

const PIPELINE: &str = "/pipelines/a.toml";

/// A run of `path` into the file `destination`.
struct Run {
    id: &'static str,
    path: &'static str,
    destination: Destination,
}

fn of(id: &'static str, path: &'static str, destination: &str) -> Run {
    let destination = Destination::at(destination);
    Run {
        id,
        path,
        destination,
    }
}

impl Run {
    fn begin(&self) -> Begin<'_> {
        Begin {
            run_id: self.id,
            pipeline_path: Some(Path::new(self.path)),
            destinations: std::slice::from_ref(&self.destination),
        }
    }

    fn begins(self, state: &State) -> Run {
        state.begin_run(&self.begin()).expect("there is room");
        self
    }

    fn ends(&self, state: &State) {
        let report = RunReport {
            run_id: self.id.to_owned(),
            ..RunReport::default()
        };
        let ended = state.end_run(&self.begin(), &report);
        ended.expect("there is room");
    }
}

/// Enters a run of the pipeline, whole.
fn run(state: &State, id: &'static str) {
    of(id, PIPELINE, "a.db").begins(state).ends(state);
}

fn last(state: &State) -> LastRuns {
    let last = state.last_runs(Path::new(PIPELINE), &[Destination::at("a.db")], 10);
    last.expect("the state can be used")
}

fn ids(state: &State) -> Vec<String> {
    let runs = state.runs(usize::MAX).expect("the state can be used");
    runs.into_iter().map(|run| run.run_id).collect()
}

#[test]
fn a_commit_in_doubt_is_remembered_until_somebody_finds_out() {
    use mixflow_core::report::Status;
    use mixflow_core::{Error, ErrorKind};

    let folder = Folder::new();
    let state = folder.state();
    let of = of("1", PIPELINE, "a.db").begins(&state);
    let gone = || Error::new(ErrorKind::Network, "the connection is gone");
    let report = |error| RunReport {
        run_id: "1".to_owned(),
        destination: Destination::at("a.db"),
        error: Some(error),
        ..RunReport::default()
    };
    let doubts = |place: &str| {
        state
            .doubts(&Destination::at(place))
            .expect("it can be used")
    };
    state
        .end_run(&of.begin(), &report(gone()))
        .expect("there is room");
    assert_eq!(doubts("a.db"), [], "that run is known to have failed");
    let ended = state.end_run(&of.begin(), &report(gone().in_doubt()));
    ended.expect("there is room");
    // By whatever name, and of no other.
    let [doubt] = doubts("./a.db").try_into().expect("one");
    assert_eq!((doubt.run_id.as_str(), doubt.sink), ("1", 0));
    assert_eq!(doubts("b.db"), []);
    let settled = state.settle(&Destination::at("a.db"), &doubt, true);
    settled.expect("there is room");
    assert_eq!(doubts("a.db"), []);
    let runs = state.runs(1).expect("it can be used");
    assert_eq!(runs[0].status, Status::Committed);
}

#[test]
fn runs_are_found_by_the_pipelines_path_and_the_destination() {
    let folder = Folder::new();
    let state = folder.state();
    run(&state, "1");
    for (id, path, destination) in [
        ("2", "/other/a.toml", "a.db"),
        ("3", PIPELINE, "ba.db"),
        ("4", PIPELINE, "a.db"),
    ] {
        of(id, path, destination).begins(&state).ends(&state);
    }
    let found = last(&folder.state());
    let found: Vec<&str> = found.runs.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!(found, ["4", "1"]);
    assert_eq!(ids(&state), ["4", "3", "2", "1"]);
}

#[test]
fn the_last_run_of_a_file_is_found_wherever_it_wrote_to() {
    let folder = Folder::new();
    let state = folder.state();
    let last = |path: Option<&str>, not: &str| {
        let is_it = |run: &RunReport| run.run_id != not;
        let found = state.last_run_that(path.map(Path::new), is_it);
        found.expect("the state can be used").map(|run| run.run_id)
    };
    assert_eq!(last(Some(PIPELINE), ""), None);
    for (id, path, destination) in [
        ("1", PIPELINE, "a.db"),
        ("2", PIPELINE, "b.db"),
        ("3", "/other/a.toml", "a.db"),
    ] {
        of(id, path, destination).begins(&state).ends(&state);
    }
    of("goes on", PIPELINE, "a.db").begins(&state);
    assert_eq!(last(Some(PIPELINE), "").as_deref(), Some("2"));
    assert_eq!(last(Some(PIPELINE), "2").as_deref(), Some("1"));
    assert_eq!(last(None, ""), None);
}

#[test]
fn a_run_that_did_not_end_is_known_and_the_order_is_that_of_the_ends() {
    let folder = Folder::new();
    let state = folder.state();
    let waits = of("waits", PIPELINE, "a.db").begins(&state);
    run(&state, "first");
    of("died", PIPELINE, "a.db").begins(&state);
    waits.ends(&state);
    let found = last(&folder.state());
    let found = found
        .runs
        .iter()
        .map(|run| (run.run_id.as_str(), run.report.is_some()));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [("waits", true), ("died", false), ("first", true)]
    );
    assert_eq!(ids(&state), ["waits", "first"]);
}

#[test]
fn a_run_that_could_not_be_written_is_known_later() {
    let folder = Folder::new();
    let state = folder.state();
    run(&state, "1");
    assert_eq!(last(&folder.state()).missing, None);
    // Another process has it, and does not let go.
    let conn = Connection::open(folder.db()).expect("it is there");
    conn.execute_batch("BEGIN IMMEDIATE")
        .expect("nobody else has it");
    let lost = of("lost", PIPELINE, "a.db");
    assert!(state.begin_run(&lost.begin()).is_err());
    conn.execute_batch("ROLLBACK").expect("it is ours");
    drop(state);
    let state = folder.state();
    let missing = last(&state).missing.expect("it is known");
    assert!(
        missing.starts_with("a run could not be written"),
        "{missing}"
    );
    // What was there before is not believed any more; what comes after is.
    run(&state, "2");
    assert_eq!(last(&folder.state()).missing, None);
}

#[test]
fn the_end_of_a_run_is_enough_to_enter_it() {
    let folder = Folder::new();
    of("1", PIPELINE, "a.db").ends(&folder.state());
    assert_eq!(last(&folder.state()).runs.len(), 1);
}

fn old_history(folder: &Folder, ids: &[&str], torn: &str) {
    let line = |id: &&str| {
        let run = json!({ "run_id": id, "destination": "a.db", "what": "else" });
        format!("{run}\n")
    };
    let text: String = ids.iter().map(line).collect();
    fs::create_dir_all(folder.path()).expect("it can be made");
    fs::write(folder.path().join("runs.jsonl"), text + torn).expect("there is room");
}

#[test]
fn the_old_history_is_taken_in_once() {
    let folder = Folder::new();
    let torn = "{\"run_id\": \"3\", \"dest\n\n{}\n{\"run_id\"";
    old_history(&folder, &["1", "2", "1"], torn);
    let state = folder.state();
    assert_eq!(ids(&state), ["2", "1"]);
    let warnings = state.take_warnings();
    assert!(
        matches!(&warnings[..], [one] if one.starts_with("3 lines of")),
        "{warnings:?}"
    );
    run(&state, "4");
    drop(state);
    let next = folder.state();
    assert_eq!(ids(&next), ["4", "2", "1"]);
    assert_eq!(next.take_warnings(), Vec::<String>::new());
    // It is not known which file the old ones are of.
    assert_eq!(last(&next).runs.len(), 1);
    assert!(folder.path().join("runs.jsonl").exists());
}

#[test]
fn the_old_history_is_taken_in_once_by_several_at_a_time() {
    let folder = Folder::new();
    let numbers: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    old_history(
        &folder,
        &numbers.iter().map(String::as_str).collect::<Vec<_>>(),
        "",
    );
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(ids(&folder.state()).len(), 500);
            });
        }
    });
}

#[test]
fn looking_at_a_history_that_is_not_there_makes_nothing() {
    let folder = Folder::new();
    assert_eq!(ids(&folder.state()), Vec::<String>::new());
    assert!(!folder.path().exists());
}

#[test]
fn a_run_knows_its_file_and_where_it_went() {
    let state = &Folder::new().state();
    run(state, "1");
    let origin = state.origin("1").expect("the state can be used");
    let origin = origin.expect("it has a file");
    assert_eq!(origin.pipeline_path, Path::new(PIPELINE));
    assert!(origin.is_to(&[Destination::at("a.db")]));
    assert!(!origin.is_to(&[Destination::at("b.db")]));
    assert!(state.origin("2").is_ok_and(|origin| origin.is_none()));
}

#[test]
fn runs_into_several_destinations_are_found_by_all_of_them() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let state = State::at(folder.path());
    let both = ["a.db", "b.db"].map(Destination::at);
    let begin = Begin {
        run_id: "1",
        pipeline_path: Some(Path::new(PIPELINE)),
        destinations: &both,
    };
    state.begin_run(&begin).expect("there is room");
    let found = |destinations: &[Destination]| {
        let last = state.last_runs(Path::new(PIPELINE), destinations, 10);
        last.expect("it can be read").runs.len()
    };
    let [a, b] = both.clone();
    assert_eq!(found(&both), 1);
    assert_eq!(found(&[b, a.clone()]), 1);
    assert_eq!(found(&[a]), 0);
}
