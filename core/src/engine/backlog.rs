//! Rows that wait for a transaction which would shut others out.
//!
//! They are in a file without a name beside the destination, compressed, and
//! are gone with the process. What is announced waits with them, in its place.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::row_file::{RowFile, Rows};
use crate::batch::{Batch, PartitionId};
use crate::error::Result;
use crate::sink::{Exclusive, PartitionInfo};
use crate::staged::cannot;

/// Rows may wait as long as to write them in the end takes at most one part in
/// so many of the time that the run has taken.
const PARTS_OF_RUN: f64 = 10.0;

/// Rows that are written in so many seconds may always wait: nobody notices
/// that, and a run of a few days is over before its rate can be told.
const UNNOTICED: f64 = 0.1;

/// What a transaction that has not begun is to be given, in order.
pub(super) struct Backlog {
    bytes_per_second: u64,
    schema: SchemaRef,
    rows: RowFile,
    order: VecDeque<Entry>,
}

enum Entry {
    Announced(PartitionInfo),
    /// So many batches of a partition.
    Batches(PartitionId, u64),
}

/// What comes out of a backlog.
pub(super) enum Step {
    Announce(PartitionInfo),
    Write(Batch),
}

impl Backlog {
    /// Creates one that is empty; `None` if no file can be made where rows may
    /// wait.
    pub(super) fn begin(exclusive: Exclusive, schema: &SchemaRef) -> Option<Backlog> {
        let Exclusive {
            bytes_per_second,
            folder,
        } = exclusive;
        match RowFile::create(&folder, "the commit", schema) {
            Ok(rows) => Some(Backlog {
                bytes_per_second,
                schema: Arc::clone(schema),
                rows,
                order: VecDeque::new(),
            }),
            Err(error) => {
                log::debug!("no rows can wait: {}", error.in_a_line());
                None
            }
        }
    }

    /// Notes that a partition is announced here.
    pub(super) fn announce(&mut self, info: &PartitionInfo) {
        self.order.push_back(Entry::Announced(info.clone()));
    }

    /// Returns whether a batch has the columns of those that may wait.
    pub(super) fn fits(&self, batch: &Batch) -> bool {
        let schema = batch.records.schema_ref();
        Arc::ptr_eq(schema, &self.schema) || schema.fields() == self.schema.fields()
    }

    /// Takes a batch that fits.
    pub(super) fn push(&mut self, batch: &Batch) -> Result<()> {
        self.rows.push(&batch.records)?;
        match self.order.back_mut() {
            Some(Entry::Batches(id, batches)) if *id == batch.partition => *batches += 1,
            _ => self.order.push_back(Entry::Batches(batch.partition, 1)),
        }
        Ok(())
    }

    /// Returns the bytes that the rows have in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.rows.bytes()
    }

    /// Returns whether a run that has taken so long may end with writing what
    /// is here.
    pub(super) fn may_wait(&self, elapsed: Duration) -> bool {
        let seconds = self.bytes() as f64 / self.bytes_per_second as f64;
        seconds <= UNNOTICED || seconds * PARTS_OF_RUN <= elapsed.as_secs_f64()
    }

    /// Ends taking, and gives everything out once, in the order in which it
    /// came.
    pub(super) fn replay(self) -> Result<Replay> {
        Ok(Replay {
            rows: self.rows.read()?,
            order: self.order,
        })
    }
}

/// What was in a backlog.
pub(super) struct Replay {
    rows: Rows,
    order: VecDeque<Entry>,
}

impl Replay {
    fn batch(&mut self) -> Result<RecordBatch> {
        self.rows.next().unwrap_or_else(|| {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            Err(cannot("read the rows that wait for the commit")(short))
        })
    }
}

impl Iterator for Replay {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        let partition = match self.order.front_mut()? {
            Entry::Batches(id, left) if *left > 1 => {
                *left -= 1;
                *id
            }
            Entry::Batches(..) | Entry::Announced(_) => match self.order.pop_front()? {
                Entry::Announced(info) => return Some(Ok(Step::Announce(info))),
                Entry::Batches(id, _) => id,
            },
        };
        let records = self.batch();
        Some(records.map(|records| Step::Write(Batch { records, partition })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{is_json, json_field};
    use crate::unit::Extent;
    use arrow::array::{Array as _, AsArray as _, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            json_field("properties", true),
        ]))
    }

    fn backlog() -> Backlog {
        let exclusive = Exclusive {
            bytes_per_second: 1_000,
            folder: std::env::temp_dir(),
        };
        Backlog::begin(exclusive, &schema()).expect("files can be made there")
    }

    fn batch(partition: u32, rows: i64) -> Batch {
        let texts = (0..rows).map(|n| (n % 3 > 0).then(|| format!("{{\"n\":{n}}}")));
        let columns = vec![
            Arc::new(Int64Array::from_iter_values(0..rows)) as _,
            Arc::new(texts.collect::<StringArray>()) as _,
        ];
        Batch {
            records: RecordBatch::try_new(schema(), columns).expect("it is of the schema"),
            partition: PartitionId(partition),
        }
    }

    fn announcement(id: u32) -> PartitionInfo {
        PartitionInfo {
            id: PartitionId(id),
            label: format!("p{id}"),
            extent: Extent::Page(id.into()),
        }
    }

    #[test]
    fn what_waits_comes_out_as_it_came() {
        let mut backlog = backlog();
        let part = Batch {
            records: batch(1, 100).records.slice(40, 7),
            partition: PartitionId(1),
        };
        let given = [batch(0, 3), batch(0, 5), batch(1, 0), part, batch(0, 2_000)];
        backlog.announce(&announcement(0));
        backlog.push(&given[0]).expect("there is room");
        backlog.push(&given[1]).expect("there is room");
        backlog.announce(&announcement(1));
        backlog.announce(&announcement(2));
        for batch in &given[2..] {
            backlog.push(batch).expect("there is room");
        }
        let (mut announced, mut got) = (Vec::new(), Vec::new());
        for step in backlog.replay().expect("it can be read") {
            match step.expect("it can be read") {
                Step::Announce(info) => announced.push((info, got.len())),
                Step::Write(batch) => got.push(batch),
            }
        }
        let places = [(0, 0), (1, 2), (2, 2)];
        assert_eq!(announced, places.map(|(id, at)| (announcement(id), at)));
        assert_eq!(got.len(), given.len());
        for (got, given) in got.iter().zip(&given) {
            assert_eq!(got.partition, given.partition);
            assert_eq!(got.records, given.records);
        }
        let schema = got[0].records.schema();
        assert!(is_json(schema.field(1)) && schema.field(1).is_nullable());
        assert!(!is_json(schema.field(0)));
        assert!(got[4].records.column(1).as_string::<i32>().is_null(0));
    }

    #[test]
    fn rows_wait_as_long_as_writing_them_takes_a_tenth_of_the_run() {
        let mut backlog = backlog();
        backlog.push(&batch(0, 4)).expect("there is room");
        // In less than a tenth of a second.
        assert!((1..100).contains(&backlog.bytes()));
        assert!(backlog.may_wait(Duration::ZERO));
        backlog.push(&batch(0, 1_000)).expect("there is room");
        // Nothing but what is shown of the columns counts.
        let bytes = backlog.bytes();
        let offsets_and_numbers = 1_001 * 4 + 1_000 * 8;
        assert!((offsets_and_numbers..30_000).contains(&bytes), "{bytes}");
        // A thousandth of the bytes is the seconds.
        let enough = Duration::from_millis(bytes * 10);
        assert!(backlog.may_wait(enough + Duration::from_millis(1)));
        assert!(!backlog.may_wait(enough - Duration::from_millis(1)));
        let mut part = batch(0, 1_000);
        part.records = part.records.slice(0, 1);
        backlog.push(&part).expect("there is room");
        assert!(backlog.bytes() - bytes < 100, "{}", backlog.bytes());
    }

    #[test]
    fn batches_of_other_columns_do_not_fit() {
        let backlog = backlog();
        assert!(backlog.fits(&batch(0, 1)));
        let mut other = batch(0, 1);
        other.records = other.records.project(&[0]).expect("it has that");
        assert!(!backlog.fits(&other));
    }
}
