//! `mixflow unit`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Subcommand};
use mixflow::launch::{HistoryEntry, Patience};
use mixflow::plans::{PlanFile, PlannedUnit, for_stage, for_unit, receipt_of};
use mixflow::stage::{Receipt, Stage};
use mixflow_core::engine::Pipeline;
use mixflow_core::report::{RunReport, Status};
use mixflow_core::sink::Sink;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::{App, Manner};
use crate::arrow_sink::ArrowSink;
use crate::exit::Exit;
use crate::report_file::Reports;

/// `mixflow unit`.
#[derive(Debug, Subcommand)]
pub(crate) enum UnitCommand {
    /// Read one unit of a plan and leave it on a stage
    ///
    /// On any machine. Prints the receipt as JSON. A unit that somebody has left already is not
    /// asked for again: its receipt is printed. Of several units one after the other is read, and
    /// one that fails leaves the others alone.
    Run(RunArgs),
    /// Read one unit of a plan and write its rows as an Arrow stream
    ///
    /// To stdout, once the unit is known to be whole; nothing is written of one that is not.
    Read(ReadArgs),
}

/// Which unit.
#[derive(Debug, ClapArgs)]
pub(crate) struct Which {
    /// The plan, as `mixflow plan FILE --output` wrote it
    #[arg(long, value_name = "PLAN.json")]
    pub(crate) plan: PathBuf,
    /// The unit, by its key
    #[arg(long, value_name = "KEY", required_unless_present = "index")]
    pub(crate) key: Option<String>,
    /// The unit, by its position in the plan, from 0
    #[arg(long, value_name = "N", conflicts_with = "key")]
    pub(crate) index: Option<usize>,
}

/// Units by their positions: `3`, or `0-9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Positions {
    first: usize,
    last: usize,
}

impl FromStr for Positions {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Positions, &'static str> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse().map_err(|_| "write a number, or two: `0-9`");
        let (first, last) = (number(first)?, number(last)?);
        match first <= last {
            true => Ok(Positions { first, last }),
            false => Err("the first of them comes first: `0-9`"),
        }
    }
}

/// `mixflow unit run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The plan, as `mixflow plan FILE --output` wrote it
    #[arg(long, value_name = "PLAN.json")]
    pub(crate) plan: PathBuf,
    /// The unit, by its key
    #[arg(long, value_name = "KEY", required_unless_present = "index")]
    pub(crate) key: Option<String>,
    /// The unit, by its position in the plan, from 0; `0-9` is the first ten
    #[arg(long, value_name = "N", conflicts_with = "key")]
    pub(crate) index: Option<Positions>,
    /// Where the unit is left: a folder, s3://, gs:// or az://
    #[arg(long, value_name = "URL")]
    pub(crate) stage: String,
}

/// `mixflow unit read`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) which: Which,
}

pub(crate) fn unit(app: &App, command: &UnitCommand) -> Exit {
    app.exit_of(match command {
        UnitCommand::Run(args) => run(app, args),
        UnitCommand::Read(args) => read(app, args),
    })
}

fn find<'p>(plan: &'p PlanFile, which: &Which) -> Result<PlannedUnit<'p>> {
    match (&which.key, which.index) {
        (Some(key), _) => plan.by_key(key),
        (None, index) => plan.by_index(index.unwrap_or_default()),
    }
}

fn run(app: &App, args: &RunArgs) -> Result<Exit> {
    let plan = PlanFile::read(&args.plan)?;
    let units = match (&args.key, args.index) {
        (Some(key), _) => vec![plan.by_key(key)?],
        (None, at) => {
            let Positions { first, last } = at.unwrap_or(Positions { first: 0, last: 0 });
            // The last one first: a plan that lacks it is the wrong one.
            plan.by_index(last)?;
            let all = (first..=last).map(|index| plan.by_index(index));
            all.collect::<Result<Vec<_>>>()?
        }
    };
    let mut worst = Exit::Done;
    let mut reports = Reports::of_files(units.len());
    for found in units {
        let exit = match leave_unit(app, args, &plan, found, &mut reports) {
            Ok(exit) => exit,
            Err(error) => app.fail(&error),
        };
        worst = worst.max(exit);
        // Who interrupts means all of them, and what is wrong with the plan is so for each.
        if matches!(exit, Exit::Interrupted | Exit::Usage) {
            break;
        }
    }
    // Nothing was run of a unit that somebody had left.
    if !reports.list.is_empty() {
        app.write_report(&reports);
    }
    Ok(worst)
}

/// Reads a unit and leaves it, unless somebody has.
fn leave_unit(
    app: &App,
    args: &RunArgs,
    plan: &PlanFile,
    found: PlannedUnit<'_>,
    reports: &mut Reports,
) -> Result<Exit> {
    let (n, unit) = (found.pipeline, found.unit);
    let stage = app.stage(&args.stage, &plan.stage_name(n))?;
    if let Some(receipt) = stage.receipt(&unit.key)? {
        app.ui.status(&format!("{} was read before", unit.label));
        print(app, &receipt)?;
        return Ok(Exit::Done);
    }
    stage.prepare()?;
    let Some(pipeline) = app.load_planned(&args.plan, &plan.pipelines()[n], Some(&stage)) else {
        return Ok(Exit::Usage);
    };
    let (pipeline, sink) = for_stage(pipeline, unit, &stage)?;
    let report = one(app, &pipeline, unit.clone(), args);
    let mut exit = Exit::after(&report);
    if report.status == Status::Committed
        && let Some(left) = sink.left()
    {
        exit = leave(app, &stage, receipt_of(&plan.plan_id, left, &report))?;
    }
    reports.list.push(report);
    Ok(exit)
}

fn one(
    app: &App,
    pipeline: &Pipeline,
    unit: mixflow_core::unit::Unit,
    args: &RunArgs,
) -> RunReport {
    let manner = Manner {
        patience: Patience::default(),
        units: Some(vec![unit]),
        most_requests: None,
        entry: HistoryEntry::default(),
        remedy: format!(
            "run it again: `mixflow unit run --plan {} …`",
            args.plan.display()
        ),
    };
    app.run(pipeline, manner)
}

/// Leaves a receipt, and prints the one that counts.
fn leave(app: &App, stage: &Stage, receipt: Receipt) -> Result<Exit> {
    let (counts, is_ours) = stage.leave(receipt)?;
    if !is_ours {
        app.ui
            .note("another machine has left the same unit meanwhile, so its rows count");
    }
    print(app, &counts)?;
    Ok(Exit::Done)
}

fn print(app: &App, receipt: &Receipt) -> Result<()> {
    let text = serde_json::to_string_pretty(receipt).map_err(|error| {
        Error::new(ErrorKind::Other, "cannot write the receipt").with_source(error)
    })?;
    app.ui.out(&(text + "\n"));
    Ok(())
}

fn read(app: &App, args: &ReadArgs) -> Result<Exit> {
    let plan = PlanFile::read(&args.which.plan)?;
    let found = find(&plan, &args.which)?;
    let planned = &plan.pipelines()[found.pipeline];
    let Some(pipeline) = app.load_planned(&args.which.plan, planned, None) else {
        return Ok(Exit::Usage);
    };
    let sink = ArrowSink::new(pipeline.sinks.records(), app.scratch());
    let sink: Box<dyn Sink> = Box::new(sink);
    let unit = found.unit;
    let pipeline = for_unit(pipeline, unit, "arrow", sink)?;
    let manner = Manner {
        patience: Patience::default(),
        units: Some(vec![unit.clone()]),
        most_requests: None,
        entry: HistoryEntry::default(),
        remedy: "run it again".to_owned(),
    };
    let report = app.run(&pipeline, manner);
    let exit = Exit::after(&report);
    app.write_report(&Reports::one(report));
    Ok(exit)
}
