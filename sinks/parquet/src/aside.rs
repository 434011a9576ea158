//! The columns of a row group that another thread encodes, if one is idle.

use std::mem::take;
use std::sync::Arc;

use arrow::array::RecordBatch;
use mixflow_core::Error;
use parquet::errors::{ParquetError, Result};

use crate::columns::Columns;
use crate::encoders::{Answer, Encoders};

/// Bytes of rows that may wait for the thread, which has at most as many and a batch
/// itself. Of events, two batches.
///
/// Pages are compressed every other batch or so, which evens out: a million events take
/// 0.56 s. A batch at a time they take 0.63 s, and with 4 MB, out of the cache, 0.59 s.
const WAITING: usize = 1 << 20;

/// Fewer bytes are encoded in less time than it takes to wake a thread.
const WORTH_IT: usize = 64 << 10;

/// Columns that are here, or away with a thread that encodes rows of them.
///
/// Only one thread has them at a time, so that rows are encoded in their order and
/// the file has the bytes that one thread alone would write. Without an idle thread
/// they are encoded here: where several threads write files, each has work of its own.
#[derive(Debug)]
pub(crate) struct Aside {
    encoders: Arc<Encoders>,
    places: Vec<usize>,
    /// None while they are away, and after an error.
    columns: Option<Columns>,
    away: Option<Away>,
    waiting: Rows,
}

#[derive(Debug)]
struct Away {
    answer: Answer<Result<Columns>>,
    /// What columns held when they left, and what the rows do that left with them.
    memory: usize,
    rows: usize,
}

/// Rows that are not encoded yet.
#[derive(Debug, Default)]
struct Rows {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Aside {
    pub(crate) fn new(columns: Columns, encoders: Arc<Encoders>) -> Aside {
        Aside {
            encoders,
            places: columns.places(),
            columns: Some(columns),
            away: None,
            waiting: Rows::default(),
        }
    }

    /// Has rows encoded. Waits if there are too many already; an error comes with a
    /// later call.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.waiting.add(rows.project(&self.places)?);
        if self.waiting.bytes < WAITING {
            self.look()?;
        } else {
            self.fetch()?;
        }
        if self.away.is_none() {
            self.encode()?;
        }
        Ok(())
    }

    /// Returns the bytes that are held: rows that are not encoded count twice, as they
    /// are and as if they were.
    pub(crate) fn memory(&self) -> usize {
        let here = self.columns.as_ref().map_or(0, Columns::memory);
        let away = self.away.as_ref().map_or(0, |away| away.memory);
        let rows = self.away.as_ref().map_or(0, |away| away.rows) + self.waiting.bytes;
        here + away + 2 * rows
    }

    /// Waits until all rows are encoded.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.fetch()?;
        let columns = self.take()?;
        self.columns = Some(take(&mut self.waiting).encode(columns)?);
        Ok(())
    }

    /// Waits until all rows are encoded, and returns the columns.
    pub(crate) fn into_columns(mut self) -> Result<Columns> {
        self.settle()?;
        self.take()
    }

    /// Has all rows that wait encoded, by another thread if it is worth it.
    fn encode(&mut self) -> Result<()> {
        let columns = self.take()?;
        let rows = take(&mut self.waiting);
        let worth_it = rows.bytes >= WORTH_IT;
        match worth_it.then(|| self.encoders.idle()).flatten() {
            Some(encoder) => {
                self.away = Some(Away {
                    memory: columns.memory(),
                    rows: rows.bytes,
                    answer: encoder.start(move || rows.encode(columns)),
                });
            }
            None => self.columns = Some(rows.encode(columns)?),
        }
        Ok(())
    }

    /// Takes the columns back if their thread is done.
    fn look(&mut self) -> Result<()> {
        let ready = self.away.as_ref().and_then(|away| away.answer.ready());
        ready.map_or(Ok(()), |answer| self.come_back(answer))
    }

    /// Waits until the columns are here.
    fn fetch(&mut self) -> Result<()> {
        let answer = self.away.as_ref().map(|away| away.answer.wait());
        answer.map_or(Ok(()), |answer| self.come_back(answer))
    }

    fn come_back(&mut self, answer: mixflow_core::Result<Result<Columns>>) -> Result<()> {
        self.away = None;
        self.columns = Some(answer.map_err(external)??);
        Ok(())
    }

    fn take(&mut self) -> Result<Columns> {
        let gone = || ParquetError::General("columns were lost by an earlier error".to_owned());
        self.columns.take().ok_or_else(gone)
    }
}

fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl Rows {
    fn add(&mut self, rows: RecordBatch) {
        // All that is kept for the sake of these rows, even if they are a part of it.
        self.bytes += rows.get_array_memory_size();
        self.batches.push(rows);
    }

    /// One batch after the other, as the pages of a column end with a batch or 1,024 rows
    /// of it.
    fn encode(self, mut columns: Columns) -> Result<Columns> {
        for rows in self.batches {
            columns.write(&rows)?;
        }
        Ok(columns)
    }
}
