//! One file a command.

mod check;
mod components;
mod docs;
mod fetch;
mod init;
mod new_sink;
mod plan;
mod query;
mod report;
mod run;
mod runs;
mod tables;

use mixflow_core::Result;
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
        Command::Query(args) => shown(app, query::query(app, args)),
        Command::Tables(args) => shown(app, tables::tables(app, args)),
        Command::Schema(args) => shown(app, tables::schema(app, args)),
        Command::Metadata(args) => shown(app, tables::metadata(app, args)),
        Command::Sample(args) => shown(app, tables::sample(app, args)),
        Command::Summarize(args) => shown(app, tables::summarize(app, args)),
        Command::Drop(args) => shown(app, tables::drop(app, args)),
        Command::Runs(args) => shown(app, runs::runs(app, args)),
        Command::Report(args) => shown(app, report::report(app, args)),
        Command::Init(args) => shown(app, init::init(app, args)),
        Command::NewSink(args) => shown(app, new_sink::new_sink(app, args)),
        Command::Completions(args) => docs::completions(args),
        Command::Man(args) => shown(app, docs::man(app, args)),
        Command::Components => components::components(app),
    }
}

/// Says what went wrong, if something did.
fn shown(app: &App, result: Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            app.ui.error(&error);
            Exit::of(error.kind())
        }
    }
}

/// Turns `--set`, `--from` and `--to` into overrides, or says what is wrong.
fn overrides(app: &App, changes: &Changes) -> Result<Vec<Override>, Exit> {
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
    Ok(overrides)
}
