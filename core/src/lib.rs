//! The engine of mixflow.
//!
//! A [`source::Source`] splits its work into partitions, worker threads read
//! them and apply [`transform::Transform`]s, and one thread gives the batches
//! to a [`sink::Sink`], which commits once, all at once. [`engine::run`] joins
//! them; [`config::build`] makes a pipeline out of a TOML file, with the
//! components of a [`registry::Registry`].
//!
//! This crate knows neither Mixpanel nor DuckDB nor a terminal: it does not
//! print, and it does not read the environment.

#![forbid(unsafe_code)]

mod archive_place;
pub mod batch;
pub mod cancel;
pub mod carried;
pub mod clock;
pub mod config;
pub mod context;
pub mod destination;
mod dropped;
pub mod engine;
pub mod error;
pub mod fit;
mod guard;
pub mod json;
pub mod json_rows;
pub mod ledger;
pub mod made_of;
pub mod observer;
#[cfg(unix)]
pub mod patient;
pub mod private;
pub mod registry;
pub mod reject;
pub mod remedy;
pub mod report;
pub mod roles;
mod shrink;
pub mod sink;
pub mod slots;
pub mod source;
pub mod staged;
pub mod stand_in;
pub mod suggest;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod transform;
pub mod unit;
pub mod whole_file;

pub use arrow;
pub use error::{Error, ErrorKind, Result};
/// For [`written_as`], and for options that derive `JsonSchema`.
pub use schemars;
