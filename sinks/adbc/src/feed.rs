//! Rows on their way into a driver, and what became of them.
//!
//! A driver pulls rows from an Arrow stream, on a thread that has the statement
//! until they end. What it says afterwards is not relied upon: some report
//! success when the stream has failed in the middle. So the stream counts what
//! it gives, and remembers whether it came to its end; whoever commits counts
//! the rows in the database besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use adbc_core::CancelHandle;
use adbc_core::Statement as _;
use adbc_core::error::Result as AdbcResult;
use adbc_driver_manager::ManagedStatement;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use crossbeam::channel::{Receiver, Sender, bounded};
use mixflow_core::{Error, ErrorKind, Result};

use crate::failure::Secrets;

/// Batches that wait to be taken: a few megabytes of usual events.
const QUEUED: usize = 4;

/// What is known of a stream, whatever its reader says.
#[derive(Debug, Default)]
struct Latch {
    /// Whether all rows were put in, which is set before the stream may end.
    is_whole: AtomicBool,
    /// Whether the reader has seen the end.
    has_ended: AtomicBool,
    /// Rows that the reader was given.
    given: AtomicU64,
}

/// The stream that a driver reads.
struct Feed {
    schema: SchemaRef,
    rows: Receiver<RecordBatch>,
    latch: Arc<Latch>,
    is_over: bool,
}

impl Iterator for Feed {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        if self.is_over {
            return None;
        }
        if let Ok(batch) = self.rows.recv() {
            let rows = batch.num_rows() as u64;
            self.latch.given.fetch_add(rows, Ordering::AcqRel);
            return Some(Ok(batch));
        }
        self.is_over = true;
        if self.latch.is_whole.load(Ordering::Acquire) {
            self.latch.has_ended.store(true, Ordering::Release);
            return None;
        }
        Some(Err(ArrowError::ExternalError(
            "the run was given up before all rows were there".into(),
        )))
    }
}

impl RecordBatchReader for Feed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Rows that go into a table, on a thread of their own.
pub(crate) struct Ingest {
    queue: Sender<RecordBatch>,
    latch: Arc<Latch>,
    thread: JoinHandle<AdbcResult<Option<i64>>>,
    cancel: Box<dyn CancelHandle>,
    sent: u64,
}

impl Ingest {
    /// Begins to hand rows of `schema` to a statement that takes them.
    pub(crate) fn begin(mut statement: ManagedStatement, schema: SchemaRef) -> Result<Ingest> {
        let (queue, rows) = bounded(QUEUED);
        let latch = Arc::new(Latch::default());
        let feed = Feed {
            schema,
            rows,
            latch: Arc::clone(&latch),
            is_over: false,
        };
        let cancel = statement.get_cancel_handle();
        let thread = thread::Builder::new()
            .name("mixflow-adbc".to_owned())
            .spawn(move || {
                statement.bind_stream(Box::new(feed))?;
                let taken = statement.execute_update();
                // The stream goes, and whoever fills the queue is told.
                drop(statement);
                taken
            })
            .map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    "cannot start a thread for the database driver",
                )
                .with_source(error)
            })?;
        Ok(Ingest {
            queue,
            latch,
            thread,
            cancel,
            sent: 0,
        })
    }

    /// Hands rows over; waits while the driver has enough. Returns whether it
    /// still takes any: if not, [`end`](Ingest::end) says why.
    pub(crate) fn push(&mut self, records: RecordBatch) -> bool {
        let rows = records.num_rows() as u64;
        if rows > 0 && self.queue.send(records).is_err() {
            return false;
        }
        self.sent += rows;
        true
    }

    /// Ends the rows and waits until the driver says that it has taken them;
    /// returns how many there were.
    ///
    /// Fails if it says so, and also if it says otherwise but has not read all
    /// of them, or speaks of another number.
    pub(crate) fn end(self, what: &str, secrets: &Secrets) -> Result<u64> {
        self.latch.is_whole.store(true, Ordering::Release);
        self.finish(what, secrets)
    }

    /// Gives up: the stream fails, and what the driver then says is of no
    /// interest.
    pub(crate) fn stop(self) {
        // One that waits for its database would wait for long.
        let (cancel, latch) = (self.cancel, self.latch);
        drop(self.queue);
        if !self.thread.is_finished() {
            let _ = cancel.try_cancel();
        }
        let _ = self.thread.join();
        drop(latch);
    }

    fn finish(self, what: &str, secrets: &Secrets) -> Result<u64> {
        let Ingest {
            queue,
            latch,
            thread,
            sent,
            ..
        } = self;
        drop(queue);
        let told = thread.join().map_err(|payload| {
            Error::panicked("the database driver", &*payload).context(format!("cannot {what}"))
        })?;
        let told = told.map_err(secrets.failed(what))?;
        let given = latch.given.load(Ordering::Acquire);
        let wrong = |why: String| {
            Error::new(ErrorKind::Other, format!("cannot {what}"))
                .because(why)
                .hint("use another version of the driver: what this one says cannot be relied upon")
        };
        if !latch.has_ended.load(Ordering::Acquire) || given != sent {
            return Err(wrong(format!(
                "the driver speaks of success, but it has read {given} of {sent} rows, and not the end"
            )));
        }
        match told.and_then(|told| u64::try_from(told).ok()) {
            // Some do not count.
            None => Ok(sent),
            Some(told) if told == sent => Ok(sent),
            Some(told) => Err(wrong(format!(
                "the driver speaks of {told} rows, and was given {sent}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use adbc_core::options::{IngestMode, OptionStatement};
    use adbc_core::{Connection as _, Database as _, Driver as _, Optionable as _};
    use adbc_driver_manager::ManagedConnection;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// A DuckDB in memory with an empty table; `None` where its library is not.
    fn table() -> Option<ManagedConnection> {
        let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.libduckdb/libduckdb.so");
        if !library.exists() {
            return None;
        }
        let mut driver = crate::driver::load(library.to_str()?).expect("it is a driver");
        let database = driver.new_database().expect("in memory");
        let mut connection = database.new_connection().expect("a connection");
        let mut create = connection.new_statement().expect("a statement");
        create
            .set_sql_query("CREATE TABLE t (n BIGINT)")
            .expect("SQL");
        create.execute_update().expect("it is made");
        Some(connection)
    }

    fn begun(connection: &mut ManagedConnection) -> Ingest {
        let mut statement = connection.new_statement().expect("a statement");
        let append = IngestMode::Append.into();
        for (option, value) in [
            (OptionStatement::TargetTable, "t".into()),
            (OptionStatement::IngestMode, append),
        ] {
            statement.set_option(option, value).expect("an option");
        }
        let column = Field::new("n", DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![column]));
        Ingest::begin(statement, schema).expect("a thread")
    }

    fn rows(ingest: &mut Ingest, n: i64) {
        let column = Arc::new(Int64Array::from_iter_values(0..n));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).expect("they fit");
        assert!(ingest.push(batch));
    }

    fn count(connection: &mut ManagedConnection) -> i64 {
        use arrow::array::AsArray as _;

        let mut ask = connection.new_statement().expect("a statement");
        ask.set_sql_query("SELECT count(*) FROM t").expect("SQL");
        let batch = ask.execute().expect("an answer").next().expect("a row");
        let batch = batch.expect("a row");
        batch
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .value(0)
    }

    /// DuckDB takes the error of a stream for its end, and says that all is well.
    #[test]
    fn a_driver_that_hides_the_error_of_a_stream_is_found_out() {
        let Some(mut connection) = table() else {
            return;
        };
        let mut ingest = begun(&mut connection);
        rows(&mut ingest, 1_000);
        // As when the run dies: the stream fails, and the driver says nothing.
        let error = ingest
            .finish("write", &Secrets::default())
            .expect_err("it lies");
        assert_eq!(
            error.causes(),
            ["the driver speaks of success, but it has read 1000 of 1000 rows, and not the end"]
        );
        assert_eq!(
            count(&mut connection),
            1_000,
            "the driver has written them all the same"
        );
    }

    #[test]
    fn a_stream_that_ends_well_has_given_what_was_put_in() {
        let Some(mut connection) = table() else {
            return;
        };
        let mut ingest = begun(&mut connection);
        for _ in 0..10 {
            rows(&mut ingest, 1_000);
        }
        let taken = ingest
            .end("write", &Secrets::default())
            .expect("all is well");
        assert_eq!(taken, 10_000);
        assert_eq!(count(&mut connection), 10_000);
    }

    #[test]
    fn rows_for_a_table_that_is_gone_are_an_error() {
        let Some(mut connection) = table() else {
            return;
        };
        let mut drop_it = connection.new_statement().expect("a statement");
        drop_it.set_sql_query("DROP TABLE t").expect("SQL");
        drop_it.execute_update().expect("it is gone");
        let mut ingest = begun(&mut connection);
        rows(&mut ingest, 1);
        let error = ingest
            .end("write", &Secrets::default())
            .expect_err("no table");
        assert!(error.causes()[0].contains('t'), "{error:?}");
    }
}
