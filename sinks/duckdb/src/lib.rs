//! DuckDB: the sink, and what it keeps beside the tables.
//!
//! The only crate of mixflow that depends on `duckdb`. [`register`] adds the
//! sink; [`Store`] reads and writes tables without one; [`metadata`] is the
//! table `_metadata`.

// `vectors` alone has some.
#![deny(unsafe_code)]

mod columns;
mod commit;
mod database;
mod datasets;
mod fill;
mod ledger;
mod macros;
mod made_of;
mod memory;
pub mod metadata;
mod old_rows;
mod open;
mod outside;
mod pull;
mod query;
mod queue;
mod readable;
mod reading;
mod rows;
mod sink;
pub mod sql;
mod storage;
mod store;
mod tables;
mod target;
mod txn;
mod vectors;

pub use duckdb;

pub use fill::TableInput;
pub use metadata::{Missing, TableMetadata};
pub use query::{Batches, Query};
pub use sink::{DuckdbOptions, DuckdbSink};
pub use sql::quoted;
pub use store::Store;
pub use tables::{ColumnInfo, TableInfo};
pub use target::default_path;

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "duckdb",
    about: "a table in a DuckDB file",
    options: &[
        OptionDoc::new(
            "path",
            "file, default ~/.mixpanel_data/{project_id}.db",
            "the database",
        ),
        OptionDoc::new("table", "name, default events or profiles", "the table"),
        OptionDoc::new(
            "mode",
            "create | append | replace | replace_window, default create",
            "what happens to a table that is there",
        ),
        OptionDoc::new(
            "storage_version",
            "a version such as v1.2.0, or latest; default v1.2.0",
            "the oldest DuckDB that opens a file which is made new; one that is there keeps its own",
        ),
        OptionDoc::new(
            "macros",
            "true | false, default true",
            "whether the table macros mf_daily, mf_funnel, mf_people, mf_retention and mf_sessions are left in the database",
        ),
        OptionDoc::new(
            "scope",
            "window | filter, default window",
            "with filter, replace_window replaces only rows of the same events and where; a last column says whose a row is",
        ),
        OptionDoc::new(
            "allow_shrink",
            "true | false, default false",
            "whether replace and replace_window may leave less than half of what is there",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |options: DuckdbOptions, cx| {
            DuckdbSink::new(options, cx).map(|sink| Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<DuckdbOptions>();
}

/// Returns DuckDB's version and the commit that it was built from.
pub fn version() -> mixflow_core::Result<(String, String)> {
    let connection = duckdb::Connection::open_in_memory().map_err(open::failed("open DuckDB"))?;
    connection
        .query_row(
            "SELECT library_version, source_id FROM pragma_version()",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(open::failed("ask DuckDB for its version"))
}
