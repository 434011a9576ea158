//! `--report`: where the report of a run goes, and where it must not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mixflow_core::report::RunReport;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::real;
use serde_json::Value;

/// What `--report` is to say.
#[derive(Default)]
pub(crate) struct Reports {
    /// A report for each file.
    pub(crate) list: Vec<RunReport>,
    /// Whether they are written as a list: of several files they are.
    pub(crate) several: bool,
    /// Whether there are pipelines whose destination is not known.
    pub(crate) some_unbuilt: bool,
    /// What these may have for a destination.
    pub(crate) places: Vec<PathBuf>,
}

impl Reports {
    /// Returns the report of one file.
    pub(crate) fn one(report: RunReport) -> Reports {
        Reports {
            list: vec![report],
            ..Reports::default()
        }
    }

    /// Returns what becomes of the reports of so many files.
    pub(crate) fn of_files(files: usize) -> Reports {
        Reports {
            several: files > 1,
            ..Reports::default()
        }
    }
}

/// A file that is written beside a run, and what names it.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    what: &'static str,
    named_by: &'static str,
}

/// The report.
pub(crate) const REPORT: Beside = Beside {
    what: "report",
    named_by: "`--report`",
};

/// The metrics.
pub(crate) const METRICS: Beside = Beside {
    what: "metrics",
    named_by: "`metrics` in `[run]`",
};

/// Checks that a file at `path` does not destroy what is at `destination`.
pub(crate) fn check(file: Beside, path: &Path, destination: &Path) -> Result<()> {
    if !is_in(path, destination) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("cannot write the {} to `{}`", file.what, path.display()),
    )
    .because("the rows of the run go there")
    .hint(format!("choose another file for {}", file.named_by)))
}

/// Checks that a report at `report` does not destroy a pipeline's file.
pub(crate) fn check_file(report: &Path, file: &Path) -> Result<()> {
    if real(report) != real(file) && !is_same_file(report, file) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("cannot write the report to `{}`", report.display()),
    )
    .because("the pipeline stands there")
    .hint("choose another file for `--report`"))
}

/// Writes the report of one file, or a list of several.
///
/// Of a pipeline that could not be built it is not known where it would have
/// written: nothing is overwritten then but a report.
pub(crate) fn write(path: &Path, reports: &Reports) -> Result<()> {
    for place in &reports.places {
        check(REPORT, path, place)?;
    }
    if reports.some_unbuilt && !may_be_a_report(path) {
        let message = format!("cannot write the report to `{}`", path.display());
        return Err(Error::new(ErrorKind::Config, message)
            .because("what is there is no report, and may be the destination of a pipeline that could not be built"));
    }
    let json = match reports.list.as_slice() {
        [report] if !reports.several => serde_json::to_string_pretty(report),
        list => serde_json::to_string_pretty(list),
    };
    json.map_err(std::io::Error::from)
        .and_then(|json| std::fs::write(path, json + "\n"))
        .map_err(cannot(format_args!(
            "write the report to `{}`",
            path.display()
        )))
}

/// Whether nothing is lost at a path but a report: there is no file, or an
/// empty one, or one with reports in it.
fn may_be_a_report(path: &Path) -> bool {
    // A pipe or a device loses nothing, and is not to be read.
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    if !is_file {
        return true;
    }
    let Ok(text) = std::fs::read(path) else {
        return false;
    };
    let is_report = |value: &Value| {
        let has = |key| value.get(key).is_some_and(Value::is_string);
        has("run_id") && has("status")
    };
    text.is_empty()
        || match serde_json::from_slice::<Value>(&text) {
            Ok(Value::Array(list)) => list.iter().all(is_report),
            Ok(value) => is_report(&value),
            Err(_) => false,
        }
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
