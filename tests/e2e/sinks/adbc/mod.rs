//! Pipelines into databases that have an ADBC driver.

mod asking;
mod clouds;
mod daily;
mod faults;
mod lost;
mod mishaps;
mod server;

pub use server::manifests;
