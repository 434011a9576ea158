//! Pipeline files: from TOML to a [`Pipeline`](crate::engine::Pipeline).
//!
//! Building makes no I/O, so that `check` and `run` build the same way. All
//! errors of a file are reported at once, each with its place.

mod build;
mod document;
mod env;
mod illegible;
mod mask;
mod path;
mod problem;
mod secret;
mod sensitive;
mod values;

pub use build::{Reader, RunTable, build, misfits};
pub use document::{Document, Override, OverrideValue, explain};
pub use env::Env;
pub use path::local_path;
pub use problem::{Invalid, Place, Problem, Problems};
pub use secret::{Secret, SecretSource};
pub use values::{DateSpec, Days, Seconds, TextOrNumber};

#[cfg(test)]
mod slips;
#[cfg(test)]
mod tests;
