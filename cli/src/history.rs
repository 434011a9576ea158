//! The run history: a report a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use mixflow_core::private;
use mixflow_core::report::RunReport;
use serde::Deserialize;
use serde::de::DeserializeOwned;

const FILE: &str = "runs.jsonl";

/// Adds a report to the history in the state folder.
///
/// One write of one line, so that runs at the same time do not mix theirs.
pub(crate) fn append(state: &Path, report: &RunReport) -> io::Result<()> {
    // One that is there may be anybody's, such as `/tmp`.
    if !state.exists() {
        private::create_folder(state)?;
    }
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    private::file(OpenOptions::new().create(true).append(true))
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
    pub(crate) row_count: u64,
    pub(crate) duration_seconds: f64,
    pub(crate) completed_at: String,
    pub(crate) from_date: Option<String>,
    pub(crate) to_date: Option<String>,
    pub(crate) partitions: Vec<PastPartition>,
    pub(crate) failed_partitions: Vec<String>,
    pub(crate) error: Option<PastError>,
}

/// Why an earlier run did not end well.
#[derive(Debug, Deserialize)]
pub(crate) struct PastError {
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
}

/// A partition of an earlier run.
#[derive(Debug, Deserialize)]
pub(crate) struct PastPartition {
    pub(crate) label: String,
}

/// Returns every run, in the order in which they ended.
pub(crate) fn all<T: DeserializeOwned>(state: &Path) -> io::Result<Vec<T>> {
    let text = match fs::read_to_string(state.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A line that a dying process has left half written is passed over.
    let runs = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(runs.collect())
}

/// Returns the last run of a pipeline into a destination.
///
/// A run that was to fetch what another one lacks, and stored nothing, leaves
/// that one as it was: it is looked through.
pub(crate) fn last(state: &Path, pipeline: &str, destination: &str) -> io::Result<Option<PastRun>> {
    let runs = all::<PastRun>(state)?.into_iter().rev();
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
    /// Returns the error and its innermost cause, or what is missing, on one
    /// line.
    pub(crate) fn error_text(&self) -> Option<String> {
        let Some(error) = &self.error else {
            let missing = &self.failed_partitions;
            return (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
        };
        Some(match error.causes.last() {
            Some(cause) => format!("{}: {cause}", error.message),
            None => error.message.clone(),
        })
    }

    pub(crate) fn stored_nothing(&self) -> bool {
        self.status == "aborted"
    }
}
