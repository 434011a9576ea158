//! One file a command.

mod check;
mod components;
mod fetch;
mod plan;
mod query;
mod run;

use mixflow_core::config::{Override, OverrideValue};

use crate::app::App;
use crate::args::{Changes, Command};
use crate::exit::Exit;

pub(crate) fn dispatch(app: &App, command: &Command) -> Exit {
    match command {
        Command::Run(args) => run::run(app, args),
        Command::Check(args) => check::check(app, args),
        Command::Plan(args) => plan::plan(app, args),
        Command::Fetch(args) => fetch::fetch(app, args),
        Command::Query(args) => query::query(app, args),
        Command::Components => components::components(app),
    }
}

/// Turns `--set`, `--from` and `--to` into overrides, or says what is wrong.
fn overrides(app: &App, changes: &Changes) -> Result<Vec<Override>, Exit> {
    let mut overrides = Vec::new();
    for set in &changes.set {
        let Some((key, value)) = set.split_once('=') else {
            app.ui.complaint(&format!(
                "`--set {set}` has no `=`: write it as `--set sink.mode=replace`"
            ));
            return Err(Exit::Usage);
        };
        overrides.push(Override::set(
            key.trim(),
            OverrideValue::Guess(value.trim().to_owned()),
            format!("--set {set}"),
        ));
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
    Ok(overrides)
}
