//! `mixflow report`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow::{Days, DaysAsked};
use mixflow_core::report::RunReport;
use mixflow_core::staged::{FileMode, StagedFile, cannot};
use mixflow_core::{Error, ErrorKind, Result};

use super::status::places;
use crate::app::App;
use crate::args::local;
use crate::report_page::{Held, page};
use crate::ui::counted;

/// `mixflow report`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// The run, by its id or the beginning of it [default: the last one]
    #[arg(conflicts_with = "last")]
    pub(crate) run: Option<String>,
    /// The last N runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) last: usize,
    /// The report page to write
    #[arg(long, value_name = "FILE", default_value = "report.html", value_parser = local)]
    pub(crate) output: PathBuf,
}

pub(crate) fn report(app: &App, args: &ReportArgs) -> Result<()> {
    let mut runs = app.history(usize::MAX)?;
    runs.reverse();
    let shown: Vec<&RunReport> = match &args.run {
        Some(id) => {
            let found = runs
                .iter()
                .filter(|run| run.run_id.starts_with(id.as_str()));
            found.collect()
        }
        None => runs.iter().rev().take(args.last).collect(),
    };
    if shown.is_empty() {
        let what = match &args.run {
            Some(id) => format!("there is no run `{id}`"),
            None => "there is no run yet".to_owned(),
        };
        return Err(Error::new(ErrorKind::Request, what).hint("`mixflow runs` lists them"));
    }
    let html = page(&shown, &held(app, &shown), &runs);
    let mut file = StagedFile::begin(&args.output, FileMode::Replace)?;
    file.write_all(html.as_bytes())
        .map_err(cannot(format!("write `{}`", args.output.display())))?;
    file.commit()?;
    app.ui.status(&format!(
        "wrote {} to {}",
        counted(shown.len() as u64, "run"),
        args.output.display()
    ));
    Ok(())
}

/// Returns what the destinations of runs hold, each once, the first one first.
///
/// Only of runs whose pipeline's file still leads to the same destination and
/// can be built without the variables of that time, and whose ledger can be
/// read now: the page is about the runs.
fn held(app: &App, runs: &[&RunReport]) -> Vec<Held> {
    let mut paths = Vec::new();
    let mut all = Vec::new();
    for run in runs {
        let origin = app.state().and_then(|state| state.origin(&run.run_id).ok());
        let Some(origin) = origin.flatten() else {
            continue;
        };
        if paths.contains(&origin.pipeline_path) {
            continue;
        }
        let pipeline = app.load_quietly(&origin.pipeline_path);
        let Some(pipeline) = pipeline.filter(|one| origin.is_to(&one.destinations())) else {
            continue;
        };
        if let Ok(days) = Days::of(&pipeline, app.state_folder(), DaysAsked::default()) {
            all.push(Held {
                destination: places(&pipeline.destinations()),
                pipeline: pipeline.name,
                days,
            });
        }
        paths.push(origin.pipeline_path);
    }
    all
}
