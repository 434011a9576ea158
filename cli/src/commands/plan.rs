//! `mixflow plan`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow::launch::run_id;
use mixflow_core::context::Delivery;
use mixflow_core::engine::{OnFailure, Pipeline, delivery, preview};
use mixflow_core::ledger::Held;
use mixflow_core::source::Outline;

use super::changes::overrides;
#[cfg(feature = "lake")]
use super::write_plan;
use crate::app::{App, Loaded, OfFile};
use crate::args::Changes;
use crate::exit::Exit;
use crate::provenance::Fact;
use crate::ui::counted;

/// `mixflow plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Write the units as JSON, for `unit run` and `commit`; `-` is stdout
    #[cfg(feature = "lake")]
    #[arg(long, value_name = "PLAN.json")]
    pub(crate) output: Option<PathBuf>,
    /// Plan anew: what was left for earlier plans of the same days does not count
    #[cfg(feature = "lake")]
    #[arg(long, requires = "output")]
    pub(crate) fresh: bool,
}

/// Labels shown before the rest is only counted.
const SHOWN: usize = 12;

pub(crate) fn plan(app: &App, args: &PlanArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    #[cfg(feature = "lake")]
    if let Some(output) = &args.output {
        return write_plan::write(app, &args.files, output, args.fresh, &overrides);
    }
    let mut worst = Exit::Done;
    let files = args.files.iter();
    let all = files.flat_map(|file| app.each(file, &overrides));
    for (n, of) in all.enumerate() {
        if n > 0 {
            app.ui.out("\n");
        }
        worst = worst.max(one(app, &of));
    }
    worst
}

/// Shows what a run of one file would do.
fn one(app: &App, of: &OfFile) -> Exit {
    let Ok(loaded) = app.load_one(of) else {
        return Exit::Usage;
    };
    let Loaded {
        pipeline, facts, ..
    } = loaded;
    app.ui.out(&describe(&pipeline, &facts));
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

/// Says what a run would do, a fact a line.
fn describe(pipeline: &Pipeline, facts: &[Fact]) -> String {
    let info = pipeline.source.info();
    let outline = pipeline.source.outline(&Held::default());
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    row("pipeline", &pipeline.name);
    row(
        "source",
        &format!("{}: {}", pipeline.source_type, info.title),
    );
    for (name, said) in facts {
        row(name, said);
    }
    if let (Some(from), Some(to)) = (info.from_date, info.to_date) {
        row("days", &format!("{from} to {to}"));
    }
    if !info.dataset.filters.is_empty() {
        row(
            "filters",
            &serde_json::Value::Object(info.dataset.filters).to_string(),
        );
    }
    if let Some(archive) = pipeline.source.archive() {
        let place = archive.path.display();
        row(
            "archive",
            &format!("each answer is kept in {place}, unmasked"),
        );
    }
    row("partitions", &partitions(&outline));
    if let Some(requests) = requests(&outline) {
        row("requests", &requests);
    }
    for note in &outline.notes {
        row("note", note);
    }
    row("workers", &workers(pipeline, &outline));
    text
}

fn partitions(outline: &Outline) -> String {
    let labels: Vec<&str> = outline.units.iter().map(|u| u.label.as_str()).collect();
    if labels.is_empty() {
        return "known after the first request".to_owned();
    }
    let mut shown = labels[..labels.len().min(SHOWN)].join(", ");
    if labels.len() > SHOWN {
        let _ = write!(shown, " and {} more", labels.len() - SHOWN);
    }
    format!("{} ({shown})", labels.len())
}

/// Says how many requests there will be, of those that are allowed.
fn requests(outline: &Outline) -> Option<String> {
    let hourly = outline.requests_per_hour?;
    let used = match outline.used_in_last_hour {
        None | Some(0) => String::new(),
        Some(used) => format!("; {used} were made in the last hour"),
    };
    Some(match outline.requests {
        Some(requests) => format!(
            "{requests}, {} % of the {hourly} that are allowed in an hour{used}",
            requests * 100 / u64::from(hourly.max(1))
        ),
        None => format!("1 and more, of {hourly} in an hour{used}"),
    })
}

fn workers(pipeline: &Pipeline, outline: &Outline) -> String {
    let wanted = pipeline.options.workers.get();
    let workers = outline
        .max_workers
        .map_or(wanted, |most| wanted.min(most.get()));
    format!(
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
    )
}
