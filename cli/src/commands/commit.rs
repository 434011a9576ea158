//! `mixflow commit`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow::launch::{HistoryEntry, Patience};
use mixflow::plans::{CommitOptions, CommitWork, PlanFile, commit_work, committed_by, is_blind};
use mixflow::stage::{Committed, Stage};
use mixflow_core::engine::Pipeline;
use mixflow_core::report::{RunReport, Status};
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::{App, Manner};
use crate::exit::Exit;
use crate::only_failed::canonical;
use crate::report_file::Reports;
use crate::ui::counted;
use crate::unrun;

/// `mixflow commit`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CommitArgs {
    /// The plan, as `mixflow plan FILE --output` wrote it
    #[arg(long, value_name = "PLAN.json")]
    pub(crate) plan: PathBuf,
    /// Where its units were left
    #[arg(long, value_name = "URL")]
    pub(crate) stage: String,
    /// Commit what is there although units are missing; a later commit adds them
    #[arg(long)]
    pub(crate) allow_missing: bool,
}

/// Labels shown before the rest is only counted.
const SHOWN: usize = 5;

pub(crate) fn commit(app: &App, args: &CommitArgs) -> Exit {
    let plan = match PlanFile::read(&args.plan) {
        Ok(plan) => plan,
        Err(error) => return app.fail(&error),
    };
    let mut worst = Exit::Done;
    let mut reports = Reports::of_files(plan.pipelines().len());
    for n in 0..plan.pipelines().len() {
        let exit = match one(app, args, &plan, n, &mut reports) {
            Ok(exit) => exit,
            Err(error) => app.fail(&error),
        };
        worst = worst.max(exit);
        // Who interrupts means all of it.
        if exit == Exit::Interrupted {
            break;
        }
    }
    app.write_report(&reports);
    worst
}

/// Commits one of the pipelines.
fn one(
    app: &App,
    args: &CommitArgs,
    plan: &PlanFile,
    n: usize,
    reports: &mut Reports,
) -> Result<Exit> {
    let planned = &plan.pipelines()[n];
    let stage = app.stage(&args.stage, &plan.stage_name(n))?;
    let built = |app: &App| app.load_planned(&args.plan, planned, None);
    let Some(pipeline) = built(app) else {
        return Ok(Exit::Usage);
    };
    if let Err(exit) = app.check_report(&pipeline) {
        return Ok(exit);
    }
    let options = CommitOptions {
        allow_missing: args.allow_missing,
        state: app.state_folder().map(ToOwned::to_owned),
        scratch: app.scratch(),
    };
    match commit_work(pipeline, planned, &stage, &options)? {
        CommitWork::Done { committed } => {
            app.ui.status(&format!(
                "{}: {} of the plan in {} already, so there is nothing to do",
                planned.name(),
                counted(committed.rows, "row"),
                committed.destination
            ));
            if let Some(pipeline) = built(app) {
                reports.list.push(unrun::of_pipeline(&pipeline, None));
            }
            Ok(Exit::Done)
        }
        CommitWork::Missing { labels } => {
            let error = missing(planned.name(), &labels, args);
            app.ui.error(&error);
            if let Some(pipeline) = built(app) {
                let mut report = unrun::of_pipeline(&pipeline, Some(error));
                report.failed_partitions = labels;
                app.raise(&pipeline.alarms, &mut report, None, None);
                reports.list.push(report);
            }
            Ok(Exit::Partial)
        }
        CommitWork::Run {
            pipeline,
            committed,
            ..
        } => {
            let report = run(app, args, &pipeline, &stage, committed);
            let exit = Exit::after(&report);
            reports.list.push(report);
            Ok(exit)
        }
    }
}

/// Runs the pipeline, and notes on the stage that it has committed.
fn run(
    app: &App,
    args: &CommitArgs,
    pipeline: &Pipeline,
    stage: &Stage,
    committed: Committed,
) -> RunReport {
    if is_blind(pipeline) {
        let begun = Committed {
            begun_only: true,
            ..committed.clone()
        };
        if let Err(error) = stage.note(&begun) {
            app.ui.error(&error);
            return unrun::of_pipeline(pipeline, Some(error));
        }
    }
    let manner = Manner {
        patience: Patience::default(),
        units: None,
        most_requests: None,
        entry: HistoryEntry {
            pipeline_path: canonical(&args.plan),
            ..HistoryEntry::default()
        },
        remedy: format!(
            "leave the missing units with `mixflow unit run --plan {} --stage {} …`, and commit again",
            args.plan.display(),
            args.stage
        ),
    };
    let mut report = app.run(pipeline, manner);
    match committed_by(&report, committed) {
        Some(committed) => {
            if let Err(error) = stage.note(&committed) {
                let warning = format!("{}; a second commit finds it out", error.in_a_line());
                app.ui.warning(&warning);
                report.warnings.push(warning);
            }
        }
        None if is_blind(pipeline) && !is_in_doubt(&report) => {
            // It is known that nothing was committed.
            if let Err(error) = stage.forget() {
                app.ui.warning(&error.in_a_line());
            }
        }
        None => {}
    }
    report
}

fn is_in_doubt(report: &RunReport) -> bool {
    let in_doubt = report.error.as_ref().is_some_and(Error::is_in_doubt);
    in_doubt || report.status == Status::Stopped
}

fn missing(name: &str, labels: &[String], args: &CommitArgs) -> Error {
    let mut shown = labels[..labels.len().min(SHOWN)].join(", ");
    if labels.len() > SHOWN {
        shown += &format!(" and {} more", labels.len() - SHOWN);
    }
    let units = counted(labels.len() as u64, "unit");
    Error::new(
        ErrorKind::Incomplete,
        format!("cannot commit `{name}`: nobody has left {units} of it"),
    )
    .because(shown)
    .hint(format!(
        "run them with `mixflow unit run --plan {} --stage {} --index N`, or commit what is there with `--allow-missing`",
        args.plan.display(),
        args.stage
    ))
}
