//! Rows that DuckDB takes for itself, with all of its threads.
//!
//! An appender is the work of one thread, which copies, compresses and writes.
//! Instead, one `INSERT … SELECT` reads from a table function that hands out
//! the batches of a bounded queue, on a thread that has the connection until
//! the rows end. Whoever fills the queue waits while it is full.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use crossbeam::channel::{Receiver, Sender, bounded};
use duckdb::Connection;
use duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use duckdb::vtab::{
    BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk,
    to_duckdb_logical_type_for_field,
};
use mixflow_core::batch::is_json;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::quoted;
use crate::database::Database;
use crate::memory::most_threads;
use crate::open::failed;

/// Rows that DuckDB takes at once: its `STANDARD_VECTOR_SIZE`.
const CHUNK_ROWS: usize = 2_048;

/// Batches that wait to be taken: enough that nobody waits for a thread to be
/// woken, and a few megabytes of usual events.
const QUEUED: usize = 4;

/// What DuckDB can read from, by number. A function of a database has no other
/// way to a value of ours than through what is global.
static FEEDS: Mutex<BTreeMap<u64, Arc<Feed>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The end of a queue that DuckDB's threads take rows from.
struct Feed {
    schema: SchemaRef,
    rows: Receiver<RecordBatch>,
    /// Whether the end of the queue is the end of the rows; else the run has
    /// given up, and so must the `INSERT`.
    is_whole: Arc<AtomicBool>,
}

fn feeds() -> MutexGuard<'static, BTreeMap<u64, Arc<Feed>>> {
    FEEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the table functions known to a database.
pub(crate) fn register(connection: &Connection) -> Result<()> {
    let (any, kept) = (Order::Any.function(), Order::Kept.function());
    connection
        .register_table_function::<Rows<true>>(any)
        .and_then(|()| connection.register_table_function::<Rows<false>>(kept))
        .map_err(failed("make DuckDB read rows"))
}

/// How the rows of a table are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By all threads, in any order.
    Any,
    /// By one thread, in the order they come.
    Kept,
}

impl Order {
    /// Returns the table function, whose argument is a feed's number.
    fn function(self) -> &'static str {
        match self {
            Order::Any => "mixflow_rows",
            Order::Kept => "mixflow_rows_in_order",
        }
    }
}

/// An `INSERT` that goes on, on a thread which has the database meanwhile.
pub(crate) struct Pull {
    queue: Sender<RecordBatch>,
    is_whole: Arc<AtomicBool>,
    thread: JoinHandle<(Database, duckdb::Result<usize>)>,
    order: Order,
    rows: usize,
}

impl Pull {
    /// Begins to insert rows of `schema` into a table.
    ///
    /// An error takes the database with it, which rolls back.
    pub(crate) fn begin(
        database: Database,
        table: &str,
        schema: &SchemaRef,
        order: Order,
    ) -> Result<Pull> {
        let (queue, rows) = bounded(QUEUED);
        let is_whole = Arc::new(AtomicBool::new(false));
        let feed = Feed {
            schema: schema.clone(),
            rows,
            is_whole: Arc::clone(&is_whole),
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        feeds().insert(number, Arc::new(feed));
        let columns = schema.fields().iter().map(|field| quoted(field.name()));
        let insert = format!(
            "INSERT INTO {} ({}) SELECT * FROM {}({number})",
            quoted(table),
            columns.collect::<Vec<_>>().join(", "),
            order.function()
        );
        let thread = thread::Builder::new()
            .name("mixflow-duckdb".to_owned())
            .spawn(move || {
                let inserted = database.execute(&insert, []);
                // What waits in the queue goes, and whoever fills it is told.
                feeds().remove(&number);
                (database, inserted)
            })
            .map_err(|error| {
                feeds().remove(&number);
                Error::new(ErrorKind::Io, "cannot start a thread for DuckDB").with_source(error)
            })?;
        Ok(Pull {
            queue,
            is_whole,
            thread,
            order,
            rows: 0,
        })
    }

    /// Returns how the rows are taken.
    pub(crate) fn order(&self) -> Order {
        self.order
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

/// The table function, for one thread or for all.
struct Rows<const PARALLEL: bool>;

impl<const PARALLEL: bool> VTab for Rows<PARALLEL> {
    type BindData = Arc<Feed>;
    type InitData = ();

    fn bind(bind: &BindInfo) -> Result<Arc<Feed>, Box<dyn StdError>> {
        let number = bind.get_parameter(0).to_uint64();
        let feed = feeds().get(&number).cloned();
        let feed = feed.ok_or("only a run of mixflow has such rows")?;
        for field in feed.schema.fields() {
            let mut kind = to_duckdb_logical_type_for_field(field)?;
            if is_json(field) {
                // A text would be parsed when it is cast.
                kind.set_alias("JSON");
            }
            bind.add_result_column(field.name(), kind);
        }
        Ok(feed)
    }

    fn init(init: &InitInfo) -> Result<(), Box<dyn StdError>> {
        if PARALLEL {
            init.set_max_threads(most_threads());
        }
        Ok(())
    }

    fn func(
        function: &TableFunctionInfo<Self>,
        output: &mut DataChunkHandle,
    ) -> Result<(), Box<dyn StdError>> {
        let feed = function.get_bind_data();
        match feed.rows.recv() {
            Ok(records) => record_batch_to_duckdb_data_chunk(&records, output),
            Err(_) if feed.is_whole.load(Ordering::Acquire) => {
                output.set_len(0);
                Ok(())
            }
            Err(_) => Err("the run gave up".into()),
        }
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::UBigint)])
    }
}
