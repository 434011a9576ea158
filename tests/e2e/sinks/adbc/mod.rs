//! Pipelines into databases that have an ADBC driver.

mod daily;
mod lost;
mod mishaps;
mod server;

pub use server::manifests;
