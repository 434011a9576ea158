//! `mixflow replay`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use mixflow::launch::{HistoryEntry, Patience};
use mixflow_core::config::Alarms;
use mixflow_core::engine::{OnFailure, Pipeline};
use mixflow_core::report::RunReport;

use super::changes::overrides;
use crate::app::{App, Manner};
use crate::args::Changes;
use crate::exit::Exit;
use crate::only_failed::canonical;
use crate::report_file::Reports;

/// `mixflow replay`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReplayArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

pub(crate) fn replay(app: &App, args: &ReplayArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    if let Err(exit) = app.check_report_beside(std::slice::from_ref(&args.file)) {
        return exit;
    }
    let all = app.each(&args.file, &overrides);
    let mut reports = Reports::of_files(all.len());
    let worst = app.in_turn("replaying", &all, |of| {
        let report = match app.load_to_replay(of) {
            Ok(pipeline) => {
                app.check_report(&pipeline)?;
                run(app, &of.file, pipeline)
            }
            Err(unbuilt) => {
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

fn run(app: &App, file: &Path, mut pipeline: Pipeline) -> RunReport {
    // What is there is of use, whatever is missing.
    pipeline.options.on_failure = OnFailure::Keep;
    // Nothing of it says whether the fetching goes well.
    pipeline.alarms = Alarms::default();
    let manner = Manner {
        patience: Patience::default(),
        units: None,
        most_requests: None,
        entry: HistoryEntry {
            pipeline_path: canonical(file),
            ..HistoryEntry::default()
        },
        remedy: format!(
            "fetch what the archive lacks with `mixflow run {} --only-failed`",
            file.display()
        ),
    };
    app.run(&pipeline, manner)
}
