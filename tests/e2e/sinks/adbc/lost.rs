//! A connection that is lost before, in and after a commit.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::civil::date;
use mixflow_tests::databases::USER;
use mixflow_tests::sim::{Data, ExportQuery};

use super::server::Warehouse;
use crate::rows::form::{assert_same, expected_events, sorted};
use crate::support::{sim, started};

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// The database does not hear of the commit.
    Before,
    /// It does, and nobody hears its answer.
    After,
}

/// Stands between mixflow and the server, and cuts the connection of the first
/// commit.
struct Proxy {
    cuts: Arc<AtomicUsize>,
    /// Whether nobody gets through any more.
    is_shut: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens in a folder as a server would. With `for_good` nobody gets
    /// through once a connection was cut.
    fn listen(folder: &Path, server: &Path, when: When, for_good: bool) -> Proxy {
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let proxy = Proxy {
            cuts: Arc::default(),
            is_shut: Arc::default(),
        };
        let (cuts, is_shut) = (Arc::clone(&proxy.cuts), Arc::clone(&proxy.is_shut));
        let server = server.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&server).unwrap());
                if is_shut.load(Ordering::SeqCst) {
                    continue;
                }
                let (cuts, is_shut) = (Arc::clone(&cuts), Arc::clone(&is_shut));
                pass_on(client, server, move || {
                    let is_first = cuts.fetch_add(1, Ordering::SeqCst) == 0;
                    is_shut.fetch_or(is_first && for_good, Ordering::SeqCst);
                    is_first.then_some(when)
                });
            }
        });
        proxy
    }
}

/// Passes on what both sides say, until `at_commit` says to cut it.
fn pass_on(
    client: UnixStream,
    server: UnixStream,
    at_commit: impl Fn() -> Option<When> + Send + 'static,
) {
    let is_deaf = Arc::new(AtomicBool::new(false));
    let (mut from_server, mut to_client) =
        (server.try_clone().unwrap(), client.try_clone().unwrap());
    let deaf = Arc::clone(&is_deaf);
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from_server.read(&mut bytes) {
            if deaf.load(Ordering::SeqCst) {
                // It has answered the commit.
                break;
            }
            if to_client.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let (mut client, mut server) = (client, server);
        let mut bytes = vec![0; 1 << 16];
        while let Ok(n @ 1..) = client.read(&mut bytes) {
            let said = &bytes[..n];
            let commits = said.windows(7).any(|word| word == b"COMMIT\0");
            match commits.then(&at_commit).flatten() {
                Some(When::Before) => break,
                Some(When::After) => is_deaf.store(true, Ordering::SeqCst),
                None => {}
            }
            if server.write_all(said).is_err() {
                break;
            }
        }
        if !is_deaf.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    });
}

fn check(when: When, for_good: bool, code: i32) {
    let Some(mut warehouse) = Warehouse::start() else {
        return;
    };
    let sim = started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 4),
        800,
        0,
        3,
    )));
    let days = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-01\"\nwindow_days = 1\n";
    // Where rows are added, what is there twice would be seen.
    warehouse.write(&sim, days, "append", "");
    let expected = |last| {
        let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, last));
        sorted(expected_events(&sim, &query))
    };
    let run = ["run", "test.toml", "--report", "report.json"];
    warehouse.at("2024-01-03T03:00:00Z", &run).ended(0);
    let folder = tempfile::Builder::new()
        .prefix("mixflow-px")
        .tempdir_in("/tmp")
        .unwrap();
    let proxy = Proxy::listen(folder.path(), &warehouse.server.socket(), when, for_good);
    warehouse.uri = format!(
        "postgresql:///postgres?host={}&user={USER}",
        folder.path().display()
    );
    let ran = warehouse.at("2024-01-05T03:00:00Z", &run).ended(code);
    assert!(proxy.cuts.load(Ordering::SeqCst) > 0, "nothing was cut");
    let report = warehouse.report();
    let committed = when == When::After;
    let now = if committed { expected(4) } else { expected(2) };
    assert_same(&warehouse.rows().unwrap(), &now);
    match (for_good, committed) {
        (true, _) => {
            assert_eq!(report["residue"], "unknown", "{}", ran.stderr);
            ran.says("_mixflow_runs");
        }
        (false, true) => {
            ran.says("the rows are committed, although the database did not say so");
            assert_eq!(report["status"], "committed");
        }
        (false, false) => {
            assert_eq!(report["residue"], "none");
            assert_eq!(report["status"], "aborted");
        }
    }
    let doubtful = report["run_id"].as_str().unwrap();
    let status = |warehouse: &Warehouse| {
        let runs = warehouse.mixflow(&["runs", "--format", "json"]).ended(0);
        let runs: Vec<serde_json::Value> = serde_json::from_slice(&runs.stdout).unwrap();
        let run = runs.into_iter().find(|run| run["run_id"] == doubtful);
        let run = run.unwrap();
        (
            run["status"].clone(),
            run["row_count"].clone(),
            run["error"].clone(),
        )
    };
    if for_good {
        assert_eq!(status(&warehouse).0, "aborted");
        // Nobody gets through: it is still not known.
        let ran = warehouse.at("2024-01-05T03:00:00Z", &run).ended(6);
        assert!(!ran.stderr.contains("in doubt, was"), "{}", ran.stderr);
    }
    // The next run finds out which it was, and adds nothing twice.
    proxy.is_shut.store(false, Ordering::SeqCst);
    let ran = warehouse.at("2024-01-05T03:00:00Z", &run).ended(0);
    assert_same(&warehouse.rows().unwrap(), &expected(4));
    warehouse.ledger_agrees();
    let said = format!(
        "the run {doubtful} into table events in {}",
        warehouse.uri.replace("&user=mixflow", "")
    );
    let (what, ended) = match committed {
        true => ("was committed: its rows are there", "committed"),
        false => ("was not committed: none of its rows are there", "aborted"),
    };
    let said = format!("{said}, of which that was in doubt, {what}");
    assert_eq!(
        ran.stderr.contains(&said),
        for_good,
        "{said}\n{}",
        ran.stderr
    );
    let (status, rows, error) = status(&warehouse);
    let new = (expected(4).len() - expected(2).len()) as u64;
    assert_eq!(status, ended);
    assert_eq!(
        (rows == new, error.is_null()),
        (committed, committed),
        "{rows}, {error}"
    );
    // It is said once.
    let ran = warehouse.at("2024-01-05T03:00:00Z", &run).ended(0);
    assert!(!ran.stderr.contains("in doubt"), "{}", ran.stderr);
}

#[test]
fn a_connection_lost_before_the_commit_is_a_run_that_was_not_made() {
    check(When::Before, false, 1);
}

#[test]
fn a_connection_lost_after_the_commit_is_a_run_that_was_made() {
    check(When::After, false, 0);
}

#[test]
fn a_database_that_stays_away_leaves_a_commit_in_doubt_until_the_next_run() {
    check(When::After, true, 1);
    check(When::Before, true, 1);
}
