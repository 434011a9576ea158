//! `mixflow vacuum`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow_core::Result;
use mixflow_core::engine::Pipeline;
use mixflow_core::sink::Removed;

use super::changes::overrides;
use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;
use crate::ui::{bytes, counted};

/// `mixflow vacuum`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VacuumArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Override a key of the file
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

pub(crate) fn vacuum(app: &App, args: &VacuumArgs) -> Exit {
    let changes = Changes {
        set: args.set.clone(),
        ..Changes::default()
    };
    let overrides = match overrides(app, &changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    for of in app.each(&args.file, &overrides) {
        worst = worst.max(match app.load_or_report(&of) {
            Ok(pipeline) => app.exit_of(removed(app, &pipeline)),
            Err(_) => Exit::Usage,
        });
    }
    worst
}

fn removed(app: &App, pipeline: &Pipeline) -> Result<()> {
    let kind = pipeline.source.info().dataset.kind;
    for named in pipeline.sinks.iter() {
        let destination = named.sink.destination(&kind);
        let Removed { files, bytes: size } = named.sink.vacuum()?;
        app.ui.status(&match files {
            0 => format!("runs that died have left nothing at {destination}"),
            _ => format!(
                "removed {} ({}) that runs which died have left at {destination}",
                counted(files, "file"),
                bytes(size)
            ),
        });
    }
    Ok(())
}
