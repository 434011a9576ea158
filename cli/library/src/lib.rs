//! mixflow: gets Mixpanel data out, whole and on time.
//!
//! A [`Workspace`] is a project of Mixpanel's and a DuckDB file for what comes
//! from it. This is all that a first program needs:
//!
//! ```
//! use mixflow::{Events, Workspace};
//! # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
//!
//! let workspace = Workspace::builder()
//!     .project_id("12345")
//!     .service_account("ann", "s3cret")
//!     # .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests"))
//!     .ephemeral() // or `.path("mixpanel.db")`
//!     .build()?;
//! let fetched = workspace.fetch_events(&Events::between("2024-01-01", "2024-01-02"))?;
//! let rows: u64 = workspace.store()?.scalar("SELECT count(*) FROM events")?;
//! assert_eq!(rows, fetched.row_count);
//! workspace.close()?;
//! # Ok::<_, mixflow::Error>(())
//! ```
//!
//! # Where to go from here
//!
//! - **What is fetched, and how**: [`Events`] and [`Profiles`] have filters,
//!   [transforms], workers, the [failure policy](OnFailure) and the rest of what
//!   a pipeline file has. `Events::from(EventsOptions { … })` takes the options
//!   of a file as they are.
//! - **Into the store**: [`Workspace::fetch_events`], all or nothing. The
//!   [`Store`] lists, describes and drops tables, and asks them: Arrow batches,
//!   tuples, one value, DuckDB's own statement.
//! - **Into anything else**: [`Workspace::run`] takes the options of a
//!   [sink](sinks), or any [`Sink`](core::sink::Sink) as a [`Target`], and
//!   returns the [report](core::report::RunReport), however the run ended.
//! - **One by one**: [`Workspace::stream_events`] and its like. A stream that
//!   has ended knows of its rejects and waits: [`Stream::report`].
//! - **While it runs**: an [observer](core::observer) hears how it goes on, and
//!   a [cancel token](core::cancel) ends it within half a second.
//! - **When it fails**: [`Error::kind`] is one enum to match; [`ErrorKind`] says
//!   what each kind means. What went wrong in a run that went on is in its report.
//! - **Async programs**: calls block, so they belong on a thread of their own;
//!   `examples/async_stream.rs` is a program with tokio.
//! - **What is there already**: [`Days`] says of each day of a pipeline's
//!   destination whether it is held, and [`ledger_of`] what was fetched when.
//! - **What is in it**: [`catalog_of`] says which properties a table has, of
//!   which types, and how many rows have them.
//! - **Who is told how a run ended**: [`alarms::raise`] tells a webhook, a
//!   program and Prometheus, as a pipeline file says.
//! - **Named connections**: [`connections`](mod@connections) reads the projects
//!   and accounts that pipeline files name.
//! - **Several machines**: a plan carries the units of a pipeline to wherever they
//!   are read, and a stage what was read to where it is committed; see `plans`.
//! - **Pipeline files**: [`registry`] has the components that they name, and
//!   [`launch`](mod@launch) runs a pipeline as the command line does: one at a
//!   time for each destination, with its rejects in a file.
//!
//! A workspace may be shared by threads. Nothing here prints, parses a command
//! line or takes over a signal; the command line is the crate `mixflow-cli`.

#![forbid(unsafe_code)]

pub mod alarms;
#[cfg(feature = "lake")]
mod archive_bucket;
mod catalog;
pub mod connections;
mod days;
pub mod launch;
mod lock;
#[cfg(feature = "lake")]
pub mod plans;
mod rejects;
mod trial;
mod workspace;

use std::path::{Path, PathBuf};

use mixflow_core::registry::Registry;

pub use catalog::catalog_of;
pub use days::{Days, DaysAsked, ledger_of, ledgers_of, missing_days};
#[cfg(feature = "lake")]
pub use mixflow_objects as objects;
pub use mixflow_source_archive as archive;
#[cfg(feature = "lake")]
pub use mixflow_source_stage as stage;

pub use mixflow_core as core;
pub use mixflow_core::context::Delivery;
pub use mixflow_core::engine::OnFailure;
pub use mixflow_core::{Error, ErrorKind, Result};
#[cfg(feature = "databases")]
pub use mixflow_sink_adbc as databases;
pub use mixflow_sink_duckdb::{
    self as duckdb, Batches, ColumnInfo, Missing, Query, Store, TableInfo, TableInput,
    TableMetadata,
};
pub use mixflow_source_mixpanel::options::{
    AuthOptions, EventsOptions, ProfilesOptions, Region, WindowDays,
};
pub use mixflow_source_mixpanel::quota::LimitOptions;
pub use mixflow_source_mixpanel::retry::RetryOptions;
pub use mixflow_transforms::{self as transforms, Catalog, Property};
pub use trial::Trial;
pub use workspace::{
    Event, Events, FetchResult, Profile, Profiles, RawRecord, Request, Step, Stream, Target,
    Workspace, WorkspaceBuilder,
};

/// Sinks, to be given to [`Workspace::run`], and their options.
pub mod sinks {
    #[cfg(feature = "databases")]
    pub use mixflow_sink_adbc::{AdbcOptions, AdbcSink, OnMismatch as AdbcOnMismatch, Statements};
    #[cfg(feature = "lake")]
    pub use mixflow_sink_delta::{DeltaOptions, DeltaSink};
    pub use mixflow_sink_duckdb::{DuckdbOptions, DuckdbSink};
    pub use mixflow_sink_dynamic::{Library as PluginLibrary, PluginOptions, PluginSink};
    #[cfg(unix)]
    pub use mixflow_sink_exec::{ExecFormat, ExecOptions, ExecSink};
    pub use mixflow_sink_jsonl::{JsonlFormat, JsonlOptions, JsonlSink};
    pub use mixflow_sink_parquet::{Compression, ParquetOptions, ParquetSink, PartitionBy};
}

/// Returns a registry of all the components that come with mixflow.
pub fn registry() -> Registry {
    let mut registry = Registry::empty();
    #[cfg(feature = "lake")]
    registry.allow_archives_in_buckets(archive_bucket::opened);
    mixflow_transforms::register(&mut registry);
    mixflow_source_mixpanel::register(&mut registry);
    mixflow_source_synthetic::register(&mut registry);
    #[cfg(feature = "databases")]
    mixflow_sink_adbc::register(&mut registry);
    #[cfg(feature = "lake")]
    mixflow_sink_delta::register(&mut registry);
    mixflow_sink_duckdb::register(&mut registry);
    mixflow_sink_dynamic::register(&mut registry);
    #[cfg(unix)]
    mixflow_sink_exec::register(&mut registry);
    mixflow_sink_jsonl::register(&mut registry);
    mixflow_sink_parquet::register(&mut registry);
    registry
}

/// Returns the folder for what outlives a run, as the environment and the
/// user's home say: `MIXFLOW_STATE_DIR`, `XDG_STATE_HOME`, `.local/state`.
pub fn state_folder(home: Option<&Path>) -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("MIXFLOW_STATE_DIR")
        .or_else(|| folder("XDG_STATE_HOME").map(|state| state.join("mixflow")))
        .or_else(|| home.map(|home| home.join(".local/state/mixflow")))
}
