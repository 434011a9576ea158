//! What happens to rows on their way.

mod columns;
mod dedupe;
mod extract;
mod filter;
mod hash;
mod json;
mod mask;
mod rename;
mod scrub;
mod select;
mod time;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::events as events_for_tests;

pub use dedupe::{Dedupe, DedupeOptions};
pub use extract::{ColumnType, Extract, ExtractColumn, ExtractOptions, OnMismatch};
pub use filter::{Filter, FilterOptions};
pub use hash::{Hash, HashOptions};
pub use json::PathText;
pub use mask::{Mask, MaskOptions};
pub use rename::{Rename, RenameOptions};
pub use select::{Select, SelectOptions};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::batch::columns_of;
use crate::context::TaskContext;
use crate::error::{Error, ErrorKind, Result};
use crate::fit::Provenance;
use crate::registry::Registry;
use crate::source::BatchIter;
use crate::stand_in::StandIns;

/// Changes the rows of a partition.
///
/// Built against the schema of its input, so that everything that can be wrong
/// with columns is wrong before the first request. Runs in the worker threads,
/// several partitions at once.
pub trait Transform: Send + Sync {
    /// Returns the schema of what [`apply`](Transform::apply) returns.
    fn schema(&self) -> SchemaRef;

    /// Changes one batch. An error fails the batch's partition.
    fn apply(&self, records: RecordBatch) -> Result<RecordBatch>;

    /// Gets what building may not, such as secrets.
    ///
    /// Called once a run, before anything is asked of the source; an error ends
    /// the run there.
    fn prepare(&self, _cx: &TaskContext) -> Result<()> {
        Ok(())
    }

    /// Changes the batches of one partition, all of them in order.
    ///
    /// The engine calls this alone. The default gives each batch to
    /// [`apply`](Transform::apply); a transform that must see a partition as a
    /// whole, or counts something, has its own. It does its work when the
    /// iterator is asked, and ends at the first error.
    fn stream<'a>(&'a self, batches: BatchIter<'a>, _cx: &'a TaskContext) -> BatchIter<'a> {
        Box::new(batches.map(|records| self.apply(records?)))
    }

    /// Adds what rows must share with those that are at the destination
    /// already, such as a key. Called once the transform is prepared.
    fn provenance(&self, _provenance: &mut Provenance) {}

    /// Returns how ids are to be made for events that have none, if this takes
    /// personal data out of rows: a plain hash of the record would tell it.
    ///
    /// Asked when the transform has been prepared.
    fn stand_ins(&self) -> Option<StandIns> {
        None
    }

    /// Returns whether this tells rows apart by their ids, which must then be of
    /// whole records still.
    fn compares_ids(&self) -> bool {
        false
    }

    /// Returns things a person should know before the run.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A transform with what its type is called.
pub struct NamedTransform {
    /// The type in TOML, for errors.
    pub kind: String,
    /// The transform.
    pub transform: Box<dyn Transform>,
}

impl NamedTransform {
    /// Joins a transform with what its type is called.
    pub fn new(kind: impl Into<String>, transform: Box<dyn Transform>) -> NamedTransform {
        NamedTransform {
            kind: kind.into(),
            transform,
        }
    }

    /// Changes the batches of one partition, and sees to it that they have the
    /// columns that the transform has declared.
    pub(crate) fn stream<'a>(
        &'a self,
        batches: BatchIter<'a>,
        cx: &'a TaskContext,
    ) -> BatchIter<'a> {
        let declared = self.transform.schema();
        let batches = self.transform.stream(batches, cx);
        Box::new(batches.map(move |records| {
            let records = records?;
            match same(&declared, &records.schema()) {
                true => Ok(records),
                false => Err(self.lied(&declared, &records.schema())),
            }
        }))
    }

    fn lied(&self, declared: &Schema, returned: &Schema) -> Error {
        Error::new(
            ErrorKind::Other,
            format!(
                "the transform `{}` returned other columns than it declared",
                self.kind
            ),
        )
        .because(format!(
            "it declared ({}) and returned ({})",
            columns_of(declared),
            columns_of(returned)
        ))
    }
}

fn same(declared: &SchemaRef, returned: &SchemaRef) -> bool {
    std::sync::Arc::ptr_eq(declared, returned) || declared == returned
}

/// Adds mixflow's own transforms.
pub(crate) fn register(registry: &mut Registry) {
    dedupe::register(registry);
    extract::register(registry);
    filter::register(registry);
    hash::register(registry);
    mask::register(registry);
    rename::register(registry);
    select::register(registry);
}
