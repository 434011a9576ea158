//! mixflow: gets Mixpanel data out, whole and on time.
//!
//! [`Workspace`] fetches into a [`Store`], streams, and asks. [`main`] is the
//! whole command line. A binary with further components adds them to the
//! [`registry`] and calls it; `examples/tally.rs` is a whole one:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     let mut registry = mixflow::registry();
//!     // my_sink::register(&mut registry);
//!     mixflow::main(registry)
//! }
//! ```

#![forbid(unsafe_code)]

mod app;
mod args;
mod commands;
mod defaults;
mod exit;
mod interrupt;
mod launch;
mod lock;
mod only_failed;
mod output;
mod page;
mod plot;
mod progress;
mod rejects;
mod report_file;
mod screen;
mod ui;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;
use mixflow_core::registry::Registry;

pub use mixflow_core as core;
pub use mixflow_core::{Error, ErrorKind, Result};
pub use mixflow_sink_duckdb::{
    self as duckdb, Batches, ColumnInfo, Missing, Query, Store, TableInfo, TableInput,
    TableMetadata,
};
pub use workspace::{
    Event, Events, FetchResult, Profile, Profiles, RawRecord, Stream, Workspace, WorkspaceBuilder,
};

/// Returns a registry of all the components that come with mixflow.
pub fn registry() -> Registry {
    let mut registry = Registry::empty();
    mixflow_transforms::register(&mut registry);
    mixflow_source_mixpanel::register(&mut registry);
    mixflow_source_synthetic::register(&mut registry);
    mixflow_sink_duckdb::register(&mut registry);
    mixflow_sink_dynamic::register(&mut registry);
    #[cfg(unix)]
    mixflow_sink_exec::register(&mut registry);
    mixflow_sink_jsonl::register(&mut registry);
    mixflow_sink_parquet::register(&mut registry);
    registry
}

/// Runs the command line of this process with the components of `registry`.
///
/// Prints, reads the environment and takes over Ctrl-C: it is for `main`.
pub fn main(registry: Registry) -> ExitCode {
    let args = args::Args::parse();
    let app = app::App::new(registry, &args.global);
    let code = commands::dispatch(&app, &args.command);
    app.warn_of_state();
    ExitCode::from(code.number())
}
