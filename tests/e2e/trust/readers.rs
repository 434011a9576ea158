//! Who reads or writes a database while a run that will write to it fetches.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command};
use std::time::Duration;

use jiff::civil::date;
use mixflow_sink_duckdb::Store;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::sinks::destinations::mounted;
use crate::support::{DUCKDB, Place, events, pipeline, sim, started};

const THREE: &str = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 900, 0, seed)
}

/// Rows that the server has now.
fn expected(sim: &Simulator) -> Vec<Event> {
    let all = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 3));
    sorted(expected_events(sim, &all))
}

/// What stands in the database.
fn stored(place: &Place) -> Vec<Event> {
    written_by("duckdb", &place.path("out.db"))
}

/// A place with rows in `out.db`, and a server that has others by now, the
/// last day of which takes a while.
fn place() -> (Simulator, Place) {
    let wait = Action::SlowFirstByte(Duration::from_secs(2));
    let last = Matcher::export_from(date(2024, 1, 3)).skip(1);
    let sim = started(sim(data(1)).fault(Fault::always(last, wait)));
    let place = Place::new();
    let first = pipeline(&[&events(&sim, THREE), DUCKDB]);
    place.run(&first).0.ended(0);
    sim.set_data(data(2));
    (sim, place)
}

/// A run that stands still in the middle of its fetch.
struct Stopped {
    child: Child,
    told: BufReader<ChildStderr>,
}

impl Stopped {
    /// Runs `test.toml` with further options until two of three days are done.
    fn run(place: &Place, sink: &str, sim: &Simulator, more: &[&str]) -> Stopped {
        place.write("test.toml", &pipeline(&[&events(sim, THREE), sink]));
        let mut args = vec!["run", "test.toml", "--progress", "json"];
        args.extend(more);
        let mut child = place.spawn(&args);
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut done = 0;
        while done < 2 {
            let mut line = String::new();
            assert!(told.read_line(&mut line).unwrap() > 0, "the run has ended");
            done += line.matches("\"event\":\"partition_done\"").count();
        }
        let stopped = Stopped { child, told };
        stopped.signal("STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Lets it go on, and returns how it ended and what it said.
    fn go_on(mut self) -> (Option<i32>, String) {
        self.signal("CONT");
        let mut said = String::new();
        self.told.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

fn sink(mode: &str) -> String {
    format!("{DUCKDB}mode = \"{mode}\"\n")
}

#[test]
fn a_database_is_read_and_written_while_a_run_fetches_what_it_will_replace() {
    for mode in ["replace", "replace_window"] {
        let (sim, place) = place();
        let old = stored(&place);
        let run = Stopped::run(&place, &sink(mode), &sim, &[]);
        let count = ["query", "--db", "out.db", "SELECT count(*) FROM events"];
        let asked = place.mixflow(&[&count[..], &["--scalar"]].concat());
        assert_eq!(asked.ended(0).stdout_lossy().trim(), old.len().to_string());
        assert_same(&stored(&place), &old);
        let other = Store::open(place.path("out.db")).unwrap();
        let sql = "CREATE TABLE mine AS SELECT 42 AS n";
        other.connection().unwrap().execute_batch(sql).unwrap();
        other.close().unwrap();
        assert_eq!(place.names(), ["out.db"], "{mode}");
        let (code, said) = run.go_on();
        assert_eq!(code, Some(0), "{said}");
        assert_same(&stored(&place), &expected(&sim));
        assert_eq!(place.sql("out.db", "FROM mine"), [["42"]]);
        assert_eq!(place.names(), ["out.db"], "{mode}");
    }
}

#[test]
fn a_run_that_is_killed_while_rows_wait_leaves_the_file_as_it_was() {
    let (sim, place) = place();
    let old = std::fs::read(place.path("out.db")).unwrap();
    let mut run = Stopped::run(&place, &sink("replace"), &sim, &[]);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    assert_eq!(place.names(), ["out.db"]);
    assert!(std::fs::read(place.path("out.db")).unwrap() == old);
    // What it had is kept, and the next run asks for the last day only.
    sim.clear_log();
    place.mixflow(&["run", "test.toml"]).ended(0);
    assert_eq!(sim.requests().len(), 1);
    assert_same(&stored(&place), &expected(&sim));
}

#[test]
fn who_has_the_database_at_the_commit_fails_the_run_and_the_next_one_asks_for_nothing() {
    let (sim, place) = place();
    let old = stored(&place);
    let run = Stopped::run(&place, &sink("replace"), &sim, &["--wait=300ms"]);
    let other = Store::open(place.path("out.db")).unwrap();
    let (code, said) = run.go_on();
    assert_eq!(code, Some(6), "{said}");
    let holder = format!("(PID {}) has it open", std::process::id());
    assert!(said.contains(&holder), "{said}");
    drop(other);
    assert_same(&stored(&place), &old);
    sim.clear_log();
    place.mixflow(&["run", "test.toml"]).ended(0);
    assert_eq!(sim.requests().len(), 0);
    assert_same(&stored(&place), &expected(&sim));
}

#[test]
fn a_table_that_somebody_makes_meanwhile_is_not_touched_and_nothing_is_asked_again() {
    let (sim, place) = place();
    let new = "table = \"more\"\nmode = \"create\"\n";
    let run = Stopped::run(&place, &format!("{DUCKDB}{new}"), &sim, &[]);
    let other = Store::open(place.path("out.db")).unwrap();
    let sql = "CREATE TABLE more AS SELECT 42 AS n";
    other.connection().unwrap().execute_batch(sql).unwrap();
    other.close().unwrap();
    let (code, said) = run.go_on();
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("already exists"), "{said}");
    assert_eq!(place.sql("out.db", "FROM more"), [["42"]]);
    sim.clear_log();
    let replace = ["run", "test.toml", "--set", "sink.mode=replace"];
    let replace = place.mixflow(&[&replace[..], &["--set", "sink.allow_shrink=true"]].concat());
    replace.ended(0);
    assert_eq!(sim.requests().len(), 0);
    let rows = place.sql("out.db", "SELECT count(*) FROM more");
    assert_eq!(rows, [["900"]]);
}

#[test]
fn one_of_two_sinks_whose_database_is_in_use_at_the_commit_is_repaired_without_a_request() {
    let (sim, place) = place();
    let parquet = "[[sink]]\ntype = \"parquet\"\npath = \"out\"\n";
    let duckdb = sink("replace").replace("[sink]", "[[sink]]");
    let sinks = format!("{duckdb}{parquet}");
    let run = Stopped::run(&place, &sinks, &sim, &["--wait=300ms"]);
    let other = Store::open(place.path("out.db")).unwrap();
    let (code, said) = run.go_on();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("nothing more goes to table events in out.db"),
        "{said}"
    );
    drop(other);
    assert_same(&written_by("parquet", &place.path("out")), &expected(&sim));
    sim.clear_log();
    place
        .mixflow(&["run", "test.toml", "--only-failed"])
        .ended(0);
    assert_eq!(sim.requests().len(), 0);
    assert_same(&stored(&place), &expected(&sim));
}

#[test]
fn a_disk_that_is_full_of_rows_that_wait_is_told_with_its_folder() {
    let day = date(2024, 1, 1);
    // For a second, the rows of a tenth of one may wait.
    let wait = Action::SlowFirstByte(Duration::from_secs(2));
    let sim = started(
        sim(Data::generated_between(day, day, 40_000, 0, 7))
            .fault(Fault::always(Matcher::export(), wait)),
    );
    let place = Place::new();
    std::fs::create_dir(place.path("small")).unwrap();
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"\n");
    let sink = "[sink]\ntype = \"duckdb\"\npath = \"small/out.db\"\nmode = \"append\"\n";
    place.write("test.toml", &pipeline(&[&source, sink]));
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let synthetic = source_of(10);
    place.write("first.toml", &pipeline(&[&synthetic, sink]));
    let script = format!(
        "mount -t tmpfs -o size=4m tmpfs small || exit 99
         {binary} run -q first.toml || exit 98
         sha256sum small/out.db
         {binary} run test.toml
         echo code $?
         sha256sum small/out.db; ls -A small"
    );
    let Some(ran) = mounted(&place, &script) else {
        return;
    };
    let said = ran.stdout_lossy();
    let (before, after) = said.split_once("code 1\n").expect(&ran.stderr);
    assert_eq!(format!("{before}out.db\n"), after);
    ran.says("small` for the commit")
        .says("hint: free some disk space; what was there before is unchanged");
}

/// Rows without a server.
fn source_of(rows: u64) -> String {
    format!(
        "[source]\ntype = \"synthetic_events\"\nrows = {rows}\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n"
    )
}
