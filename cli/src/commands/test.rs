//! `mixflow test`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use mixflow::Trial;
use mixflow_core::{Error, ErrorKind};

use super::changes::overrides;
use crate::app::App;
use crate::args::Changes;
use crate::exit::Exit;

/// `mixflow test`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TestArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

pub(crate) fn test(app: &App, args: &TestArgs) -> Exit {
    let overrides = match overrides(app, &args.changes) {
        Ok(overrides) => overrides,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Done;
    for file in &args.files {
        let Some(mut pipeline) = app.load(file, &overrides) else {
            worst = worst.max(Exit::Usage);
            continue;
        };
        let trials = match read(&beside(file)) {
            Ok(trials) => trials,
            Err(error) => {
                app.ui.error(&error);
                worst = worst.max(Exit::of(error.kind()));
                continue;
            }
        };
        for trial in trials {
            let name = &trial.name;
            match trial.check(&mut pipeline) {
                Ok(wrong) if wrong.is_empty() => app.ui.out(&format!("ok      {name}\n")),
                Ok(wrong) => {
                    let text: String = wrong
                        .iter()
                        .map(|line| format!("        {line}\n"))
                        .collect();
                    app.ui.out(&format!("failed  {name}\n{text}"));
                    worst = worst.max(Exit::Failed);
                }
                Err(error) => {
                    app.ui.out(&format!("failed  {name}\n"));
                    app.ui.error(&error);
                    worst = worst.max(Exit::of(error.kind()));
                }
            }
        }
    }
    worst
}

/// Returns where the tests of a pipeline are: `daily.test.toml` for `daily.toml`.
fn beside(file: &Path) -> PathBuf {
    file.with_extension("test.toml")
}

fn read(path: &Path) -> Result<Vec<Trial>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the tests in `{}`", path.display());
        Error::new(ErrorKind::Config, message)
            .with_source(error)
            .hint("write them there: `[[test]]` with `name`, `input` and `rows`")
    })?;
    Trial::read(path, &text)
}
