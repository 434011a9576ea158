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
pub use mixflow_core::{Error, ErrorKind, Result};
pub use mixflow_sink_duckdb::{
    self as duckdb, Batches, ColumnInfo, Missing, Query, Store, TableInfo, TableInput,
    TableMetadata,
};
pub use workspace::{
    Event, Events, FetchResult, Profile, Profiles, RawRecord, Stream, Workspace, WorkspaceBuilder,
};

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
