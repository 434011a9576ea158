//! `mixflow init`: a pipeline file to begin with.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow_core::sink::already_exists;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::App;

/// `mixflow init`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The file to write, which must not be there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Also what tests check, so that it stays right.
const STARTER: &str = include_str!("starter.toml");

pub(crate) fn init(app: &App, args: &InitArgs) -> Result<()> {
    let shown = args.file.display();
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.file);
    let written =
        created.and_then(|mut file| std::io::Write::write_all(&mut file, STARTER.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            already_exists(&format!("`{shown}`")).hint("choose another name, or remove it first")
        }
        _ => Error::new(ErrorKind::Io, format!("cannot write `{shown}`")).with_source(error),
    })?;
    app.ui.status(&format!("wrote {shown}; now:"));
    app.ui
        .status("  1. put your project id and service account into it");
    app.ui.status("  2. export MIXPANEL_SECRET=…");
    app.ui.status(&format!("  3. mixflow check {shown}"));
    app.ui.status(&format!("  4. mixflow run {shown}"));
    Ok(())
}
