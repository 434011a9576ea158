//! `mixflow runs`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use clap::Args as ClapArgs;
use jiff::civil::Date;
use mixflow_core::report::RunReport;
use mixflow_core::{Error, Result};

use super::query::how;
use super::tables::{counts, show, texts};
use crate::app::App;
use crate::args::{Format, ShowArgs};

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
    let text = |of: fn(&RunReport) -> Option<&str>| texts(runs.iter().map(of));
    let errors: Vec<Option<String>> = runs.iter().map(error_text).collect();
    let missing: Vec<String> = runs
        .iter()
        .map(|run| serde_json::json!(run.failed_partitions).to_string())
        .collect();
    let seconds: Float64Array = runs
        .iter()
        .map(|run| Some((run.duration_seconds * 1_000.0).round() / 1_000.0))
        .collect();
    let mut columns = vec![
        ("run_id", text(|run| Some(&run.run_id))),
        ("pipeline", text(|run| Some(&run.pipeline))),
        ("status", text(|run| Some(run.status.as_str()))),
        ("row_count", counts(runs.iter().map(|run| run.row_count))),
        ("duration_seconds", Arc::new(seconds) as ArrayRef),
        (
            "destination",
            strings(runs.iter().map(|run| Some(places(run)))),
        ),
        ("error", texts(errors.iter().map(Option::as_deref))),
    ];
    // A table is to fit a terminal; the report has all of it.
    if how(&args.show).format != Format::Table {
        let days = |of: fn(&RunReport) -> Option<Date>| {
            strings(runs.iter().map(|run| of(run).map(|day| day.to_string())))
        };
        columns.extend([
            ("from_date", days(|run| run.from_date)),
            ("to_date", days(|run| run.to_date)),
            (
                "completed_at",
                strings(runs.iter().map(|run| Some(run.completed_at.to_string()))),
            ),
            ("failed_partitions", strings(missing.into_iter().map(Some))),
        ]);
    }
    show(&args.show, columns)
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
