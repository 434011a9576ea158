//! The run history: a report a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use mixflow_core::report::RunReport;
use serde::Deserialize;

const FILE: &str = "runs.jsonl";

/// Adds a report to the history in the state folder.
///
/// One write of one line, so that runs at the same time do not mix theirs.
pub(crate) fn append(state: &Path, report: &RunReport) -> io::Result<()> {
    fs::create_dir_all(state)?;
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(state.join(FILE))?
        .write_all(&line)
}

/// What is known of an earlier run.
#[derive(Debug, Deserialize)]
pub(crate) struct PastRun {
    pub(crate) run_id: String,
    pub(crate) only_failed_of: Option<String>,
    pub(crate) pipeline: String,
    pub(crate) destination: String,
    pub(crate) status: String,
    pub(crate) completed_at: String,
    pub(crate) from_date: Option<String>,
    pub(crate) to_date: Option<String>,
    pub(crate) partitions: Vec<PastPartition>,
    pub(crate) failed_partitions: Vec<String>,
}

/// A partition of an earlier run.
#[derive(Debug, Deserialize)]
pub(crate) struct PastPartition {
    pub(crate) label: String,
}

/// Returns the last run of a pipeline into a destination.
///
/// A run that was to fetch what another one lacks, and stored nothing, leaves
/// that one as it was: it is looked through.
pub(crate) fn last(state: &Path, pipeline: &str, destination: &str) -> io::Result<Option<PastRun>> {
    let text = match fs::read_to_string(state.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A line that a dying process has left half written is passed over.
    let runs = text.lines().rev();
    let runs = runs.filter_map(|line| serde_json::from_str::<PastRun>(line).ok());
    // A table that the pipeline does not name has its name from the run on.
    let mut runs =
        runs.filter(|run| run.pipeline == pipeline && run.destination.ends_with(destination));
    let mut last = runs.next();
    while let Some(run) = &last
        && run.stored_nothing()
        && let Some(id) = run.only_failed_of.clone()
    {
        last = runs.find(|run| run.run_id == id);
    }
    Ok(last)
}

impl PastRun {
    pub(crate) fn stored_nothing(&self) -> bool {
        self.status == "aborted"
    }
}
