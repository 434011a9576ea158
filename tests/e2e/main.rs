//! The real binary against the simulator.
//!
//! One test binary, because each one links DuckDB.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stderr, reason = "a failed test shows what was said")]
#![allow(unreachable_pub, reason = "nothing outside uses a test")]

mod cli;
mod library;
#[cfg(feature = "lake")]
mod machines;
mod packages;
mod pty;
mod rows;
mod seeds;
mod services;
mod sinks;
mod sources;
mod support;
mod trust;
