//! The run history: a report a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use mixflow_core::destination::Destination;
use mixflow_core::private;
use mixflow_core::report::{RunReport, Status};

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

/// Returns every run, in the order in which they ended.
pub(crate) fn all(state: &Path) -> io::Result<Vec<RunReport>> {
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
pub(crate) fn last(
    state: &Path,
    pipeline: &str,
    destination: &Destination,
) -> io::Result<Option<RunReport>> {
    let destination = destination.to_string();
    let runs = all(state)?.into_iter().rev();
    let mut runs =
        runs.filter(|run| run.pipeline == pipeline && run.destination.to_string() == destination);
    let mut last = runs.next();
    while let Some(run) = &last
        && run.status == Status::Aborted
        && let Some(id) = run.only_failed_of.clone()
    {
        last = runs.find(|run| run.run_id == id);
    }
    Ok(last)
}

/// Returns the error and its innermost cause, or what is missing, on one line.
pub(crate) fn error_text(run: &RunReport) -> Option<String> {
    let Some(error) = &run.error else {
        let missing = &run.failed_partitions;
        return (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    };
    Some(match error.causes().last() {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    })
}
