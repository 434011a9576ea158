//! The benchmark: mixflow over HTTP against what anybody would use instead.
//!
//! ```text
//! make bench
//! ```
//!
//! Starts the simulator in processes of its own, runs every case in turn, for
//! as many rounds as wanted, and prints medians, ratios, CPU seconds and peak
//! memory. Writes them as JSON and as a picture.

#![expect(unreachable_pub, reason = "nothing outside uses a program's modules")]

mod cases;
#[cfg(unix)]
mod databases;
mod measure;
mod memory;
mod naive;
mod report;
mod scale;

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};

use clap::{Parser, Subcommand};

use cases::Setup;

type Failure = Box<dyn Error>;

/// DuckDB's Python package, of the version that is linked here.
const DUCKDB: &str = "duckdb==2.0.0";

/// What others use for the same job.
const OTHERS: [&str; 2] = ["mixpanel-utils", "tap-mixpanel"];

/// Measures mixflow against what anybody would use instead.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// The mixflow to measure: a release build
    #[arg(long, default_value = "target/release/mixflow")]
    mixflow: PathBuf,
    /// Events to export
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// Profiles to page through, with answers of 200 ms
    #[arg(long, default_value_t = 100_000)]
    profiles: usize,
    /// Rounds, each with every case once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measures instead the memory of 1, 5 and 20 million events into DuckDB
    #[arg(long)]
    memory: bool,
    /// Measures instead PostgreSQL and SQLite, against `\copy` and `.import`
    #[arg(long)]
    databases: bool,
    /// Measures instead what it costs and brings to share a run among machines
    #[arg(long)]
    scale: bool,
    /// Where `results.json` and `results.svg` go
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

/// What the benchmark calls itself for.
#[derive(Debug, Subcommand)]
enum Inner {
    /// Runs a command and writes what it took to a file
    #[command(hide = true)]
    Measure {
        result: PathBuf,
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Normalises an export the usual way: a tree for each event
    #[command(hide = true)]
    Naive { file: PathBuf },
}

#[expect(clippy::print_stderr, reason = "this program has no other way to fail")]
fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.inner {
        Some(Inner::Measure { result, command }) => measure::child(result, command),
        Some(Inner::Naive { file }) => naive::run(file),
        #[cfg(unix)]
        None if args.databases => databases::measure(&args.mixflow, args.events, args.rounds),
        None if args.scale => scale::measure(&args.mixflow, &args.output),
        None if args.memory => memory::measure(&args.mixflow, &args.output),
        None => benchmark(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn benchmark(args: &Args) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.output)?;
    let work = tempfile::tempdir()?;
    let duckdb = get_peer(&args.output, DUCKDB)?;
    let others = OTHERS.map(|package| get_other(&args.output, package));
    let packages = [Some(duckdb)].into_iter().chain(others.clone()).flatten();
    let events = Sim::start(&["--amplify-events", &args.events.to_string()])?;
    let long = Sim::start(&[
        "--pad-events",
        "900",
        "--spread-days",
        &cases::LONG_DAYS.to_string(),
        "--amplify-events",
        &args.events.to_string(),
    ])?;
    let profiles = Sim::start(&[
        "--generate-profiles",
        &args.profiles.to_string(),
        "--latency",
        "200ms",
    ])?;
    let setup = Setup {
        work: work.path().to_owned(),
        mixflow: std::path::absolute(&args.mixflow)?,
        packages: std::env::join_paths(packages)?,
        utils: others[0].is_some(),
        tap: others[1].is_some(),
        events_url: events.url.clone(),
        long_url: long.url.clone(),
        profiles_url: profiles.url.clone(),
    };
    let cases = setup.cases()?;
    let mut results = report::Results::new(args.events, args.profiles, args.rounds);
    for round in 0..args.rounds {
        for case in &cases {
            let taken = setup.run(case)?;
            results.add(case, taken, round);
        }
    }
    results.sizes(&setup)?;
    results.write(&args.output)
}

/// Gets a peer, a Python package, once, into a folder of its own.
fn get_peer(output: &Path, package: &str) -> Result<PathBuf, Failure> {
    let folder = std::path::absolute(output.join("python").join(package))?;
    if !folder.exists() {
        // Whole or not there.
        let partial = folder.with_extension("partial");
        let pip = ["-m", "pip", "-q", "--disable-pip-version-check", "install"];
        run(Command::new("python3")
            .args(pip)
            .args([package, "--target"])
            .arg(&partial))?;
        std::fs::rename(partial, &folder)?;
    }
    Ok(folder)
}

/// Gets a peer without which there are fewer cases.
#[expect(clippy::print_stderr, reason = "what is left out is told")]
fn get_other(output: &Path, package: &str) -> Option<PathBuf> {
    let got = get_peer(output, package);
    got.inspect_err(|error| eprintln!("without {package}: {error}"))
        .ok()
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// A simulator in a process of its own.
struct Sim {
    child: Child,
    url: String,
    /// Open for as long as it may say something.
    _stderr: BufReader<ChildStderr>,
}

impl Sim {
    fn start(args: &[&str]) -> Result<Sim, Failure> {
        let binary = std::env::current_exe()?.with_file_name("mixpanel-sim");
        let mut child = Command::new(binary)
            .args(args)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("there is no stderr")?;
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        stderr.read_line(&mut line)?;
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .ok_or("the simulator does not listen: is `mixpanel-sim` built?")?
            .to_owned();
        Ok(Sim {
            child,
            url,
            _stderr: stderr,
        })
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
