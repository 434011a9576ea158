//! `mixflow check`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::changes::overrides;
use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;

/// `mixflow check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

pub(crate) fn check(app: &App, args: &CheckArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    for file in &args.files {
        let Some(pipeline) = app.load(file, &overrides) else {
            worst = Exit::Usage;
            continue;
        };
        for warning in pipeline.warnings() {
            app.ui.warning(&warning);
        }
        app.ui.status(&format!(
            "{}: ok, {} to {}",
            file.display(),
            pipeline.source_type,
            pipeline.sinks.first().kind
        ));
    }
    worst
}
