//! What is run, and how.

use std::num::NonZeroUsize;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Alarms;
use crate::context::Delivery;
use crate::destination::Destination;
use crate::source::Source;
use crate::transform::LateColumns;
use crate::transform::NamedTransform;

use super::sinks::Sinks;

/// A source, transforms and sinks that fit each other.
pub struct Pipeline {
    /// The name, for reports.
    pub name: String,
    /// The type of the source, for reports.
    pub source_type: String,
    /// Where rows come from.
    pub source: Box<dyn Source>,
    /// What happens to them, in order.
    pub transforms: Vec<NamedTransform>,
    /// Where rows go.
    pub sinks: Sinks,
    /// How to run it.
    pub options: RunOptions,
    /// Who is told how its runs end; not by the engine.
    pub alarms: Alarms,
}

/// What a transform is called whose columns go by the rows, and what finds them.
pub(crate) type LateStage<'p> = (&'p str, Arc<dyn LateColumns>);

impl Pipeline {
    /// Returns where the rows go, in the order of the sinks.
    pub fn destinations(&self) -> Vec<Destination> {
        self.sinks.destinations(&self.source.info().dataset.kind)
    }

    /// Returns where the rows go first.
    pub fn destination(&self) -> Destination {
        let kind = self.source.info().dataset.kind;
        self.sinks.first().sink.destination(&kind)
    }

    /// Returns the transforms whose columns are known, and the last one if its
    /// columns go by the rows.
    pub(crate) fn stages(&self) -> (&[NamedTransform], Option<LateStage<'_>>) {
        let late = self.transforms.split_last().and_then(|(last, before)| {
            let columns = last.transform.late()?;
            Some((before, (last.kind.as_str(), columns)))
        });
        match late {
            Some((before, late)) => (before, Some(late)),
            None => (&self.transforms, None),
        }
    }

    /// Returns things a person should know before a run.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.source.info().warnings;
        let transforms = self.transforms.iter();
        warnings.extend(transforms.flat_map(|named| named.transform.warnings()));
        warnings.extend(self.alarms.warnings.iter().cloned());
        warnings
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.name)
            .field("source", &self.source_type)
            .field("transforms", &self.transforms.len())
            .field("sink", &self.sinks.first().kind)
            .field("options", &self.options)
            .finish()
    }
}

/// How to run a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The number of threads that read.
    pub workers: NonZeroUsize,
    /// What happens when a partition fails for good.
    pub on_failure: OnFailure,
    /// When rows may leave a unit; `None` lets the engine choose.
    pub delivery: Option<Delivery>,
    /// Fewer rows than this fail the run.
    pub min_rows: u64,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            workers: NonZeroUsize::MIN,
            on_failure: OnFailure::Abort,
            delivery: None,
            min_rows: 0,
        }
    }
}

/// What happens when a partition fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The rest is cancelled and nothing becomes visible.
    Abort,
    /// The others go on; the commit holds them and names the missing ones.
    Keep,
}
