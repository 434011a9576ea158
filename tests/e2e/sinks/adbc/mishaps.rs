//! Kills, of mixflow and of the database's processes, and disks that fill.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::databases::{Postgres, USER};
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher};

use super::server::Warehouse;
use crate::rows::form::{Event, assert_same, expected_events, sorted};
use crate::support::{Ran, sim, started};

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 4), 20_000, 0, seed)
}

const DAYS: &str = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Mixflow,
    /// The process of the database that serves mixflow, told to end.
    Backend,
    /// All of the database, without a word.
    Server,
}

/// 60 kills at moments of chance: of mixflow, of its backend, of the server.
#[test]
fn whoever_is_killed_the_table_is_as_it_was_or_as_it_should_be() {
    let Some(mut warehouse) = Warehouse::start() else {
        return;
    };
    let sim = started(sim(data(0)));
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 4));
    let model = |seed| {
        sim.set_data(data(seed));
        sorted(expected_events(&sim, &days))
    };
    let run = ["run", "test.toml"];
    let (mut as_it_was, mut as_it_should_be) = (0, 0);
    let mut there = model(0);
    warehouse.write(&sim, DAYS, "replace_window", "[run]\nworkers = 2\n");
    let began = Instant::now();
    warehouse.mixflow(&run).ended(0);
    let whole = began.elapsed();
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..60_u64 {
        let mode = ["replace_window", "replace"][n as usize % 2];
        let victim = match n % 6 {
            0..3 => Victim::Mixflow,
            3..5 => Victim::Backend,
            _ => Victim::Server,
        };
        let new = model(n % 5 + 1);
        warehouse.write(&sim, DAYS, mode, "[run]\nworkers = 2\n");
        // Windows that a run had received before it was killed are not asked for
        // again, and these are of other data now.
        let _ = std::fs::remove_dir_all(warehouse.place.path("state"));
        let mut child = warehouse.command(&run).spawn().unwrap();
        // A generator of numbers that look random is enough.
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let part = (chance >> 33) as f64 / f64::from(1_u32 << 31);
        std::thread::sleep(whole.mul_f64(part * 1.1));
        match victim {
            Victim::Mixflow => child.kill().unwrap(),
            Victim::Backend => {
                warehouse.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'mixflow%'");
            }
            Victim::Server => warehouse.server.crash(),
        }
        let status = child.wait().unwrap();
        settle(&warehouse);
        let found = warehouse.rows().unwrap();
        if found == there {
            as_it_was += 1;
        } else {
            assert_same(&found, &new);
            as_it_should_be += 1;
            there = new;
        }
        if status.success() {
            assert_same(&found, &there);
        }
        let which = format!("{n}: {victim:?}, {mode}, {part:.2}: {status}");
        eprintln!("{which}");
        warehouse.ledger_agrees();
        let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '_mixflow_new%' OR relname LIKE '_mixflow_rows%'";
        assert_eq!(warehouse.sql(left), "0", "{which}");
    }
    eprintln!("as it was: {as_it_was}, as it should be: {as_it_should_be}");
    assert!(as_it_was > 5 && as_it_should_be > 5);
    warehouse.mixflow(&run).ended(0);
    assert_same(&warehouse.rows().unwrap(), &model_of_last(&sim, &days));
}

fn model_of_last(sim: &mixflow_tests::sim::Simulator, days: &ExportQuery) -> Vec<Event> {
    sorted(expected_events(sim, days))
}

/// Both would have fetched all there is before one of them was refused.
#[test]
fn of_two_runs_that_start_together_one_asks_mixpanel_nothing() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = started(sim(data(1)));
    warehouse.write(&sim, DAYS, "replace_window", "");
    let stays = Action::SlowBody {
        bytes_per_chunk: 100,
        pause: Duration::from_secs(3_600),
    };
    sim.add_fault(Fault::always(Matcher::export_from(date(2024, 1, 1)), stays));
    let roads = tempfile::Builder::new()
        .prefix("mixflow-rd")
        .tempdir_in("/tmp")
        .unwrap();
    // As each machine has its own locks, each has its own way to the server.
    let on = |machine: &str| {
        let mut command = warehouse.command(&["run", "test.toml"]);
        let road = roads.path().join(machine);
        let _ = std::os::unix::fs::symlink(warehouse.server.folder(), &road);
        command
            .env("MIXFLOW_STATE_DIR", warehouse.place.path(machine))
            .env("DATABASE_URL", uri_by(&road));
        command
    };
    let mut first = on("one").stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while sim.requests().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "it asks nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    sim.clear_log();
    // Its first rows have not come.
    Ran::of(on("two").output().unwrap())
        .ended(6)
        .says("cannot write to the table `events`")
        .says("mixflow 20")
        .says("is writing to it");
    assert_eq!(sim.requests().len(), 0);
    first.kill().unwrap();
    first.wait().unwrap();
    settle(&warehouse);
    sim.clear_faults();
    Ran::of(on("two").output().unwrap()).ended(0);
}

/// Returns the URI of the server whose socket is in a folder.
fn uri_by(folder: &Path) -> String {
    format!(
        "postgresql:///postgres?host={}&user={USER}",
        folder.display()
    )
}

/// Waits until no process of the database works for a mixflow that is gone.
fn settle(warehouse: &Warehouse) {
    let began = Instant::now();
    let working = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mixflow%'";
    while warehouse.sql(working) != "0" {
        assert!(began.elapsed() < Duration::from_secs(20), "a backend stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The tables are on a disk of some megabytes, which only the server sees.
#[test]
fn a_disk_that_fills_leaves_what_was_there() {
    let Some(server) = Postgres::start_with_small_disk(16) else {
        return;
    };
    let Some(warehouse) = Warehouse::on(server) else {
        return;
    };
    let sim = started(sim(data(1)));
    warehouse.write(
        &sim,
        "from = \"2024-01-01\"\nto = \"2024-01-01\"\n",
        "create",
        "",
    );
    let run = ["run", "test.toml", "--report", "report.json"];
    warehouse.mixflow(&run).ended(0);
    let before = warehouse.rows().unwrap();
    // Room that can be given back: the database cannot even tidy up without any.
    warehouse.sql("CREATE TABLE ballast AS SELECT repeat('x', 900) FROM generate_series(1, 600)");
    for mode in ["append", "replace_window", "replace"] {
        sim.set_data(Data::generated_between(
            date(2024, 1, 1),
            date(2024, 1, 4),
            60_000,
            0,
            2,
        ));
        warehouse.write(&sim, DAYS, mode, "");
        warehouse
            .mixflow(&run)
            .ended(1)
            .says("No space left on device")
            .says("give the database more room; what was there before is unchanged");
        assert_eq!(warehouse.report()["residue"], "none");
        assert_same(&warehouse.rows().unwrap(), &before);
        warehouse.ledger_agrees();
    }
    sim.set_data(data(1));
    // What those runs had fetched is not to be taken for it.
    let _ = std::fs::remove_dir_all(warehouse.place.path("state"));
    warehouse.sql("DROP TABLE ballast");
    warehouse.sql("CHECKPOINT");
    warehouse.sql("VACUUM events");
    warehouse.write(
        &sim,
        "from = \"2024-01-01\"\nto = \"2024-01-01\"\n",
        "replace_window",
        "",
    );
    warehouse.mixflow(&run).ended(0);
    assert_same(&warehouse.rows().unwrap(), &before);
}

#[test]
fn two_runs_from_two_machines_take_turns() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = started(sim(data(1)));
    warehouse.write(&sim, DAYS, "replace_window", "");
    warehouse.mixflow(&["run", "test.toml"]).ended(0);
    let roads = tempfile::Builder::new()
        .prefix("mixflow-rd")
        .tempdir_in("/tmp")
        .unwrap();
    let child = |machine: &str| {
        let mut command = warehouse.command(&["run", "test.toml", "--wait"]);
        let road = roads.path().join(machine);
        std::os::unix::fs::symlink(warehouse.server.folder(), &road).unwrap();
        command
            .env("MIXFLOW_STATE_DIR", warehouse.place.path(machine))
            .env("DATABASE_URL", uri_by(&road))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let children = ["one", "two", "three"].map(child);
    for child in children {
        Ran::of(child.wait_with_output().unwrap()).ended(0);
    }
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 4));
    assert_same(
        &warehouse.rows().unwrap(),
        &sorted(expected_events(&sim, &days)),
    );
    warehouse.ledger_agrees();
    assert_eq!(warehouse.sql("SELECT count(*) FROM _mixflow_runs"), "4");
}
