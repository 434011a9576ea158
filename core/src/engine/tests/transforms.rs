//! What the engine does with transforms.

use std::sync::atomic::{AtomicU32, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::*;
use crate::context::{Notice, UnitContext};
use crate::source::{BatchIter, Source as _};
use crate::testing::{failing_at, good};
use crate::transform::{Transform, TransformSession};

/// What a [`Double`] does beside passing batches on.
#[derive(Clone, Copy, Default)]
struct Does {
    drops_first_column: bool,
    drops_every_row: bool,
    fails_to_open: bool,
    tells_its_key: bool,
}

struct Double {
    schema: SchemaRef,
    does: Does,
    opened: Arc<AtomicU32>,
}

impl Transform for Double {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        let runs = self.opened.fetch_add(1, Ordering::SeqCst);
        cx.notify(Notice::Warning("the key is short".to_owned()));
        if self.does.fails_to_open {
            Err(Error::new(ErrorKind::Config, "cannot get the key"))
        } else {
            Ok(Box::new(OpenDouble {
                does: self.does,
                key: format!("key of run {runs}"),
            }))
        }
    }

    fn warnings(&self) -> Vec<String> {
        vec!["the key stands in the file".to_owned()]
    }
}

/// A [`Double`] of one run, with the key that was read for it.
struct OpenDouble {
    does: Does,
    key: String,
}

impl OpenDouble {
    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        match self.does {
            Does {
                drops_first_column: true,
                ..
            } => Ok(records.project(&[1])?),
            Does {
                drops_every_row: true,
                ..
            } => Ok(records.slice(0, 0)),
            _ => Ok(records),
        }
    }
}

impl TransformSession for OpenDouble {
    /// Counts a duplicate and a trifle a batch.
    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        Box::new(batches.map(|records| {
            cx.count_duplicates(1);
            cx.count_warning("trifles", 2);
            cx.count_warning(&self.key, u64::from(self.does.tells_its_key));
            self.apply(records?)
        }))
    }
}

fn run_through(source: TestSource, does: Does, options: RunOptions) -> (RunReport, Log, u32) {
    watched("a run", move || {
        let (mut pipeline, log, opened) = through(source, does);
        pipeline.options = options;
        let report = run(&pipeline);
        (report, seen(&log), opened.load(Ordering::SeqCst))
    })
}

/// Returns a pipeline with a double, and how often that was opened.
fn through(source: TestSource, does: Does) -> (Pipeline, Arc<Mutex<Log>>, Arc<AtomicU32>) {
    let opened = Arc::new(AtomicU32::new(0));
    let double = Double {
        schema: source.schema(),
        does,
        opened: Arc::clone(&opened),
    };
    let sink = TestSink::recording();
    let log = sink.log();
    let mut pipeline = pipeline(source, sink);
    pipeline.transforms = vec![NamedTransform::new("double", Box::new(double))];
    (pipeline, log, opened)
}

#[test]
fn a_transform_is_given_rows_although_the_sink_takes_files() {
    let source = TestSource::new([good(2), good(3)]).in_files();
    let (mut pipeline, _, opened) = through(source, Does::default());
    let sink = TestSink::recording().taking_files(0..2);
    pipeline.sinks = Sinks::one("test", Box::new(sink));
    let report = run(&pipeline);
    assert_eq!((report.row_count, report.files_taken), (5, 0));
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_transform_that_lies_about_its_columns_fails_the_partition() {
    let does = Does {
        drops_first_column: true,
        ..Does::default()
    };
    let source = TestSource::new([good(2), good(0)]);
    let (report, log, _) = run_through(source, does, options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!(
        report.partitions[0].error.as_deref(),
        Some(
            "the transform `double` returned other columns than it declared: \
             it declared (partition Int64, row Int64) and returned (row Int64)"
        )
    );
    assert_eq!(log.visible, []);
}

#[test]
fn a_transform_that_cannot_be_opened_ends_the_run_before_it_is_planned() {
    let does = Does {
        fails_to_open: true,
        ..Does::default()
    };
    // Planning would fail, too, with another kind.
    let source = TestSource::new([good(2)]).failing_plan();
    let (report, log, _) = run_through(source, does, RunOptions::default());
    assert_eq!(error_kind(&report), ErrorKind::Config);
    assert_eq!((report.requests, log.begun), (0, 0));
}

#[test]
fn what_is_counted_is_in_the_report_once() {
    let source = TestSource::new([good(5), good(2)]);
    let (report, _, opened) = run_through(source, Does::default(), RunOptions::default());
    assert_eq!((report.row_count, report.duplicates), (7, 4));
    assert_eq!(
        report.warnings,
        [
            "the key stands in the file",
            "the key is short",
            "trifles: 8"
        ]
    );
    assert_eq!(opened, 1);
}

#[test]
fn each_run_of_a_pipeline_opens_its_transforms_again() {
    let does = Does {
        tells_its_key: true,
        ..Does::default()
    };
    let (keys, opened) = watched("two runs", move || {
        let (pipeline, _, opened) = through(TestSource::new([good(2)]), does);
        let keys = [0, 1].map(|_| {
            let report = run(&pipeline);
            assert_eq!(report.status, Status::Committed);
            let mut warnings = report.warnings.into_iter();
            warnings
                .find(|text| text.starts_with("key"))
                .unwrap_or_default()
        });
        (keys, opened.load(Ordering::SeqCst))
    });
    assert_eq!(keys, ["key of run 0: 1", "key of run 1: 1"]);
    assert_eq!(opened, 2);
}

/// A transform that says nothing of the rows that it leaves out is found out.
#[test]
fn rows_that_a_transform_leaves_out_are_in_the_report_by_partition() {
    let does = Does {
        drops_every_row: true,
        ..Does::default()
    };
    let source = TestSource::new([good(5), failing_at(2), good(2)]);
    let (report, _, _) = run_through(source, does, options(1, OnFailure::Keep));
    let json = serde_json::to_value(&report).expect("it is JSON");
    assert_eq!((report.read, report.row_count), (7, 0));
    assert_eq!(json["dropped"], serde_json::json!({"double": {"other": 7}}));
    let of_partitions = |key: &str| -> Vec<_> {
        let partitions = json["partitions"].as_array().expect("a list");
        partitions.iter().map(|one| one[key].to_string()).collect()
    };
    assert_eq!(of_partitions("read"), ["5", "0", "2"]);
    assert_eq!(
        of_partitions("dropped"),
        [
            r#"{"double":{"other":5}}"#,
            "null",
            r#"{"double":{"other":2}}"#
        ]
    );
    let source = TestSource::new([good(5)]);
    let (report, _, _) = run_through(source, Does::default(), RunOptions::default());
    assert_eq!((report.read, report.dropped.is_empty()), (5, true));
}

#[test]
fn what_was_counted_of_a_failed_partition_is_not_told() {
    let does = Does {
        drops_every_row: true,
        ..Does::default()
    };
    let source = TestSource::new([failing_at(2), good(2)]);
    let (report, _, _) = run_through(source, does, options(1, OnFailure::Keep));
    assert_eq!(report.status, Status::Partial);
    assert_eq!((report.row_count, report.duplicates), (0, 1));
    assert_eq!(report.warnings.last().expect("there are"), "trifles: 2");
}

#[test]
fn a_run_that_starts_over_counts_from_nothing() {
    let partitions = [good(4), good(2).voiding_plan(1)];
    let source = TestSource::new(partitions).ordered(true);
    let (report, _, opened) = run_through(source, Does::default(), RunOptions::default());
    assert_eq!(report.status, Status::Committed);
    assert_eq!((report.row_count, report.duplicates), (6, 3));
    assert_eq!(report.warnings.last().expect("there are"), "trifles: 6");
    assert_eq!(opened, 1);
}

#[test]
fn rows_that_a_transform_leaves_out_are_not_missed() {
    let does = Does {
        drops_every_row: true,
        ..Does::default()
    };
    let source = TestSource::new([good(5)]);
    let (report, _, _) = run_through(source, does, RunOptions::default());
    assert_eq!((report.status, report.row_count), (Status::Committed, 0));
    assert_eq!(report.partitions[0].rows, 0);
    let announced = report.warnings.iter().find(|w| w.contains("announced"));
    assert_eq!(announced, None);
}
