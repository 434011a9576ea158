//! What happens to rows on their way.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::batch::columns_of;
use crate::context::{RunContext, UnitContext};
use crate::error::{Error, ErrorKind, Result};
use crate::fit::Provenance;
use crate::made_of::Existing;
use crate::source::BatchIter;
use crate::stand_in::StandIns;

/// How rows are to be changed: a recipe, the same for every run.
///
/// Built against the schema of its input, without I/O, so that everything that
/// can be wrong with columns is wrong before the first request. A transform that
/// needs nothing of a run is [`Stateless`], and so this, too.
pub trait Transform: Send + Sync {
    /// Returns the schema of what comes out.
    fn schema(&self) -> SchemaRef;

    /// Gets what building may not, such as secrets, and returns what changes
    /// the rows of one run.
    ///
    /// Called once a run, before anything is asked of the source. An error ends
    /// the run there.
    fn open(&self, cx: &RunContext) -> Result<Box<dyn TransformSession>>;

    /// Returns whether this tells rows apart by their ids, which must then be of
    /// whole records still.
    fn compares_ids(&self) -> bool {
        false
    }

    /// Returns what finds the columns that go by the rows. Then
    /// [`schema`](Transform::schema) has those that go by nothing, the rows are
    /// given to what is [settled](Survey::settle), this is never
    /// opened, and no transform can stand behind it.
    fn late(&self) -> Option<Arc<dyn LateColumns>> {
        None
    }

    /// Returns things a person should know before the run.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a [`Transform`] has whose columns go by the rows.
pub trait LateColumns: Send + Sync {
    /// Begins to look at the rows of a unit. Makes no I/O.
    fn survey(&self, existing: &[Existing]) -> Box<dyn Survey>;
}

/// A look at the rows of one unit.
pub trait Survey: Send {
    /// Looks at some of them.
    fn count(&mut self, records: &RecordBatch);

    /// Returns the transform with the columns that it makes, from then on. Where
    /// no row was looked at, they are those of the destinations.
    fn settle(self: Box<Self>) -> Result<Box<dyn Transform>>;
}

/// A transform in one run: changes the rows of its partitions, several at once,
/// in the worker threads.
pub trait TransformSession: Send + Sync {
    /// Changes the batches of one partition, all of them in order.
    ///
    /// Does its work when the iterator is asked, and ends at the first error,
    /// which fails the partition.
    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a>;

    /// Adds what rows must share with those that are at the destination
    /// already, such as a key.
    fn provenance(&self, _provenance: &mut Provenance) {}

    /// Returns how ids are to be made for events that have none, if this takes
    /// personal data out of rows: a plain hash of the record would tell it.
    fn stand_ins(&self) -> Option<StandIns> {
        None
    }
}

/// A transform that needs nothing of a run and sees each batch alone.
///
/// It is its own session: a run opens a clone of it.
pub trait Stateless: Clone + Send + Sync + 'static {
    /// Returns the schema of what [`apply`](Stateless::apply) returns.
    fn schema(&self) -> SchemaRef;

    /// Changes one batch. An error fails the batch's partition.
    fn apply(&self, records: RecordBatch) -> Result<RecordBatch>;

    /// Changes the batches of one partition; see [`TransformSession::stream`].
    ///
    /// The engine calls this alone. The default gives each batch to
    /// [`apply`](Stateless::apply); a transform that counts something has its
    /// own.
    fn stream<'a>(&'a self, batches: BatchIter<'a>, _cx: &'a UnitContext) -> BatchIter<'a> {
        Box::new(batches.map(|records| self.apply(records?)))
    }

    /// Returns how ids are to be made; see [`TransformSession::stand_ins`].
    fn stand_ins(&self) -> Option<StandIns> {
        None
    }

    /// Returns things a person should know before the run.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<T: Stateless> Transform for T {
    fn schema(&self) -> SchemaRef {
        Stateless::schema(self)
    }

    fn open(&self, _cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        Ok(Box::new(self.clone()))
    }

    fn warnings(&self) -> Vec<String> {
        Stateless::warnings(self)
    }
}

impl<T: Stateless> TransformSession for T {
    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        Stateless::stream(self, batches, cx)
    }

    fn stand_ins(&self) -> Option<StandIns> {
        Stateless::stand_ins(self)
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

    /// Opens the transform for a run. Fails as [`Transform::open`] does.
    pub(crate) fn open(&self, cx: &RunContext) -> Result<OpenTransform> {
        Ok(OpenTransform {
            kind: self.kind.clone(),
            schema: self.transform.schema(),
            compares_ids: self.transform.compares_ids(),
            session: self.transform.open(cx)?,
        })
    }
}

/// What the workers of a run have of a transform.
pub(crate) struct OpenTransform {
    /// The type in TOML.
    pub(crate) kind: String,
    schema: SchemaRef,
    pub(crate) compares_ids: bool,
    pub(crate) session: Box<dyn TransformSession>,
}

impl OpenTransform {
    /// Returns the columns of what comes out.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns them with their types, for messages.
    pub(crate) fn columns(&self) -> String {
        columns_of(&self.schema)
    }

    /// Changes the batches of one partition, and sees to it that they have the
    /// columns that the transform has declared.
    pub(crate) fn stream<'a>(
        &'a self,
        batches: BatchIter<'a>,
        cx: &'a UnitContext,
    ) -> BatchIter<'a> {
        let batches = self.session.stream(batches, cx);
        Box::new(batches.map(move |records| {
            let records = records?;
            if !same(&self.schema, &records.schema()) {
                return Err(self.lied(&records.schema()));
            }
            Ok(records)
        }))
    }

    fn lied(&self, returned: &Schema) -> Error {
        Error::new(
            ErrorKind::Other,
            format!(
                "the transform `{}` returned other columns than it declared",
                self.kind
            ),
        )
        .because(format!(
            "it declared ({}) and returned ({})",
            columns_of(&self.schema),
            columns_of(returned)
        ))
    }
}

/// Chooses how ids are made in a run with these transforms.
pub(crate) fn stand_ins_for(transforms: &[OpenTransform]) -> StandIns {
    let asked = transforms.iter();
    let mut asked = asked.filter_map(|open| open.session.stand_ins());
    let Some(first) = asked.next() else {
        return StandIns::default();
    };
    if first.are_keyed() {
        return first;
    }
    let keyed = asked.find(StandIns::are_keyed);
    keyed.unwrap_or_else(StandIns::of_the_row)
}

/// Returns the transform behind which ids are to be made of rows.
pub(crate) fn settled_after(stand_ins: &StandIns, transforms: &[OpenTransform]) -> Option<usize> {
    // Rows that differ in what was taken out alone have the same id then, so
    // not before whatever would take them for duplicates.
    let last = |open: &OpenTransform| open.compares_ids || open.session.stand_ins().is_some();
    if stand_ins.are_of_rows() {
        transforms.iter().rposition(last)
    } else {
        None
    }
}

fn same(declared: &SchemaRef, returned: &SchemaRef) -> bool {
    Arc::ptr_eq(declared, returned) || declared == returned
}
