//! Destinations, our own and other people's.

pub mod clients;
mod conformance;
pub mod custom;
pub mod destinations;
mod duckdb;
mod exec;
mod macros;
pub mod plugin;
mod several;
mod sql;
