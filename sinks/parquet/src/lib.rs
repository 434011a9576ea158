//! Parquet: one file, or a folder with a folder of files for each day.
//!
//! Either way what a run writes appears at commit, all at once: a file is
//! renamed into place, a folder is built anew beside the old one (files that
//! stay are hard links, so nothing is copied) and the two are swapped. A folder
//! has its ledger in it, swapped with the files.

#![forbid(unsafe_code)]

mod aside;
#[cfg(feature = "objects")]
mod bucket;
mod columns;
#[cfg(test)]
mod conformance;
mod count;
mod days;
mod encoders;
mod existing;
mod file;
mod fits;
mod folder;
mod footer;
mod form;
mod going;
mod group;
mod ledger;
#[cfg(test)]
mod made_up;
mod others;
mod parts;
mod sink;
mod swap;
mod times;
mod tree;
#[cfg(test)]
mod window_tests;
mod writer;

pub use sink::{ParquetOptions, ParquetSink, PartitionBy};
pub use writer::Compression;

/// The Parquet files of other sinks: a lake table's are written as a folder's are.
pub mod files {
    pub use crate::days::{
        DAY_COLUMN, DAY_US, Home, split, start_us, utc_date, whole_days, zone_of,
    };
    pub use crate::form::{FileNotes, Form, FormFile, other_form};
    pub use crate::ledger::{Done, FileLedger, Month, MonthRecords, Owner};
    pub use crate::others::{Others, TRIES, pause, refused};
    pub use crate::parts::Part;
    pub use crate::times::{with_zones, zoned};
    pub use crate::writer::{Target, Writer, keep_memory, properties, relieve_all};
}

use mixflow_core::config::Invalid;
use mixflow_core::registry::{BuildContext, ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "parquet",
    about: "a Parquet file, or a folder of them",
    options: &[
        OptionDoc::new(
            "path",
            "a file if it ends in .parquet, else a folder; also s3://… | gs://… | az://…",
            "where to write",
        ),
        OptionDoc::new(
            "mode",
            "create | append | replace | replace_window, default create; a file takes create and replace",
            "what happens to what is there",
        ),
        OptionDoc::new(
            "compression",
            "zstd | snappy | none, default zstd",
            "how pages are compressed",
        ),
        OptionDoc::new(
            "partition_by",
            "date | none, default date for events in a folder",
            "a folder for each UTC day: date=2024-01-31/part-….parquet",
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
            "whether replace_window refuses a folder that has rows of other filters, or replaces only rows of its own",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |options: ParquetOptions, cx| build(options, cx))
        .takes::<ParquetOptions>();
}

/// Makes the sink of these options: into a file or folder, or into a bucket where its
/// path is the address of one. Makes no I/O.
pub fn build(
    mut options: ParquetOptions,
    cx: &BuildContext,
) -> Result<Box<dyn Sink>, Vec<Invalid>> {
    #[cfg(feature = "objects")]
    if options
        .path
        .to_str()
        .is_some_and(mixflow_objects::Location::is_bucket)
    {
        return Ok(Box::new(bucket::BucketSink::new(options)?));
    }
    options.path = cx.local_path("path", &options.path)?;
    Ok(Box::new(ParquetSink::new(options)?))
}
