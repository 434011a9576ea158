//! `mixflow check`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow_core::engine::{Pipeline, probe};

use super::changes::overrides;
use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;
use crate::interrupt::{self, Tidying};

/// `mixflow check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Ask Mixpanel, too: at most three small requests a file, for credentials,
    /// region, quota and time zone
    #[arg(long)]
    pub(crate) online: bool,
}

pub(crate) fn check(app: &App, args: &CheckArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    let files = args.files.iter();
    for of in files.flat_map(|file| app.each(file, &overrides)) {
        let Ok(pipeline) = app.load_or_report(&of) else {
            worst = worst.max(Exit::Usage);
            continue;
        };
        for warning in pipeline.warnings() {
            app.ui.warning(&warning);
        }
        let lacking = pipeline
            .sinks
            .iter()
            .map(|named| named.sink.check_machine());
        let mut lacking = lacking.filter_map(Result::err).peekable();
        if lacking.peek().is_some() {
            lacking.for_each(|error| app.ui.error(&error));
            worst = worst.max(Exit::Usage);
            continue;
        }
        if args.online {
            let exit = ask(app, &pipeline);
            worst = worst.max(exit);
            match exit {
                Exit::Done => {}
                // Who interrupts means all of it.
                Exit::Interrupted => break,
                _ => continue,
            }
        }
        app.ui.status(&format!(
            "{}: ok, {} to {}",
            of.shown(),
            pipeline.source_type,
            pipeline.sinks.kinds()
        ));
    }
    worst
}

/// Asks the server of a pipeline's source, and says what it has learned.
pub(super) fn ask(app: &App, pipeline: &Pipeline) -> Exit {
    let _tidying = Tidying::begin();
    match probe(pipeline, &interrupt::token()) {
        Ok(Some(probe)) => {
            for finding in probe.findings {
                let line = format!("{:<11} {}\n", finding.about, finding.text);
                app.ui.out(&line);
            }
            Exit::Done
        }
        Ok(None) => {
            let kind = &pipeline.source_type;
            app.ui
                .out(&format!("{:<11} `{kind}` has no server to ask\n", "online"));
            Exit::Done
        }
        Err(error) => {
            app.ui.error(&error);
            Exit::of(error.kind())
        }
    }
}
