//! `mixflow plan`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow::launch::run_id;
use mixflow_core::context::Delivery;
use mixflow_core::engine::{OnFailure, Pipeline, delivery, preview};

use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;
use crate::ui::counted;

/// `mixflow plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

/// Labels shown before the rest is only counted.
const SHOWN: usize = 12;

pub(crate) fn plan(app: &App, args: &PlanArgs) -> Exit {
    let overrides = match super::overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let Some(pipeline) = app.load(&args.file, &overrides) else {
        return Exit::Usage;
    };
    app.ui.out(&describe(&pipeline));
    for warning in pipeline.warnings() {
        app.ui.warning(&warning);
    }
    match preview(&pipeline, run_id()) {
        Ok(preview) => {
            for action in preview.actions {
                app.ui.out(&format!("sink        {action}\n"));
            }
            Exit::Done
        }
        Err(error) => {
            app.ui.error(&error);
            Exit::of(error.kind())
        }
    }
}

fn describe(pipeline: &Pipeline) -> String {
    let info = pipeline.source.info();
    let outline = pipeline.source.outline();
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    row("pipeline", &pipeline.name);
    row(
        "source",
        &format!("{}: {}", pipeline.source_type, info.title),
    );
    if let (Some(from), Some(to)) = (info.from_date, info.to_date) {
        row("days", &format!("{from} to {to}"));
    }
    if !info.dataset.filters.is_empty() {
        row(
            "filters",
            &serde_json::Value::Object(info.dataset.filters).to_string(),
        );
    }
    match outline.units.as_slice() {
        [] => row("partitions", "known after the first request"),
        units => {
            let labels: Vec<&str> = units.iter().map(|unit| unit.label.as_str()).collect();
            let mut shown = labels[..labels.len().min(SHOWN)].join(", ");
            if labels.len() > SHOWN {
                let _ = write!(shown, " and {} more", labels.len() - SHOWN);
            }
            row("partitions", &format!("{} ({shown})", labels.len()));
        }
    }
    let used = match outline.used_in_last_hour {
        None | Some(0) => String::new(),
        Some(used) => format!("; {used} were made in the last hour"),
    };
    match (outline.requests, outline.requests_per_hour) {
        (Some(requests), Some(hourly)) => row(
            "requests",
            &format!(
                "{requests}, {} % of the {hourly} that are allowed in an hour{used}",
                requests * 100 / u64::from(hourly.max(1))
            ),
        ),
        (None, Some(hourly)) => row(
            "requests",
            &format!("1 and more, of {hourly} in an hour{used}"),
        ),
        _ => {}
    }
    for note in &outline.notes {
        row("note", note);
    }
    let wanted = pipeline.options.workers.get();
    let workers = outline
        .max_workers
        .map_or(wanted, |most| wanted.min(most.get()));
    row(
        "workers",
        &format!(
            "{}; {}; rows leave {}",
            counted(workers as u64, "worker"),
            match pipeline.options.on_failure {
                OnFailure::Abort => "a failed partition aborts the run",
                OnFailure::Keep => "a failed partition is left out and named",
            },
            match delivery(pipeline) {
                Delivery::Verified => "a partition when it is complete",
                Delivery::Direct => "as they arrive",
            }
        ),
    );
    text
}
