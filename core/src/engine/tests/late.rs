//! Columns that go by the rows.

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::*;
use crate::made_of::Existing;
use crate::testing::{TestPartition, failing_at, good, panicking_at, rows_of, run_with};
use crate::transform::{LateColumns, Stateless, Survey, Transform, TransformSession};

/// Makes a column that is called after how many rows were looked at, beside those
/// that the destination has.
#[derive(Clone)]
struct Seen {
    input: SchemaRef,
    fails: bool,
}

impl Transform for Seen {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.input)
    }

    fn open(&self, _cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        panic!("its columns go by the rows")
    }

    fn late(&self) -> Option<Arc<dyn LateColumns>> {
        Some(Arc::new(self.clone()))
    }
}

impl LateColumns for Seen {
    fn survey(&self, existing: &[Existing]) -> Box<dyn Survey> {
        Box::new(Look {
            seen: self.clone(),
            existing: existing
                .iter()
                .flat_map(|one| one.columns.clone())
                .collect(),
            rows: 0,
        })
    }
}

struct Look {
    seen: Seen,
    existing: Vec<Field>,
    rows: usize,
}

impl Survey for Look {
    fn count(&mut self, records: &RecordBatch) {
        self.rows += records.num_rows();
    }

    fn settle(self: Box<Self>) -> Result<Box<dyn Transform>> {
        if self.seen.fails && self.rows > 0 {
            return Err(Error::new(ErrorKind::Data, "no columns can be made"));
        }
        let fields = self
            .seen
            .input
            .fields()
            .iter()
            .map(|field| (**field).clone());
        let mut fields: Vec<Field> = fields.chain(self.existing).collect();
        if self.rows > 0 {
            let name = format!("seen_{}", self.rows);
            fields.push(Field::new(name, DataType::Int64, false));
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Box::new(Fixed { schema }))
    }
}

/// Fills the columns that it makes with the number of the row.
#[derive(Clone)]
struct Fixed {
    schema: SchemaRef,
}

impl Stateless for Fixed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        let numbers = rows_of(&records).into_iter().map(|(_, row)| row);
        let numbers = Arc::new(Int64Array::from_iter_values(numbers));
        let mut columns = records.columns().to_vec();
        columns.resize(self.schema.fields().len(), numbers);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Runs units into a sink that has these columns; returns the columns of the
/// transaction that came last, beside those of the source.
fn run_late(
    units: Vec<TestPartition>,
    options: RunOptions,
    sink: TestSink,
    fails: bool,
) -> (RunReport, Log, Vec<String>) {
    let log = sink.log();
    let report = watched("a run", move || {
        let mut pipeline = pipeline(TestSource::new(units), sink);
        pipeline.options = options;
        let input = pipeline.source.schema();
        let late = Box::new(Seen { input, fails });
        pipeline.transforms.push(NamedTransform::new("seen", late));
        run(&pipeline)
    });
    let log = seen(&log);
    let columns = log.columns.iter().skip(2).cloned().collect();
    (report, log, columns)
}

fn keeping(workers: usize) -> RunOptions {
    options(workers, OnFailure::Keep)
}

#[test]
fn the_first_unit_with_rows_fixes_the_columns_for_all() {
    for workers in [1, 2, 4] {
        for _ in 0..20 {
            let units = vec![good(0), good(7), good(40), good(0), good(3)];
            let sink = TestSink::recording();
            let (report, log, columns) = run_late(units, keeping(workers), sink, false);
            assert_eq!(report.status, Status::Committed, "{:?}", report.error);
            assert_eq!(columns, ["seen_7"]);
            assert_eq!((report.row_count, log.announced.len()), (50, 5));
            for (unit, rows) in [(1, 7), (2, 40), (4, 3)] {
                let written: Vec<i64> = log.written_of(unit).iter().map(|row| row.1).collect();
                assert_eq!(written, (0..rows).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_unit_that_fails_leaves_it_to_the_next_one() {
    for first in [failing_at(0), failing_at(6), panicking_at(4)] {
        let units = vec![first, good(0), good(5), good(9)];
        let sink = TestSink::recording();
        let (report, log, columns) = run_late(units, keeping(3), sink, false);
        assert_eq!(report.status, Status::Partial, "{:?}", report.error);
        assert_eq!(
            (columns, log.visible.len()),
            (vec!["seen_5".to_owned()], 14)
        );
    }
}

#[test]
fn without_rows_there_are_no_columns_but_those_of_the_destination() {
    let sink = || TestSink::recording().with_columns([Field::new("there", DataType::Int64, true)]);
    let units = vec![good(0), good(0)];
    let (report, log, columns) = run_late(units, keeping(2), sink(), false);
    assert_eq!(report.status, Status::Committed);
    assert_eq!(
        (columns, log.announced.len()),
        (vec!["there".to_owned()], 2)
    );
    let (_, _, columns) = run_late(vec![good(2)], keeping(2), sink(), false);
    assert_eq!(columns, ["there", "seen_2"]);
}

#[test]
fn columns_that_cannot_be_made_fail_their_units() {
    let sink = TestSink::recording();
    let (report, log, _) = run_late(vec![good(2), good(3)], keeping(2), sink, true);
    assert_eq!(report.status, Status::Aborted);
    assert_eq!((log.begun, log.visible.len()), (0, 0));
    let failed = report.partitions.iter();
    let why = failed.filter_map(|unit| unit.error.as_ref());
    assert!(why.clone().count() == 2, "{:?}", report.partitions);
}

#[test]
fn no_transform_can_stand_behind() {
    let mut pipeline = pipeline(TestSource::new([good(2)]), TestSink::recording());
    let input = pipeline.source.schema();
    let late = Box::new(Seen {
        input: Arc::clone(&input),
        fails: false,
    });
    pipeline.transforms.push(NamedTransform::new("seen", late));
    let last = Box::new(Fixed { schema: input });
    pipeline.transforms.push(NamedTransform::new("last", last));
    let report = run_with(
        &pipeline,
        CancelToken::never(),
        &mut crate::observer::Silent,
    );
    assert_eq!(
        messages(&report)[0],
        "the columns of this `seen` are known only when rows are there, so no other transform can stand behind it: make it the last one"
    );
}
