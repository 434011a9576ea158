//! The table functions through which DuckDB reads rows of ours.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use duckdb::Connection;
use duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use duckdb::vtab::{BindInfo, InitInfo, TableFunctionInfo, VTab, to_duckdb_logical_type_for_field};
use mixflow_core::Result;
use mixflow_core::batch::is_json;

use crate::memory::MOST_THREADS;
use crate::open::failed;
use crate::queue::Queue;
use crate::vectors::fill;

/// What DuckDB can read from, by number. A function of a database has no other
/// way to a value of ours than through what is global.
static FEEDS: Mutex<BTreeMap<u64, Arc<Feed>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Rows that DuckDB's threads take.
pub(crate) struct Feed {
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Queue,
    /// Whether the end of the queue is the end of the rows; else the run has
    /// given up, and so must the `INSERT`.
    pub(crate) is_whole: Arc<AtomicBool>,
}

fn feeds() -> MutexGuard<'static, BTreeMap<u64, Arc<Feed>>> {
    FEEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A feed that DuckDB can read from until this is dropped.
pub(crate) struct Offered {
    number: u64,
}

impl Offered {
    pub(crate) fn new(feed: Feed) -> Offered {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        feeds().insert(number, Arc::new(feed));
        Offered { number }
    }

    /// Returns the call by which so many threads read it.
    pub(crate) fn call(&self, threads: u64) -> String {
        format!("{}({})", function(threads), self.number)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        feeds().remove(&self.number);
    }
}

/// Makes the table functions known to a database, one for each number of
/// threads: what is said of a feed when it is read comes too late for that.
pub(crate) fn register(connection: &Connection) -> Result<()> {
    connection
        .register_table_function::<Rows<1>>(&function(1))
        .and_then(|()| connection.register_table_function::<Rows<2>>(&function(2)))
        .and_then(|()| connection.register_table_function::<Rows<3>>(&function(3)))
        .and_then(|()| {
            connection.register_table_function::<Rows<MOST_THREADS>>(&function(MOST_THREADS))
        })
        .map_err(failed("make DuckDB read rows"))
}

/// Returns the table function for so many threads, whose argument is a feed's
/// number.
fn function(threads: u64) -> String {
    format!("mixflow_rows_by_{threads}")
}

/// The table function for so many threads.
struct Rows<const THREADS: u64>;

impl<const THREADS: u64> VTab for Rows<THREADS> {
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
        init.set_max_threads(THREADS);
        Ok(())
    }

    fn func(
        function: &TableFunctionInfo<Self>,
        output: &mut DataChunkHandle,
    ) -> Result<(), Box<dyn StdError>> {
        let feed = function.get_bind_data();
        match feed.rows.next() {
            Some(records) => fill(output, &records),
            None if feed.is_whole.load(Ordering::Acquire) => {
                output.set_len(0);
                Ok(())
            }
            None => Err("the run gave up".into()),
        }
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::UBigint)])
    }
}
