//! `mixflow completions` and `mixflow man`: what clap knows, in other forms.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::App;
use crate::exit::Exit;

/// `mixflow completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `mixflow man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder to write a page for each command into
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

pub(crate) fn completions(app: &App, args: &CompletionsArgs, mut root: Command) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut root, "mixflow", &mut text);
    app.ui.out_bytes(&text);
    Exit::Done
}

pub(crate) fn man(app: &App, args: &ManArgs, root: Command) -> Result<()> {
    let written = pages(&args.folder, root).map_err(|error| {
        let message = format!("cannot write manual pages to `{}`", args.folder.display());
        Error::new(ErrorKind::Io, message).with_source(error)
    })?;
    let folder = args.folder.display();
    app.ui.status(&format!(
        "wrote {written} manual pages; read one with `man {folder}/mixflow.1`"
    ));
    Ok(())
}

/// Writes a page for each command, and returns how many there are.
fn pages(folder: &Path, root: Command) -> std::io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    // `help` would have a page for each command once more.
    let command = root.disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder)?;
    let entries = std::fs::read_dir(folder)?;
    let page = |name: &str| name.starts_with("mixflow") && name.ends_with(".1");
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(page))
        .count())
}
