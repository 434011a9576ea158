//! `mixflow run`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args as ClapArgs;
use mixflow::launch::{HistoryEntry, Patience};
use mixflow_core::Error;
use mixflow_core::config::Seconds;
use mixflow_core::destination::Destination;
use mixflow_core::engine::{NamedSink, Pipeline, Sinks};
use mixflow_core::report::RunReport;
use mixflow_core::unit::Unit;

use super::changes::overrides;
use super::jobs;
use crate::app::{App, Manner, OfFile};
use crate::args::Changes;
use crate::exit::Exit;
use crate::only_failed::{Remainder, Share, canonical, remainder};
use crate::report_file::Reports;
use crate::unrun;

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
    /// Run so many pipelines at once, each in a process of its own
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

pub(crate) fn run(app: &App, args: &RunArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    if let Err(exit) = app.check_report_beside(&args.files) {
        return exit;
    }
    let files = args.files.iter();
    let all: Vec<OfFile> = files.flat_map(|file| app.each(file, &overrides)).collect();
    if let Some(jobs) = args.jobs.filter(|jobs| jobs.get() > 1 && all.len() > 1) {
        return jobs::run(app, "run", &flags(args), &all, jobs);
    }
    let mut reports = Reports::of_files(all.len());
    let worst = app.in_turn("running", &all, |of| {
        let file = of.file.as_path();
        let report = match app.load_or_report(of) {
            Ok(pipeline) => {
                // The reports of runs before it are not written either: the
                // place of them all is this one's destination.
                app.check_report(&pipeline)?;
                one(app, args, file, pipeline)
            }
            Err(unbuilt) => {
                let mut unbuilt = *unbuilt;
                let file = canonical(file);
                app.raise(&unbuilt.alarms, &mut unbuilt.report, file.as_deref(), None);
                reports.some_unbuilt = true;
                reports.places.extend(unbuilt.places);
                unbuilt.report
            }
        };
        let exit = Exit::after(&report);
        reports.list.push(report);
        Ok(exit)
    });
    if worst.is_ok() {
        app.write_report(&reports);
    }
    let (Ok(worst) | Err(worst)) = worst;
    worst
}

/// Runs the pipeline of a file, if something of it is missing.
fn one(app: &App, args: &RunArgs, file: &Path, pipeline: Pipeline) -> RunReport {
    let work = match to_run(app, args, file, pipeline) {
        Ok(work) => work,
        Err(report) => return *report,
    };
    let entry = HistoryEntry {
        pipeline_path: canonical(file),
        only_failed_of: work.of,
        destinations: work.destinations,
    };
    let manner = Manner {
        patience: patience(args.wait),
        units: work.units,
        most_requests: None,
        entry,
        remedy: format!(
            "fetch what is missing with `mixflow run {} --only-failed`, or all of it again",
            file.display()
        ),
    };
    app.run(&work.pipeline, manner)
}

/// Returns what is said of each pipeline, for a process of its own.
fn flags(args: &RunArgs) -> Vec<String> {
    let mut flags = Vec::new();
    for set in &args.changes.set {
        flags.extend(["--set".to_owned(), set.clone()]);
    }
    for (flag, value) in [("from", &args.changes.from), ("to", &args.changes.to)] {
        flags.extend(value.iter().map(|value| format!("--{flag}={value}")));
    }
    if args.only_failed {
        flags.push("--only-failed".to_owned());
    }
    flags.push(match &args.wait {
        Some(Some(time)) => format!("--wait={}s", time.0.as_secs_f64()),
        Some(None) => "--wait".to_owned(),
        // Two of ours may have the same database.
        None => "--wait=1h".to_owned(),
    });
    flags
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
    /// Where all sinks of the file write to.
    destinations: Option<Vec<Destination>>,
}

/// Returns what is to be run of a file's pipeline, or the report of why nothing
/// is.
fn to_run(
    app: &App,
    args: &RunArgs,
    file: &Path,
    mut pipeline: Pipeline,
) -> Result<Work, Box<RunReport>> {
    if !args.only_failed {
        return Ok(Work {
            pipeline,
            units: None,
            of: None,
            destinations: None,
        });
    }
    let refused = |pipeline: &Pipeline, error: Error| {
        app.ui.error(&error);
        let mut report = unrun::of_pipeline(pipeline, Some(error));
        let file = canonical(file);
        let missing_days = app.missing_days(pipeline);
        app.raise(&pipeline.alarms, &mut report, file.as_deref(), missing_days);
        Box::new(report)
    };
    let remainder =
        remainder(app.state(), file, &pipeline).map_err(|error| refused(&pipeline, error))?;
    let rest = match remainder {
        Remainder::Nothing { completed_at } => {
            let name = &pipeline.name;
            app.ui.status(&format!(
                "{name}: nothing is missing from the run of {completed_at}"
            ));
            return Err(Box::new(unrun::of_pipeline(&pipeline, None)));
        }
        Remainder::Rest(rest) => rest,
    };
    let units = rest.units.map_err(|reason| app.ui.note(reason)).ok();
    let destinations = pipeline.destinations();
    if let Err(error) = set_modes(&mut pipeline, &rest.shares) {
        return Err(refused(&pipeline, error));
    }
    Ok(Work {
        pipeline: Pipeline {
            sinks: shared(pipeline.sinks, rest.shares),
            ..pipeline
        },
        units,
        of: Some(rest.of),
        destinations: Some(destinations),
    })
}

/// Sets the modes in which sinks get what they lack.
fn set_modes(pipeline: &mut Pipeline, shares: &[Option<Share>]) -> Result<(), Error> {
    for (named, share) in pipeline.sinks.iter_mut().zip(shares) {
        if let Some(mode) = share.as_ref().and_then(|share| share.mode) {
            named.sink.set_mode(mode).map_err(|error| {
                let name = &pipeline.name;
                let error = error.context(format!("cannot add what is missing to `{name}`"));
                error.hint("run it without `--only-failed`")
            })?;
        }
    }
    Ok(())
}

/// Returns the sinks that are to get something, each with what it is.
fn shared(sinks: Sinks, shares: Vec<Option<Share>>) -> Sinks {
    let sinks = sinks.into_iter().zip(shares);
    let sinks = sinks.filter_map(|(named, share)| {
        share.map(|share| NamedSink {
            units: share.units,
            ..named
        })
    });
    Sinks::new(sinks).expect("where something is lacking, a sink lacks it")
}
