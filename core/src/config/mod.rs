//! Pipeline files: from TOML to a [`Pipeline`](crate::engine::Pipeline).
//!
//! Building makes no I/O, so that `check` and `run` build the same way. All
//! errors of a file are reported at once, each with its place.

mod alarms;
mod archive;
mod blank;
mod build;
mod component;
mod document;
mod env;
mod explain;
mod illegible;
mod keys;
mod known;
mod literals;
mod mask;
mod overrides;
mod path;
mod portable;
mod problem;
mod projects;
mod reader;
mod run;
mod schema;
mod secret;
mod sensitive;
mod sinks;
mod values;
mod variables;
mod written;

pub use alarms::{Alarms, NOTIFY_DOC, Notify, Occasion};
pub use archive::ARCHIVE_DOC;
pub use build::{build, misfits};
pub use document::{Document, Origin, Parsed};
pub use env::Env;
pub use explain::explain;
pub use known::Known;
pub use overrides::{Override, OverrideValue};
pub use path::local_path;
pub use problem::{Invalid, Place, Problem, Problems};
pub use projects::PROJECT_DOC;
pub use reader::Reader;
pub use run::{RUN_DOC, RunTable};
pub use schema::schema;
pub(crate) use schema::schema_of;
pub use secret::{Secret, SecretSource};
pub use values::{DateSpec, Days, Seconds, TextOrNumber};

#[cfg(test)]
mod slips;
#[cfg(test)]
mod tests;
