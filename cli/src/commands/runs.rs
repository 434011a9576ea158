//! `mixflow runs`.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use clap::Args as ClapArgs;
use jiff::civil::Date;
use mixflow_core::report::RunReport;
use mixflow_core::{Error, Result};

use super::query::how;
use super::tables::{counts, dates, show, texts};
use crate::app::App;
use crate::args::{Format, ShowArgs};
use crate::output::width;

/// `mixflow runs`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunsArgs {
    /// How many runs
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

pub(crate) fn runs(app: &App, args: &RunsArgs) -> Result<()> {
    let runs = app.history(args.last)?;
    let how = how(&args.show);
    let columns = match how.format {
        Format::Table => for_people(&runs, how.output.is_none()),
        _ => for_programs(&runs),
    };
    show(&args.show, columns)
}

/// A terminal of fewer columns has the days of a run in one of them.
const WIDE: u16 = 100;

/// Returns what a person looks for, the most important first: a narrow terminal
/// has no room for the last ones.
fn for_people(runs: &[RunReport], on_stdout: bool) -> Vec<(&'static str, ArrayRef)> {
    let text = |of: fn(&RunReport) -> Option<&str>| texts(runs.iter().map(of));
    let mut columns = vec![
        ("run_id", text(|run| Some(&run.run_id))),
        ("pipeline", text(|run| Some(&run.pipeline))),
        ("status", text(|run| Some(run.status.as_str()))),
        ("rows", counts(runs.iter().map(|run| run.row_count))),
    ];
    if on_stdout && io::stdout().is_terminal() && width() < WIDE {
        columns.push(("days", strings(runs.iter().map(span))));
    } else {
        columns.push(("from", dates(runs.iter().map(|run| run.from_date))));
        columns.push(("to", dates(runs.iter().map(|run| run.to_date))));
    }
    columns.extend([
        ("seconds", seconds(runs)),
        ("error", strings(runs.iter().map(error_text))),
        (
            "destination",
            strings(runs.iter().map(|run| Some(places(run)))),
        ),
    ]);
    columns
}

/// Returns the days of a run in as little as says which they are:
/// `2024-01-01..14`.
fn span(run: &RunReport) -> Option<String> {
    let (from, to) = (run.from_date?, run.to_date?);
    let to = match (from.year() == to.year(), from.month() == to.month()) {
        _ if from == to => return Some(from.to_string()),
        (true, true) => to.strftime("%d").to_string(),
        (true, false) => to.strftime("%m-%d").to_string(),
        (false, _) => to.to_string(),
    };
    Some(format!("{from}..{to}"))
}

fn for_programs(runs: &[RunReport]) -> Vec<(&'static str, ArrayRef)> {
    let text = |of: fn(&RunReport) -> Option<&str>| texts(runs.iter().map(of));
    let days = |of: fn(&RunReport) -> Option<Date>| {
        strings(runs.iter().map(|run| of(run).map(|day| day.to_string())))
    };
    let missing = |run: &RunReport| serde_json::json!(run.failed_partitions).to_string();
    vec![
        ("run_id", text(|run| Some(&run.run_id))),
        ("pipeline", text(|run| Some(&run.pipeline))),
        ("status", text(|run| Some(run.status.as_str()))),
        ("row_count", counts(runs.iter().map(|run| run.row_count))),
        ("duration_seconds", seconds(runs)),
        (
            "destination",
            strings(runs.iter().map(|run| Some(places(run)))),
        ),
        ("error", strings(runs.iter().map(error_text))),
        ("from_date", days(|run| run.from_date)),
        ("to_date", days(|run| run.to_date)),
        (
            "completed_at",
            strings(runs.iter().map(|run| Some(run.completed_at.to_string()))),
        ),
        (
            "failed_partitions",
            strings(runs.iter().map(|run| Some(missing(run)))),
        ),
    ]
}

fn seconds(runs: &[RunReport]) -> ArrayRef {
    let seconds = runs.iter().map(|run| run.duration_seconds);
    let rounded = seconds.map(|seconds| Some((seconds * 1_000.0).round() / 1_000.0));
    Arc::new(rounded.collect::<Float64Array>())
}

fn strings(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// Returns where the rows went, of every sink.
fn places(run: &RunReport) -> String {
    let places = run.destinations().into_iter().map(ToString::to_string);
    places.collect::<Vec<_>>().join(", ")
}

/// Returns the error and its innermost cause, or what is missing, on one line.
fn error_text(run: &RunReport) -> Option<String> {
    let in_short = |error: &Error| match error.causes().last() {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    };
    if let Some(error) = &run.error {
        return Some(in_short(error));
    }
    let missing = &run.failed_partitions;
    let missing = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    let failed = run.failed_sinks().map(|sink| {
        let why = sink.error.as_ref().map(in_short).unwrap_or_default();
        format!("{} failed: {why}", sink.destination)
    });
    let all: Vec<String> = missing.into_iter().chain(failed).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
