//! The real binary against the simulator.
//!
//! One test binary, because each one links DuckDB.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "a failed test shows what was said")]
#![allow(unreachable_pub, reason = "nothing outside uses a test")]

mod bodies;
mod commands;
mod config;
mod conformance;
mod custom;
mod destinations;
mod duckdb;
mod exec;
mod failures;
mod fits;
mod full_disk;
mod full_files;
mod full_state;
mod hostile;
mod interrupts;
mod kills;
mod limits;
mod locks;
mod matrix;
mod messages;
mod normalising;
mod official;
mod page;
mod pages;
mod paths;
mod pipelines;
mod plugin;
mod python;
mod query;
mod quota;
mod reading;
mod recovery;
mod rejects;
mod reports;
mod retries;
mod rows;
mod sample;
mod seeds;
mod shrink;
mod signals;
mod state;
mod stores;
mod support;
mod terminal;
mod transforms;
mod waiting;
