//! The command line of mixflow.
//!
//! [`main`] is all of it. A binary with further components adds them to the
//! [`registry`](mixflow::registry) and calls it; `examples/tally.rs` is a whole
//! one:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     let mut registry = mixflow::registry();
//!     // my_sink::register(&mut registry);
//!     mixflow_cli::main(registry)
//! }
//! ```

#![forbid(unsafe_code)]

mod app;
mod args;
#[cfg(feature = "lake")]
mod arrow_sink;
mod calendar;
mod commands;
mod defaults;
mod ending;
mod exit;
mod interrupt;
mod lines;
mod now;
mod only_failed;
mod output;
mod plot;
mod progress;
mod provenance;
mod remedies;
mod report_file;
mod report_page;
mod screen;
mod ui;
mod unrun;

use std::process::ExitCode;

use mixflow_core::registry::Registry;

/// Runs the command line of this process with the components of `registry`.
///
/// Prints, reads the environment and takes over Ctrl-C: it is for `main`.
pub fn main(registry: Registry) -> ExitCode {
    // For tests: a year of daily runs takes minutes.
    let now = std::env::var("MIXFLOW_NOW").ok();
    if let Some(now) = now.and_then(|now| now.parse().ok()) {
        mixflow_core::clock::set(now);
    }
    let args = match commands::parse() {
        Ok(args) => args,
        Err(error) => return ui::misread(&error),
    };
    let app = app::App::new(registry, &args.global);
    let code = commands::dispatch(&app, &args.command);
    app.warn_of_state();
    ExitCode::from(code.number())
}
