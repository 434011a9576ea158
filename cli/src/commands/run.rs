//! `mixflow run`.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args as ClapArgs;
use mixflow::launch::{HistoryEntry, Patience};
use mixflow_core::config::Seconds;
use mixflow_core::engine::Pipeline;
use mixflow_core::report::RunReport;
use mixflow_core::unit::Unit;

use super::changes::overrides;
use crate::app::{App, Manner};
use crate::args::Changes;
use crate::exit::Exit;
use crate::only_failed::{Remainder, canonical, remainder};

/// `mixflow run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Fetch only what the last run lacks, and add it
    #[arg(long)]
    pub(crate) only_failed: bool,
    /// Wait while another run or program has the destination, for ever or for
    /// a TIME such as `5m`; otherwise only for a program, and only `60s`
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        value_parser = Seconds::from_str
    )]
    pub(crate) wait: Option<Option<Seconds>>,
}

pub(crate) fn run(app: &App, args: &RunArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    let mut reports = Vec::new();
    for file in &args.files {
        if args.files.len() > 1 {
            app.ui.status(&format!("running {}", file.display()));
        }
        let Some(pipeline) = app.load(file, &overrides) else {
            worst = worst.max(Exit::Usage);
            continue;
        };
        // The reports of runs before it are not written either: the place of
        // them all is this one's destination.
        if let Err(exit) = app.check_report(&pipeline) {
            return worst.max(exit);
        }
        let exit = match one(app, args, file, pipeline) {
            Ok(Some(report)) => {
                let exit = Exit::after(&report);
                reports.push(report);
                exit
            }
            Ok(None) => Exit::Done,
            Err(exit) => exit,
        };
        worst = worst.max(exit);
        // Who interrupts means all of it.
        if exit == Exit::Interrupted {
            break;
        }
    }
    // Of what could not be built it is not known where it would have written.
    if worst != Exit::Usage || !reports.is_empty() {
        app.write_report(&reports);
    }
    worst
}

/// Runs the pipeline of a file; `None` if nothing of it is missing.
fn one(
    app: &App,
    args: &RunArgs,
    file: &Path,
    pipeline: Pipeline,
) -> Result<Option<RunReport>, Exit> {
    let Some(work) = to_run(app, args, file, pipeline)? else {
        return Ok(None);
    };
    let entry = HistoryEntry {
        pipeline_path: canonical(file),
        only_failed_of: work.of,
    };
    let manner = Manner {
        patience: patience(args.wait),
        units: work.units,
        entry,
        remedy: "fetch what is missing with `mixflow run FILE --only-failed`, or all of it again",
    };
    Ok(Some(app.run(&work.pipeline, manner)))
}

/// Takes `--wait`, which means for ever, and `--wait=TIME`.
fn patience(wait: Option<Option<Seconds>>) -> Patience {
    let both = |time| Patience {
        runs: time,
        programs: time,
    };
    match wait {
        None => Patience::default(),
        Some(None) => both(Duration::MAX),
        Some(Some(Seconds(time))) => both(time),
    }
}

/// What is to be run of a file.
struct Work {
    pipeline: Pipeline,
    /// `None` is what the source plans.
    units: Option<Vec<Unit>>,
    /// The run that is completed by it.
    of: Option<String>,
}

/// Returns what is to be run of a file's pipeline; `None` if nothing is.
fn to_run(
    app: &App,
    args: &RunArgs,
    file: &Path,
    mut pipeline: Pipeline,
) -> Result<Option<Work>, Exit> {
    if !args.only_failed {
        return Ok(Some(Work {
            pipeline,
            units: None,
            of: None,
        }));
    }
    let remainder = remainder(app.state(), file, &pipeline).map_err(|error| {
        app.ui.error(&error);
        Exit::of(error.kind())
    })?;
    let (of, units, mode) = match remainder {
        Remainder::Nothing { completed_at } => {
            app.ui.status(&format!(
                "{}: nothing is missing from the run of {completed_at}",
                pipeline.name
            ));
            return Ok(None);
        }
        Remainder::Units { of, units, mode } => (of, Some(units), mode),
        Remainder::All { of, reason, mode } => {
            app.ui.note(reason);
            (of, None, mode)
        }
    };
    if let Some(mode) = mode {
        pipeline.sink.set_mode(mode).map_err(|error| {
            let name = &pipeline.name;
            let error = error.context(format!("cannot add what is missing to `{name}`"));
            app.ui.error(&error.hint("run it without `--only-failed`"));
            Exit::Usage
        })?;
    }
    Ok(Some(Work {
        pipeline,
        units,
        of: Some(of),
    }))
}
