//! Transforms of a request.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use mixflow_core::config::Invalid;
use mixflow_core::registry::BuildContext;
use mixflow_core::transform::Transform;
use mixflow_transforms::{
    Dedupe, DedupeOptions, ExtractOptions, Filter, FilterOptions, Hash, HashOptions, Mask,
    MaskOptions, Rename, RenameOptions, Select, SelectOptions,
};

type Built = Result<Box<dyn Transform>, Vec<Invalid>>;
type Build = dyn Fn(&SchemaRef, &BuildContext) -> Built + Send + Sync;

/// One transform, to be built against the rows that reach it.
///
/// Made of the options of one of mixflow's own, such as
/// [`SelectOptions`](crate::transforms::SelectOptions), or of any other.
#[derive(Clone)]
pub struct Step {
    kind: &'static str,
    build: Arc<Build>,
}

impl Step {
    /// Makes a step of a transform that is not mixflow's own.
    ///
    /// `build` checks the schema of its input and makes no I/O; `kind` is what
    /// reports call it.
    pub fn new<F>(kind: &'static str, build: F) -> Step
    where
        F: Fn(&SchemaRef, &BuildContext) -> Result<Box<dyn Transform>, Vec<Invalid>>
            + Send
            + Sync
            + 'static,
    {
        Step {
            kind,
            build: Arc::new(build),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn build(&self, schema: &SchemaRef, cx: &BuildContext) -> Built {
        (self.build)(schema, cx)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Step").field(&self.kind).finish()
    }
}

/// Makes a step of options: `Options => "kind", |options, schema, cx| …`.
macro_rules! step_of {
    ($($options:ty => $kind:literal, $build:expr;)*) => {$(
        impl From<$options> for Step {
            fn from(options: $options) -> Step {
                let build: fn($options, &SchemaRef, &BuildContext) -> Built = $build;
                Step::new($kind, move |schema, cx| build(options.clone(), schema, cx))
            }
        }
    )*};
}

step_of! {
    DedupeOptions => "dedupe", |DedupeOptions {}, schema, cx| {
        Ok(Box::new(Dedupe::new(schema, cx.roles.as_ref())?))
    };
    ExtractOptions => "extract", |options, schema, _| options.build(schema);
    FilterOptions => "filter", |options, schema, _| Ok(Box::new(Filter::new(&options, schema)?));
    HashOptions => "hash", |options, schema, cx| Ok(Box::new(Hash::new(options, schema, cx)?));
    MaskOptions => "mask", |options, schema, _| Ok(Box::new(Mask::new(&options, schema)?));
    RenameOptions => "rename", |options, schema, _| Ok(Box::new(Rename::new(&options, schema)?));
    SelectOptions => "select", |options, schema, _| Ok(Box::new(Select::new(&options, schema)?));
}
