//! Destinations, our own and other people's.

pub mod adbc;
mod buckets;
pub mod clients;
mod conformance;
pub mod custom;
mod delta;
pub mod destinations;
mod duckdb;
mod exec;
mod macros;
pub mod plugin;
mod several;
mod sql;
mod vectors;
