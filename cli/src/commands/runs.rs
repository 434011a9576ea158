//! `mixflow runs`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use mixflow_core::Result;

use super::query::how;
use super::tables::{counts, show, texts};
use crate::app::App;
use crate::args::{Format, RunsArgs};
use crate::history::PastRun;

pub(crate) fn runs(app: &App, args: &RunsArgs) -> Result<()> {
    let runs: Vec<PastRun> = app.history()?;
    let runs: Vec<PastRun> = runs.into_iter().rev().take(args.last).collect();
    let text = |of: fn(&PastRun) -> Option<&str>| texts(runs.iter().map(of));
    let errors: Vec<Option<String>> = runs.iter().map(PastRun::error_text).collect();
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
        ("status", text(|run| Some(&run.status))),
        ("row_count", counts(runs.iter().map(|run| run.row_count))),
        ("duration_seconds", Arc::new(seconds) as ArrayRef),
        ("destination", text(|run| Some(&run.destination))),
        ("error", texts(errors.iter().map(Option::as_deref))),
    ];
    // A table is to fit a terminal; the report has all of it.
    if how(&args.show).format != Format::Table {
        let missing = missing.iter().map(|json| Some(json.as_str()));
        columns.extend([
            ("from_date", text(|run| run.from_date.as_deref())),
            ("to_date", text(|run| run.to_date.as_deref())),
            ("completed_at", text(|run| Some(&run.completed_at))),
            ("failed_partitions", texts(missing)),
        ]);
    }
    show(&args.show, columns)
}
