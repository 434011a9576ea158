//! A run as it begins and ends, whoever asks for it: its id, the locks of its
//! destinations, its rejects, and its line in the history.

use std::any::Any;
use std::cell::RefCell;
use std::path::PathBuf;

use mixflow_core::Result;
use mixflow_core::cancel::CancelToken;
use mixflow_core::context::Notice;
use mixflow_core::destination::Destination;
use mixflow_core::engine::{Pipeline, RunSetup, run};
use mixflow_core::ledger::LedgerStore;
use mixflow_core::observer::{Observer, RunEvent};
use mixflow_core::report::RunReport;
use mixflow_core::unit::Unit;
use mixflow_state::{Begin, State};

pub use crate::lock::Patience;

use crate::lock::{Holder, lock_all};
use crate::rejects::RejectFile;

/// What a run is started with.
#[derive(Debug, Default)]
pub struct Launch {
    /// The run's id, as [`run_id`] makes them; `None` makes one.
    pub run_id: Option<String>,
    /// The folder with what outlives the run: locks, rejects, the history.
    pub state: Option<PathBuf>,
    /// How long others that have the destination are waited for.
    pub patience: Patience,
    /// The units to read; `None` is what the source plans.
    pub units: Option<Vec<Unit>>,
    /// Requests that may be made, tries included; `None` is any number.
    pub most_requests: Option<u64>,
    /// Whether the run is written to the history, and as whose.
    pub history: Option<HistoryEntry>,
}

/// What the history says of a run beside its report.
#[derive(Debug, Default)]
pub struct HistoryEntry {
    /// The file of the pipeline, if it has one.
    pub pipeline_path: Option<PathBuf>,
    /// The run that this one completes.
    pub only_failed_of: Option<String>,
    /// Where all sinks of the pipeline write to, if only some of them are run.
    pub destinations: Option<Vec<Destination>>,
}

impl Launch {
    /// Runs `pipeline` to its end. Never fails: every end is a report.
    ///
    /// Blocks until then, or until `cancel` is cancelled. Another run that
    /// writes to the same destination makes it wait, which `observer` hears,
    /// and then fail. A history that cannot be written stops no run.
    pub fn run(
        mut self,
        pipeline: &Pipeline,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> RunReport {
        let run_id = self.run_id.take().unwrap_or_else(run_id);
        let state = self.state.as_deref().map(State::at);
        let entry = self.history.take();
        let history = state.as_deref().filter(|_| entry.is_some());
        let entry = entry.unwrap_or_default();
        let destinations = entry.destinations;
        let destinations = destinations.unwrap_or_else(|| pipeline.destinations());
        let begin = Begin {
            run_id: &run_id,
            pipeline_path: entry.pipeline_path.as_deref(),
            destinations: &destinations,
        };
        if let Some(history) = history {
            let _ = history.begin_run(&begin);
            tell(history, observer);
        }
        let mut report = self.run_as(&run_id, pipeline, state.as_deref(), observer, cancel);
        report.only_failed_of.clone_from(&entry.only_failed_of);
        if let Some(history) = history
            && let Err(error) = history.end_run(&begin, &report)
        {
            log::info!("the end of the run is not in the history: {error}");
        }
        // Also what the source has found of it.
        if let Some(state) = &state {
            tell(state, observer);
        }
        report
    }

    /// Runs `pipeline` with its locks and its reject file.
    fn run_as(
        self,
        run_id: &str,
        pipeline: &Pipeline,
        store: Option<&State>,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> RunReport {
        let state = self.state.as_deref();
        let holder = Holder {
            pipeline: pipeline.name.clone(),
            run_id: run_id.to_owned(),
            pid: std::process::id(),
        };
        let temporary = std::env::temp_dir();
        let rejects = state.unwrap_or(&temporary).join("rejects");
        // The lock tells of its wait before the run does of anything.
        let observer = RefCell::new(observer);
        let mut hear = |event: &RunEvent<'_>| observer.borrow_mut().on_event(event);
        let hold = |cancel: &CancelToken| -> Result<Box<dyn Any>> {
            let mut hear = |event: &RunEvent<'_>| observer.borrow_mut().on_event(event);
            let destinations = pipeline.destinations();
            let runs = self.patience.runs;
            let held = lock_all(state, &destinations, &holder, runs, &mut hear, cancel)?;
            if let Some(store) = store {
                find_out(store, pipeline, &mut hear);
            }
            Ok(Box::new(held))
        };
        run(
            pipeline,
            RunSetup {
                run_id: run_id.to_owned(),
                cancel: cancel.clone(),
                observer: &mut hear,
                rejects: Box::new(RejectFile::new(&rejects, run_id)),
                hold: Some(Box::new(hold)),
                patience: self.patience.programs,
                patience_at_start: self.patience.runs,
                queue: None,
                units: self.units,
                most_requests: self.most_requests,
                scratch: state
                    .filter(|state| state.is_dir())
                    .unwrap_or(&temporary)
                    .to_owned(),
                ledgers: store.map(|store| store as &dyn LedgerStore),
            },
        )
    }
}

/// Finds out what became of earlier commits to the destinations of which nobody
/// knows whether they were made, and tells it.
fn find_out(state: &State, pipeline: &Pipeline, observer: &mut dyn Observer) {
    let kind = pipeline.source.info().dataset.kind;
    for named in pipeline.sinks.iter() {
        let destination = named.sink.destination(&kind);
        for doubt in state.doubts(&destination).unwrap_or_default() {
            let run = format!("the run {} into {destination}", doubt.run_id);
            let is_committed = match named.sink.has_committed(&doubt.run_id, &kind) {
                Ok(Some(is_committed)) => is_committed,
                Ok(None) => continue,
                Err(error) => {
                    let why = error.in_a_line();
                    log::info!("whether {run} was committed is not known yet: {why}");
                    continue;
                }
            };
            let what = match is_committed {
                true => "was committed: its rows are there",
                false => "was not committed: none of its rows are there",
            };
            let text = format!("{run}, of which that was in doubt, {what}");
            observer.on_event(&RunEvent::Notice(&Notice::Warning(text)));
            if let Err(error) = state.settle(&destination, &doubt, is_committed) {
                log::info!("what became of {run} is not in the history: {error}");
            }
        }
    }
}

/// Tells what is wrong with the state.
fn tell(state: &State, observer: &mut dyn Observer) {
    for warning in state.take_warnings() {
        observer.on_event(&RunEvent::Notice(&Notice::Warning(warning)));
    }
}

/// Returns an id that sorts by time and that no other run has.
pub fn run_id() -> String {
    let now = mixflow_core::clock::now().strftime("%Y%m%dT%H%M%SZ");
    format!("{now}-{:08x}", fastrand::u32(..))
}
