//! Rows that DuckDB takes for itself, with all of its threads.
//!
//! An appender is the work of one thread, which copies, compresses and writes.
//! Instead, one `INSERT … SELECT` reads from a table function that hands out
//! the batches of a bounded queue, on a thread that has the connection until
//! the rows end. Whoever fills the queue waits while it is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Sender, bounded};
use mixflow_core::{Error, ErrorKind, Result};

use crate::database::Database;
use crate::open::failed;
use crate::queue::Queue;
use crate::rows::{Feed, Offered};
use crate::sql::quoted;

/// Rows that DuckDB takes at once: its `STANDARD_VECTOR_SIZE`.
const CHUNK_ROWS: usize = 2_048;

/// Batches that wait to be taken: enough that nobody waits for a thread to be
/// woken, and a few megabytes of usual events.
const QUEUED: usize = 4;

/// Executes an `INSERT` by so many threads, of which this one is one.
///
/// Where DuckDB has more, others may do all of the work, and the thread that has
/// asked for it looks for some without a pause: of a run of a million events with
/// 25 columns that took 27 % of the CPU, and a run that waits for its server kept
/// a core busy.
fn by_threads(database: &Database, threads: u64, insert: &str) -> duckdb::Result<usize> {
    let alone = database.is_alone();
    if alone && let Err(error) = database.execute_batch(&format!("SET threads = {threads}")) {
        log::debug!("DuckDB takes rows by as many threads as it likes: {error}");
    }
    let inserted = database.execute(insert, []);
    if alone && let Err(error) = database.execute_batch("RESET threads") {
        // It has failed, and goes.
        log::debug!("DuckDB goes on with {threads} threads: {error}");
    }
    inserted
}

/// An `INSERT` that goes on, on a thread which has the database meanwhile.
pub(crate) struct Pull {
    queue: Sender<RecordBatch>,
    is_closed: Arc<AtomicBool>,
    is_whole: Arc<AtomicBool>,
    thread: JoinHandle<(Database, duckdb::Result<usize>)>,
    threads: u64,
    rows: usize,
}

impl Pull {
    /// Begins to insert rows of `schema` into a table, by so many threads; one
    /// keeps their order.
    ///
    /// An error takes the database with it, which rolls back.
    pub(crate) fn begin(
        database: Database,
        table: &str,
        schema: &SchemaRef,
        threads: u64,
    ) -> Result<Pull> {
        let (queue, rows) = bounded(QUEUED);
        let is_closed = Arc::new(AtomicBool::new(false));
        let is_whole = Arc::new(AtomicBool::new(false));
        let feed = Feed {
            schema: schema.clone(),
            rows: Queue::new(rows, Arc::clone(&is_closed)),
            is_whole: Arc::clone(&is_whole),
        };
        let offered = Offered::new(feed);
        let columns = schema.fields().iter().map(|field| quoted(field.name()));
        let insert = format!(
            "INSERT INTO {} ({}) SELECT * FROM {}",
            quoted(table),
            columns.collect::<Vec<_>>().join(", "),
            offered.call(threads)
        );
        let thread = thread::Builder::new()
            .name("mixflow-duckdb".to_owned())
            .spawn(move || {
                let inserted = by_threads(&database, threads, &insert);
                // What waits in the queue goes, and whoever fills it is told.
                drop(offered);
                (database, inserted)
            })
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot start a thread for DuckDB").with_source(error)
            })?;
        Ok(Pull {
            queue,
            is_closed,
            is_whole,
            thread,
            threads,
            rows: 0,
        })
    }

    /// Returns how many threads take the rows.
    pub(crate) fn threads(&self) -> u64 {
        self.threads
    }

    /// Hands rows over; waits while DuckDB has enough. Returns whether it
    /// still takes any: if not, [`end`](Pull::end) says why.
    pub(crate) fn push(&mut self, records: &RecordBatch) -> bool {
        for from in (0..records.num_rows()).step_by(CHUNK_ROWS) {
            let rows = CHUNK_ROWS.min(records.num_rows() - from);
            if self.queue.send(records.slice(from, rows)).is_err() {
                return false;
            }
            self.rows += rows;
        }
        true
    }

    /// Ends the rows, waits until all are in the table, and returns the
    /// database.
    pub(crate) fn end(self, what: &str) -> (Option<Database>, Result<()>) {
        self.is_whole.store(true, Ordering::Release);
        let rows = self.rows;
        let (database, inserted) = self.join(what);
        let checked = inserted.and_then(|inserted| {
            if inserted == rows {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Other, format!("cannot {what}"))
                .because(format!("DuckDB took {inserted} of {rows} rows")))
        });
        (database, checked)
    }

    /// Gives up: the `INSERT` fails, and with it the transaction. Returns the
    /// database.
    pub(crate) fn stop(self) -> Option<Database> {
        self.join("end an INSERT").0
    }

    fn join(self, what: &str) -> (Option<Database>, Result<usize>) {
        self.is_closed.store(true, Ordering::Release);
        drop(self.queue);
        match self.thread.join() {
            Ok((database, inserted)) => (Some(database), inserted.map_err(failed(what))),
            // With the database, which has rolled back.
            Err(_) => {
                let error = Error::new(ErrorKind::Panic, format!("cannot {what}"))
                    .because("the thread that waits for DuckDB panicked");
                (None, Err(error))
            }
        }
    }
}
