//! What the command line changes of a pipeline file.

use mixflow_core::config::{Override, OverrideValue};

use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;

/// Turns `--set`, `--from` and `--to` into overrides, or says what is wrong.
pub(crate) fn overrides(app: &App, changes: &Changes) -> Result<Vec<Override>, Exit> {
    let mut overrides = Vec::new();
    for set in &changes.set {
        match Override::from_argument("--set", set) {
            Ok(change) => overrides.push(change),
            Err(problem) => {
                app.ui.complaint(&problem);
                return Err(Exit::Usage);
            }
        }
    }
    for (flag, value) in [("from", &changes.from), ("to", &changes.to)] {
        if let Some(value) = value {
            overrides.push(Override::set(
                format!("source.{flag}"),
                OverrideValue::Text(value.clone()),
                format!("--{flag} {value}"),
            ));
        }
    }
    if changes.from.is_some() || changes.to.is_some() {
        // Just these days.
        overrides.push(Override::set(
            "source.lookback",
            OverrideValue::Nothing,
            "--from, --to".to_owned(),
        ));
    }
    Ok(overrides)
}
