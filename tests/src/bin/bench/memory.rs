//! Whether memory depends on how much there is.

use std::ffi::OsStr;
use std::path::Path;

use super::{Failure, Sim, measure};

/// The events of the runs.
const EVENTS: [usize; 3] = [1_000_000, 5_000_000, 20_000_000];

/// Runs ever more events of one window into DuckDB, once each, and prints the
/// peaks.
#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub fn measure(mixflow: &Path, output: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(output)?;
    // Beside the results: the largest database has some gigabytes.
    let work = tempfile::tempdir_in(output)?;
    let mixflow = std::path::absolute(mixflow)?.display().to_string();
    println!("| events | seconds | CPU s | peak MB | file MB |\n|---:|---:|---:|---:|---:|");
    for events in EVENTS {
        let sim = Sim::start(&["--amplify-events", &events.to_string()])?;
        let url = &sim.url;
        let text = format!(
            "[source]\ntype = \"mixpanel_events\"\nbase_url = \"{url}\"\nproject_id = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-14\"\nwindow_days = 14\nauth = {{ username = \"sim\", secret = {{ env = \"BENCH_SECRET\" }} }}\n[sink]\ntype = \"duckdb\"\npath = \"{events}.db\"\n"
        );
        std::fs::write(work.path().join("memory.toml"), text)?;
        let command = [mixflow.as_str(), "run", "-q", "memory.toml"].map(str::to_owned);
        let taken = measure::run(&command, work.path(), OsStr::new(""), None)?;
        let file = work.path().join(format!("{events}.db"));
        let mb = std::fs::metadata(&file)?.len() / 1_000_000;
        std::fs::remove_file(file)?;
        println!(
            "| {events} | {:.1} | {:.1} | {:.0} | {mb} |",
            taken.seconds, taken.cpu_seconds, taken.peak_mb
        );
    }
    Ok(())
}
