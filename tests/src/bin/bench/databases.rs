//! Rows into PostgreSQL and SQLite, against what anybody would load a file with.
//!
//! The file has the same rows, prepared by the database's own client: it need
//! neither fetch nor decode nor check anything.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use mixflow_tests::databases::{Postgres, USER, driver};
use which::which;

use super::{Failure, Sim, cases::DAYS, measure, run};

const COLUMNS: &str =
    "event_name text, event_time timestamptz, distinct_id text, insert_id text, properties jsonb";

/// How many times as long as the peer mixflow may take.
const POSTGRES_AIM: f64 = 1.3;
const SQLITE_AIM: f64 = 1.2;

/// One thing that is measured.
struct Case {
    name: &'static str,
    command: Vec<String>,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    peak_mb: Vec<f64>,
}

impl Case {
    fn new(name: &'static str, command: &[&str]) -> Case {
        Case {
            name,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            seconds: Vec::new(),
            cpu: Vec::new(),
            peak_mb: Vec::new(),
        }
    }
}

/// Measures `rounds` rounds of `events` events, and prints a table.
#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub fn measure(mixflow: &Path, events: usize, rounds: usize) -> Result<(), Failure> {
    let sim = Sim::start(&["--amplify-events", &events.to_string()])?;
    let folder = tempfile::tempdir()?;
    let work = folder.path();
    let mixflow = std::path::absolute(mixflow)?.display().to_string();
    let postgres = Postgres::start(&["shared_buffers=256MB", "max_wal_size=4GB"]);
    let mut pairs = Vec::new();
    if let (Some(server), Some(library)) = (&postgres, driver("postgresql")) {
        pairs.push(postgres_cases(&sim, server, &library, &mixflow, work)?);
    }
    if let (Ok(_), Some(library)) = (which("sqlite3"), driver("sqlite")) {
        pairs.push(sqlite_cases(&sim, &library, &mixflow, work)?);
    }
    for _ in 0..rounds {
        for case in pairs.iter_mut().flat_map(|(_, pair)| pair) {
            for left in ["new.sqlite", "peer.sqlite"] {
                let _ = fs::remove_file(work.join(left));
            }
            let taken = measure::run(&case.command, work, OsStr::new(""), None)?;
            case.seconds.push(taken.seconds);
            case.cpu.push(taken.cpu_seconds);
            case.peak_mb.push(taken.peak_mb);
        }
    }
    println!("{events} events, median of {rounds} rounds\n");
    println!("| case | seconds | ratio | aim | CPU s | peak MB |\n|---|---:|---:|---:|---:|---:|");
    for (aim, [peer, ours]) in &pairs {
        let (theirs, own) = (median(&peer.seconds), median(&ours.seconds));
        let row = |case: &Case, seconds: f64, ratio: &str| {
            println!(
                "| {} | {seconds:.2} | {ratio} | {:.1} | {:.1} |",
                case.name,
                median(&case.cpu),
                median(&case.peak_mb)
            );
        };
        row(peer, theirs, "| ");
        row(ours, own, &format!("{:.2} | {aim:.2}", own / theirs));
    }
    Ok(())
}

fn postgres_cases(
    sim: &Sim,
    server: &Postgres,
    library: &Path,
    mixflow: &str,
    work: &Path,
) -> Result<(f64, [Case; 2]), Failure> {
    let sink = format!(
        "type = \"adbc\"\ndriver = \"{}\"\nuri = \"{}\"\nmode = \"replace\"\n",
        library.display(),
        server.uri("postgres")
    );
    write(sim, &sink, &work.join("postgres.toml"))?;
    // The rows as a file.
    run(Command::new(mixflow)
        .args(["run", "-q", "postgres.toml"])
        .current_dir(work)
        .env("MIXFLOW_STATE_DIR", work.join("state"))
        .env("BENCH_SECRET", "sim-secret"))?;
    let rows = work.join("rows.tsv");
    let rows = rows.display();
    run(server
        .psql("postgres")
        .args(["-q", "-c", &format!("\\copy events TO '{rows}'")]))?;
    let host = server.folder().display().to_string();
    let make = format!("DROP TABLE IF EXISTS copied; CREATE TABLE copied ({COLUMNS})");
    let copy = format!("\\copy copied FROM '{rows}'");
    let psql = [
        "psql", "-Xq", "-h", &host, "-U", USER, "-d", "postgres", "-c", &make, "-c", &copy,
    ];
    Ok((
        POSTGRES_AIM,
        [
            Case::new("psql \\copy from a file", &psql),
            Case::new(
                "mixflow to PostgreSQL",
                &[mixflow, "run", "-q", "postgres.toml"],
            ),
        ],
    ))
}

fn sqlite_cases(
    sim: &Sim,
    library: &Path,
    mixflow: &str,
    work: &Path,
) -> Result<(f64, [Case; 2]), Failure> {
    let sink = format!(
        "type = \"adbc\"\ndriver = \"{}\"\nuri = \"new.sqlite\"\n",
        library.display()
    );
    write(sim, &sink, &work.join("sqlite.toml"))?;
    run(Command::new(mixflow)
        .args(["run", "-q", "sqlite.toml"])
        .current_dir(work)
        .env("MIXFLOW_STATE_DIR", work.join("state"))
        .env("BENCH_SECRET", "sim-secret"))?;
    let export = ".mode csv\n.output rows.csv\nSELECT * FROM events;\n";
    fs::write(work.join("export.sql"), export)?;
    run(Command::new("sqlite3")
        .args(["new.sqlite", ".read export.sql"])
        .current_dir(work))?;
    let columns = "event_name TEXT, event_time TIMESTAMP, distinct_id TEXT, insert_id TEXT, properties JSON_TEXT";
    let import = format!("CREATE TABLE events ({columns});\n.mode csv\n.import rows.csv events\n");
    fs::write(work.join("import.sql"), import)?;
    Ok((
        SQLITE_AIM,
        [
            Case::new(
                "sqlite3 .import from a file",
                &["sqlite3", "peer.sqlite", ".read import.sql"],
            ),
            Case::new("mixflow to SQLite", &[mixflow, "run", "-q", "sqlite.toml"]),
        ],
    ))
}

/// Writes a pipeline of the sample's days.
fn write(sim: &Sim, sink: &str, path: &Path) -> Result<(), Failure> {
    let (from, to) = DAYS;
    let text = format!(
        "[source]\ntype = \"mixpanel_events\"\nbase_url = \"{}\"\nfrom = \"{from}\"\nto = \"{to}\"\nwindow_days = 14\nproject_id = 1\nauth = {{ username = \"sim\", secret = {{ env = \"BENCH_SECRET\" }} }}\nlimits = {{ per_second = 1000, per_hour = 1000000 }}\n[sink]\n{sink}",
        sim.url
    );
    Ok(fs::write(path, text)?)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
