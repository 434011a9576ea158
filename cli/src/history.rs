//! The run history: a report a line.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use mixflow_core::report::RunReport;

/// Adds a report to `runs.jsonl` in the state folder.
///
/// One write of one line, so that runs at the same time do not mix theirs.
pub(crate) fn append(state: &Path, report: &RunReport) -> std::io::Result<()> {
    fs::create_dir_all(state)?;
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(state.join("runs.jsonl"))?
        .write_all(&line)
}
