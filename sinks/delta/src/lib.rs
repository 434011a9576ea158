//! Delta Lake: a folder of Parquet files, and a log that says which of them count.
//!
//! A run writes its files where they are read from, and no reader sees them before
//! one commit names them: a file `_delta_log/….json` that is there or is not. The
//! commit also says which files of before go, which run it is, and what the table
//! holds from now on, day by day. The transaction log is read and written by
//! `delta_kernel`, the library of those who keep the format.

#![forbid(unsafe_code)]

mod check;
mod columns;
mod commit;
#[cfg(test)]
mod conformance;
mod failed;
mod files;
mod form;
mod going;
mod ledger;
mod leftovers;
#[cfg(test)]
mod made_up;
mod names;
#[cfg(test)]
mod others_tests;
mod place;
mod rewrite;
mod runs;
mod sink;
mod table;
#[cfg(test)]
mod tests;
mod txn;

pub use sink::{DeltaOptions, DeltaSink, PartitionBy};

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "delta",
    about: "a Delta table, which Spark, Databricks, Trino, polars and DuckDB read",
    options: &[
        OptionDoc::new(
            "path",
            "a folder, or one in a bucket: s3://… | gs://… | az://…",
            "where the table is",
        ),
        OptionDoc::new(
            "mode",
            "create | append | replace | replace_window, default create",
            "what happens to what is there; each is one commit",
        ),
        OptionDoc::new(
            "partition_by",
            "date | none, default date for events",
            "a column `date`, the UTC day, by which files are kept apart",
        ),
        OptionDoc::new(
            "endpoint",
            "address, default that of the service",
            "which server has the bucket: MinIO, R2, an emulator",
        ),
        OptionDoc::new("region", "text", "the region of the bucket"),
        OptionDoc::new(
            "allow_shrink",
            "true | false, default false",
            "whether replace and replace_window may leave less than half of what is there",
        ),
        OptionDoc::new(
            "scope",
            "window | filter, default window",
            "whether replace_window refuses a table that has rows of other filters, or replaces only rows of its own",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |options: DeltaOptions, cx| {
            DeltaSink::new(options, cx.home.as_deref()).map(|sink| Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<DeltaOptions>();
}
