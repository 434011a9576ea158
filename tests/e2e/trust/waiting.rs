//! A run whose database somebody else has open.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};

use crate::support::{DUCKDB, Place, events, pipeline, sim, started};

/// A place with a day in `out.db`, and a pipeline that adds two.
fn place() -> (Simulator, Place) {
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 3),
        90,
        0,
        7,
    )));
    let place = Place::new();
    let days = |from: u8, to: u8| {
        let days = format!("from = \"2024-01-0{from}\"\nto = \"2024-01-0{to}\"");
        events(&sim, &format!("{days}\nwindow_days = 1"))
    };
    place.run(&pipeline(&[&days(1, 1), DUCKDB])).0.ended(0);
    let append = format!("{DUCKDB}mode = \"append\"\n");
    place.write("append.toml", &pipeline(&[&days(2, 3), &append]));
    (sim, place)
}

/// A notebook, more or less: it reads, and keeps the file open.
fn reader(place: &Place) -> Child {
    let endless = "SELECT repeat('x', 1000) FROM range(100000000)";
    let mut child = place
        .command(&["query", endless, "--db", "out.db", "--format", "csv"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is open when the first line is there; then nobody reads on.
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    let mut stdout = BufReader::with_capacity(1, stdout);
    stdout.read_line(&mut line).unwrap();
    child.stdout = Some(stdout.into_inner());
    child
}

fn rows(place: &Place) -> String {
    place.sql(
        "out.db",
        "SELECT count(DISTINCT event_time::DATE) FROM events",
    )[0][0]
        .clone()
}

#[test]
fn a_run_waits_for_who_reads_its_database() {
    let (_sim, place) = place();
    let mut reader = reader(&place);
    let mut child = place.spawn(&["run", "append.toml"]);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    for line in stderr.lines() {
        said += &(line.unwrap() + "\n");
        if said.contains("the run waits for it") && reader.try_wait().unwrap().is_none() {
            assert!(said.contains(&format!("(PID {})", reader.id())), "{said}");
            reader.kill().unwrap();
            reader.wait().unwrap();
        }
    }
    let status = child.wait().unwrap();
    let _ = reader.kill();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("the run waits for it"), "{said}");
    assert_eq!(rows(&place), "3");
}

#[test]
fn who_reads_for_too_long_fails_the_run_and_the_next_one_asks_for_nothing() {
    let (sim, place) = place();
    let mut reader = reader(&place);
    place
        .mixflow(&["run", "append.toml", "--wait=300ms"])
        .ended(6)
        .says(&format!("(PID {}) has it open", reader.id()));
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert_eq!(rows(&place), "1");
    let requests = sim.requests().len();
    place.mixflow(&["run", "append.toml"]).ended(0);
    assert_eq!(sim.requests().len(), requests, "it asked again");
    assert_eq!(rows(&place), "3");
}

#[test]
fn a_run_waits_for_who_writes_to_its_database_if_it_is_told_to() {
    let (sim, place) = place();
    let requests = sim.requests().len();
    let writer = mixflow::Store::open(place.path("out.db")).unwrap();
    let at_once = place.mixflow(&["run", "append.toml"]);
    at_once.ended(6).says("has it open");
    assert_eq!(sim.requests().len(), requests);
    let mut child = place.spawn(&["run", "append.toml", "--wait=1h"]);
    let mut writer = Some(writer);
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said += &(line.unwrap() + "\n");
        if said.contains("the run waits for it") {
            drop(writer.take());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(writer.is_none(), "{said}");
    assert_eq!(rows(&place), "3");
}

#[test]
fn a_signal_ends_the_wait() {
    let (_sim, place) = place();
    let mut reader = reader(&place);
    let mut child = place.spawn(&["run", "append.toml", "--wait"]);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let pid = child.id().to_string();
    for line in stderr.lines() {
        if line.unwrap().contains("the run waits for it") {
            let killed = std::process::Command::new("kill").arg(&pid).status();
            assert!(killed.unwrap().success());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert_eq!(rows(&place), "1");
}
