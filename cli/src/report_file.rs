//! `--report`: where the report of a run goes, and where it must not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mixflow_core::report::RunReport;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::real;

/// Checks that a report at `report` does not destroy what is at `destination`.
pub(crate) fn check(report: &Path, destination: &Path) -> Result<()> {
    if !is_in(report, destination) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("cannot write the report to `{}`", report.display()),
    )
    .because("the rows of the run go there")
    .hint("choose another file for `--report`"))
}

/// Writes the report of one run, or a list of several.
pub(crate) fn write(path: &Path, reports: &[RunReport]) -> Result<()> {
    let json = match reports {
        [report] => serde_json::to_string_pretty(report),
        several => serde_json::to_string_pretty(several),
    };
    json.map_err(std::io::Error::from)
        .and_then(|json| std::fs::write(path, json + "\n"))
        .map_err(cannot(format_args!(
            "write the report to `{}`",
            path.display()
        )))
}

/// Whether the first path is the second one, in it, or DuckDB's log of it.
///
/// Names that differ only in case are the same on some systems; nobody means
/// two files by them.
fn is_in(path: &Path, other: &Path) -> bool {
    let lower = |path: PathBuf| PathBuf::from(path.to_string_lossy().to_lowercase());
    let (path, other) = (real(path), real(other));
    if is_same_file(&path, &other) {
        return true;
    }
    let (path, other) = (lower(path), lower(other));
    let mut log = OsString::from(&other);
    log.push(".wal");
    path.starts_with(&other) || path == log
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(not(unix))]
fn is_same_file(_one: &Path, _other: &Path) -> bool {
    false
}
