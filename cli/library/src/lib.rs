//! mixflow: gets Mixpanel data out, whole and on time.
//!
//! [`Workspace`] fetches into a [`Store`], streams, and asks. [`registry`] has
//! the components that pipeline files name, and [`launch`](mod@launch) runs a
//! pipeline as the command line does: one at a time for each destination, with
//! its rejects in a file. The command line itself is the crate `mixflow-cli`.

#![forbid(unsafe_code)]

pub mod launch;
mod lock;
mod rejects;
mod workspace;

use std::path::{Path, PathBuf};

use mixflow_core::registry::Registry;

pub use mixflow_core as core;
pub use mixflow_core::context::Delivery;
pub use mixflow_core::engine::OnFailure;
pub use mixflow_core::{Error, ErrorKind, Result};
pub use mixflow_sink_duckdb::{
    self as duckdb, Batches, ColumnInfo, Missing, Query, Store, TableInfo, TableInput,
    TableMetadata,
};
pub use mixflow_source_mixpanel::options::{
    AuthOptions, EventsOptions, ProfilesOptions, Region, WindowDays,
};
pub use mixflow_source_mixpanel::quota::LimitOptions;
pub use mixflow_source_mixpanel::retry::RetryOptions;
pub use mixflow_transforms as transforms;
pub use workspace::{
    Event, Events, FetchResult, Profile, Profiles, RawRecord, Request, Step, Stream, Target,
    Workspace, WorkspaceBuilder,
};

/// Sinks, to be given to [`Workspace::run`], and their options.
pub mod sinks {
    pub use mixflow_sink_duckdb::{DuckdbOptions, DuckdbSink};
    pub use mixflow_sink_dynamic::{PluginOptions, PluginSink};
    #[cfg(unix)]
    pub use mixflow_sink_exec::{ExecFormat, ExecOptions, ExecSink};
    pub use mixflow_sink_jsonl::{JsonlFormat, JsonlOptions, JsonlSink};
    pub use mixflow_sink_parquet::{Compression, ParquetOptions, ParquetSink, PartitionBy};
}

/// Returns a registry of all the components that come with mixflow.
pub fn registry() -> Registry {
    let mut registry = Registry::empty();
    mixflow_transforms::register(&mut registry);
    mixflow_source_mixpanel::register(&mut registry);
    mixflow_source_synthetic::register(&mut registry);
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
