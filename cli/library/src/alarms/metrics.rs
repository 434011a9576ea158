//! The file that Prometheus reads: a few numbers of the last run of each
//! pipeline that writes to it.
//!
//! Node exporter's textfile collector takes any file that ends in `.prom`.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use mixflow_core::cancel::CancelToken;
use mixflow_core::destination::Destination;
use mixflow_core::report::{RunReport, Status};
use mixflow_core::staged::{FileMode, StagedFile, cannot};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::{Held, Locks, Tried};

/// How long other runs that write to the file are waited for. Each has it for
/// some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it is free.
const LOOK: Duration = Duration::from_millis(5);

/// What is known of a pipeline.
pub(super) struct Numbers<'a> {
    pub(super) report: &'a RunReport,
    pub(super) missing_days: Option<u64>,
}

/// A metric: its name, and what it is.
struct Metric {
    name: &'static str,
    help: &'static str,
}

const LAST_SUCCESS: Metric = Metric {
    name: "mixflow_last_success_timestamp_seconds",
    help: "When the last run that was committed whole ended.",
};
const ROWS: Metric = Metric {
    name: "mixflow_rows",
    help: "Rows that the last run made visible.",
};
const MISSING_DAYS: Metric = Metric {
    name: "mixflow_missing_days",
    help: "Days that are missing from the destination, or there only in part.",
};

const METRICS: [Metric; 3] = [LAST_SUCCESS, ROWS, MISSING_DAYS];

/// Writes the numbers of a pipeline into the file at `path`, in the place of
/// its old ones; the lines of others stay. Readers see it whole.
///
/// Fails when it cannot be written, or has something else in it than metrics.
pub(super) fn write(
    path: &Path,
    numbers: &Numbers<'_>,
    state: Option<&Path>,
    cancel: &CancelToken,
) -> Result<()> {
    let what = format!("write the metrics to `{}`", path.display());
    let _held =
        lock(path, state, cancel).map_err(|error| error.context(format!("cannot {what}")))?;
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(cannot(&what)(error)),
    };
    if !old.lines().all(is_metric) {
        return Err(Error::new(ErrorKind::Config, format!("cannot {what}"))
            .because("what is there are no metrics"));
    }
    let in_full = |error: Error| error.context(format!("cannot {what}"));
    let mut file = StagedFile::begin(path, FileMode::Replace).map_err(in_full)?;
    file.write_all(rewritten(&old, numbers).as_bytes())
        .map_err(cannot(&what))?;
    file.commit().map_err(in_full)
}

/// Holds the file against other runs, as far as there is a place to do it.
fn lock(path: &Path, state: Option<&Path>, cancel: &CancelToken) -> Result<Option<Held>> {
    // What is wrong with the place has been told of the run's own lock.
    let (locks, _) = Locks::open(state);
    let file = Destination::at(path);
    let asked = Instant::now();
    loop {
        match locks.try_lock(&file, "metrics") {
            Tried::Held(held) => return Ok(Some(held)),
            Tried::Nowhere => return Ok(None),
            Tried::Taken(_) if asked.elapsed() < PATIENCE => cancel.wait(LOOK)?,
            Tried::Taken(_) => {
                return Err(Error::new(
                    ErrorKind::Locked,
                    "another run is writing to it",
                ));
            }
        }
    }
}

/// Returns the file's text with the numbers in it.
fn rewritten(old: &str, numbers: &Numbers<'_>) -> String {
    let label = label(&numbers.report.pipeline);
    let mut text = String::new();
    let mut series: [Vec<String>; 3] = Default::default();
    let mut last_success = None;
    for line in old.lines().filter(|line| !line.trim().is_empty()) {
        let described = line
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(' '));
        let name = described.map_or(line, |(_, rest)| rest);
        let Some(n) = METRICS.iter().position(|metric| metric.is(name)) else {
            // Somebody else's stays as it is.
            text.push_str(line);
            text.push('\n');
            continue;
        };
        if described.is_some() {
            continue;
        }
        match line.strip_prefix(&format!("{}{label} ", METRICS[n].name)) {
            None => series[n].push(line.to_owned()),
            Some(value) if n == 0 => last_success = Some(value.to_owned()),
            Some(_) => {}
        }
    }
    let report = numbers.report;
    if report.status == Status::Committed {
        last_success = Some(seconds(report));
    }
    let visible = match report.status {
        Status::Aborted => 0,
        _ => report.row_count,
    };
    let missing_days = numbers.missing_days.map(|days| days.to_string());
    let values = [last_success, Some(visible.to_string()), missing_days];
    for ((metric, mut lines), value) in METRICS.iter().zip(series).zip(values) {
        lines.extend(value.map(|value| format!("{}{label} {value}", metric.name)));
        lines.sort();
        metric.add(&mut text, &lines);
    }
    text
}

impl Metric {
    /// Whether a line without its comment sign is about this metric.
    fn is(&self, line: &str) -> bool {
        let rest = line.strip_prefix(self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', ' ']))
    }

    fn add(&self, text: &mut String, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let Metric { name, help } = self;
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
}

fn seconds(report: &RunReport) -> String {
    let ms = report.completed_at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

/// Returns the label that tells a pipeline's series from the others.
fn label(pipeline: &str) -> String {
    let escaped = pipeline
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{{pipeline=\"{escaped}\"}}")
}

/// Whether a line may be one of Prometheus's text format: a comment, or a name,
/// labels in braces, and a value.
fn is_metric(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return true;
    }
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let is_part = |c: char| starts(c) || c.is_ascii_digit();
    let rest = line.trim_start_matches(is_part);
    let values = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}').map(|(_, values)| values),
        None => Some(rest),
    };
    let value = values.and_then(|values| values.split_whitespace().next());
    line.starts_with(starts) && value.is_some_and(|value| value.parse::<f64>().is_ok())
}
