//! One unit of a plan, read on any machine.

use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use mixflow_core::carried::Carried;
use mixflow_core::config::Alarms;
use mixflow_core::engine::{OnFailure, Pipeline, RunOptions, Sinks};
use mixflow_core::report::RunReport;
use mixflow_core::sink::Sink;
use mixflow_core::unit::Unit;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_source_stage::{Left, PartSink, Receipt, Stage};

/// Returns what reads a unit of `pipeline` and leaves it on `stage`, and the sink that
/// does so.
///
/// The part is in the form of the pipeline's sink, if that could take it as it is.
/// Fails as [`for_unit`] does.
pub fn for_stage(
    mut pipeline: Pipeline,
    unit: &Unit,
    stage: &Stage,
) -> Result<(Pipeline, PartSink)> {
    let records = pipeline.sinks.records();
    // Replaced below by the sink that is made here.
    let nowhere = PartSink::new(stage.clone(), unit.key.clone(), records, None);
    let sinks = std::mem::replace(&mut pipeline.sinks, Sinks::one("stage", Box::new(nowhere)));
    let mut sinks: Vec<_> = sinks.into_iter().collect();
    let mut transforms = pipeline.transforms.iter();
    let is_final = !transforms.any(|named| named.transform.late().is_some());
    let goes_to = sinks
        .pop()
        .filter(|_| is_final && sinks.is_empty())
        .map(|named| Rc::from(named.sink));
    let sink = PartSink::new(stage.clone(), unit.key.clone(), records, goes_to);
    let pipeline = for_unit(pipeline, unit, "stage", Box::new(sink.clone()))?;
    Ok((pipeline, sink))
}

/// Returns what reads a unit of `pipeline` into `sink`: the same source and
/// transforms, but for one whose columns go by the rows, which is for the commit.
///
/// Fails with [`ErrorKind::Config`] for a unit that is not one of the pipeline's.
pub fn for_unit(
    pipeline: Pipeline,
    unit: &Unit,
    kind: &str,
    sink: Box<dyn Sink>,
) -> Result<Pipeline> {
    let dataset = pipeline.source.info().dataset.key();
    if !unit.is_of(&dataset) {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "{} is no unit of the pipeline `{}`",
                unit.label, pipeline.name
            ),
        )
        .because("somebody has changed the plan, or another version made it")
        .hint("make it anew with `mixflow plan FILE --output PLAN.json`"));
    }
    Ok(for_reading(pipeline, kind, sink))
}

/// Returns what the rows of a unit look like: those that the transforms make, but
/// for one whose columns go by the rows.
pub fn unit_schema(pipeline: &Pipeline) -> SchemaRef {
    let mut settled = pipeline.transforms.iter().rev();
    let last = settled.find(|named| named.transform.late().is_none());
    last.map_or_else(|| pipeline.source.schema(), |last| last.transform.schema())
}

/// Returns what reads units of `pipeline` into another sink.
fn for_reading(pipeline: Pipeline, kind: &str, sink: Box<dyn Sink>) -> Pipeline {
    let mut transforms = pipeline.transforms;
    transforms.retain(|named| named.transform.late().is_none());
    Pipeline {
        transforms,
        sinks: Sinks::one(kind, sink),
        options: RunOptions {
            workers: std::num::NonZeroUsize::MIN,
            on_failure: OnFailure::Abort,
            delivery: None,
            min_rows: 0,
        },
        // Whoever is told is told of the commit.
        alarms: Alarms::default(),
        ..pipeline
    }
}

/// Returns the receipt of a unit that a run has left.
pub fn receipt_of(plan_id: &str, left: Left, report: &RunReport) -> Receipt {
    let Left {
        part,
        unit,
        provenance,
    } = left;
    let record = unit.record;
    let (rows_by_event, ids) = match report.partitions.first() {
        Some(partition) => (partition.rows_by_event.clone(), partition.ids.clone()),
        None => Default::default(),
    };
    Receipt {
        plan_id: plan_id.to_owned(),
        key: record.unit_key.clone(),
        rows: record.rows,
        rejected: report.rejected,
        duplicates: report.duplicates,
        bytes: report.bytes_received,
        requests: report.requests,
        part,
        fetched_at: record.fetched_at,
        mixflow_version: env!("CARGO_PKG_VERSION").to_owned(),
        reject_file: report.reject_file.clone(),
        counted: Carried {
            record,
            days: unit.days,
            read: report.read,
            rows_by_event,
            ids,
            dropped: report.dropped.clone(),
            warnings: report.counted_warnings.clone(),
        },
        provenance,
    }
}
