//! A simulated Mixpanel.
//!
//! ```
//! use mixflow_tests::sim::{Data, Fault, Simulator};
//!
//! let sim = Simulator::builder()
//!     .data(Data::generated(1_000, 100, 42))
//!     .credentials("sim", "sim-secret")
//!     .project_id("12345")
//!     .fault(Fault::parse("export nth=2 status=503 retry_after=0")?)
//!     .start()?;
//! assert!(sim.base_url().starts_with("http://127.0.0.1:"));
//! assert!(sim.requests().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A request passes credentials, project and limits in this order, then meets
//! its faults, and only then are its parameters read. [`model`] says what the
//! rows should look like once mixflow has normalised them.

mod amplify;
mod answer;
mod auth;
mod builder;
#[cfg(test)]
mod client_tests;
mod data;
mod days;
mod engage;
mod engage_query;
mod export;
mod export_query;
mod fault;
mod fault_text;
mod filter;
mod filter_value;
mod generate;
mod http;
mod injector;
mod json;
mod limits;
mod log;
pub mod model;
mod params;
mod random;
mod server;
mod stop;
#[cfg(test)]
mod wire_tests;

pub use builder::Builder;
pub use data::{Data, DataError};
pub use engage::TotalOn;
pub use engage_query::EngageQuery;
pub use export_query::ExportQuery;
pub use fault::{Action, CleanCut, Cut, Fault, Layer, Matcher, Unframed};
pub use fault_text::FaultError;
pub use http::Framing;
pub use limits::{Dialect, Limits};
pub use log::{Endpoint, LoggedRequest};
pub use server::Simulator;
