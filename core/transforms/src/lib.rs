//! mixflow's own transforms.
//!
//! Each is a file: its options, what `mixflow components` says of it, and a
//! [`Transform`](mixflow_core::transform::Transform) that is checked against the
//! schema of its input when the pipeline is built.
//!
//! [`Census`] learns which properties there are, for whoever has no columns yet.

#![forbid(unsafe_code)]

mod catalog;
mod columns;
mod dedupe;
mod extract;
mod filter;
mod hash;
mod json;
mod mask;
mod naming;
mod properties;
mod rename;
mod scrub;
mod select;
mod time;

#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Census, Change, Difference, KnownProperty, Property};
pub use dedupe::{Dedupe, DedupeOptions};
pub use extract::{ColumnType, ExtractColumn, ExtractColumns, ExtractOptions, OnMismatch};
pub use filter::{Filter, FilterOptions};
pub use hash::{Hash, HashOptions};
pub use json::PathText;
pub use mask::{Mask, MaskOptions};
pub use naming::column_names;
pub use properties::MOST_PROPERTIES;
pub use rename::{Rename, RenameOptions};
pub use select::{Select, SelectOptions};

use mixflow_core::registry::Registry;

/// Adds all of them to what a binary knows.
pub fn register(registry: &mut Registry) {
    dedupe::register(registry);
    extract::register(registry);
    filter::register(registry);
    hash::register(registry);
    mask::register(registry);
    rename::register(registry);
    select::register(registry);
}
