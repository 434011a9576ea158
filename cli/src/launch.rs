//! How a run begins, whoever asks for it: its id, its lock and its rejects.

use std::any::Any;
use std::path::Path;

use jiff::Timestamp;
use mixflow_core::Result;
use mixflow_core::cancel::CancelToken;
use mixflow_core::engine::{Pipeline, RunSetup, run};
use mixflow_core::observer::Observer;
use mixflow_core::report::RunReport;
use mixflow_core::unit::Unit;

use crate::lock::{Holder, Patience, lock};
use crate::rejects::RejectFile;
use crate::ui::Ui;

/// Which run it is, and where what outlives it goes.
pub(crate) struct Place<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) state: Option<&'a Path>,
}

/// Runs `pipeline` to its end.
///
/// Reads `units`, or what the source plans. The state folder has the locks
/// and the rejects. Another run that writes to the same
/// destination makes it wait up to `patience`, which `ui` tells, and then fail.
pub(crate) fn launch(
    pipeline: &Pipeline,
    place: &Place<'_>,
    patience: Patience,
    units: Option<Vec<Unit>>,
    ui: Ui,
    cancel: &CancelToken,
    observer: &mut dyn Observer,
) -> RunReport {
    let (run_id, state) = (place.run_id.to_owned(), place.state);
    let holder = Holder {
        pipeline: pipeline.name.clone(),
        run_id: run_id.clone(),
        pid: std::process::id(),
    };
    let temporary = std::env::temp_dir();
    let rejects = state.unwrap_or(&temporary).join("rejects");
    let hold = |cancel: &CancelToken| -> Result<Box<dyn Any>> {
        Ok(Box::new(lock(
            state,
            &pipeline.destination(),
            &holder,
            patience.runs,
            ui,
            cancel,
        )?))
    };
    run(
        pipeline,
        RunSetup {
            rejects: Box::new(RejectFile::new(&rejects, &run_id)),
            run_id,
            cancel: cancel.clone(),
            observer,
            hold: Some(Box::new(hold)),
            patience: patience.programs,
            patience_at_start: patience.runs,
            queue: None,
            units,
        },
    )
}

/// Returns an id that sorts by time and that no other run has.
pub(crate) fn run_id() -> String {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    format!("{now}-{:08x}", fastrand::u32(..))
}
