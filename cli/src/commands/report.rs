//! `mixflow report`.

use std::collections::BTreeMap;
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
use crate::report_page::{Contents, Held, page, repairs};
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
    /// The last run of every pipeline, on one page
    #[arg(long, conflicts_with_all = ["run", "last"])]
    pub(crate) all: bool,
    /// The report page to write
    #[arg(long, value_name = "FILE", default_value = "report.html", value_parser = local)]
    pub(crate) output: PathBuf,
}

pub(crate) fn report(app: &App, args: &ReportArgs) -> Result<()> {
    let mut runs = app.history(usize::MAX)?;
    runs.reverse();
    let files = files_of(app, &runs);
    let shown: Vec<&RunReport> = match &args.run {
        Some(id) => {
            let found = runs
                .iter()
                .filter(|run| run.run_id.starts_with(id.as_str()));
            found.collect()
        }
        None if args.all => last_of_each(&runs, &files),
        None => runs.iter().rev().take(args.last).collect(),
    };
    if shown.is_empty() {
        let what = match &args.run {
            Some(id) => format!("there is no run `{id}`"),
            None => "there is no run yet".to_owned(),
        };
        return Err(Error::new(ErrorKind::Request, what).hint("`mixflow runs` lists them"));
    }
    let contents = Contents {
        held: held(app, &shown),
        is_of_all: args.all,
        all: &runs,
        repairs: repairs(&runs, &files),
        shown,
    };
    let html = page(&contents);
    let mut file = StagedFile::begin(&args.output, FileMode::Replace)?;
    file.write_all(html.as_bytes())
        .map_err(cannot(format!("write `{}`", args.output.display())))?;
    file.commit()?;
    app.ui.status(&format!(
        "wrote {} to {}",
        counted(contents.shown.len() as u64, "run"),
        args.output.display()
    ));
    Ok(())
}

/// Returns the pipeline files of runs, of those that had one.
fn files_of(app: &App, runs: &[RunReport]) -> BTreeMap<String, PathBuf> {
    let origin = |run: &RunReport| {
        let origin = app.state()?.origin(&run.run_id).ok()??;
        Some((run.run_id.clone(), origin.pipeline_path))
    };
    runs.iter().filter_map(origin).collect()
}

/// Returns the last run of each pipeline file, and of each destination of those
/// without a file; by the names of the pipelines.
fn last_of_each<'r>(
    runs: &'r [RunReport],
    files: &BTreeMap<String, PathBuf>,
) -> Vec<&'r RunReport> {
    let mut last = BTreeMap::new();
    for run in runs {
        let place = match files.get(&run.run_id) {
            Some(file) => file.display().to_string(),
            None => run.destination.to_string(),
        };
        last.insert((run.pipeline.as_str(), place), run);
    }
    last.into_values().collect()
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
                run_id: run.run_id.clone(),
                destination: places(&pipeline.destinations()),
                pipeline: pipeline.name,
                days,
            });
        }
        paths.push(origin.pipeline_path);
    }
    all
}
