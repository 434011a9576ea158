//! Which properties a table has, and what is in them.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Date32Type;
use crossbeam::channel::{Receiver, bounded};
use mixflow_core::suggest::did_you_mean;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::{Store, quoted};
use mixflow_transforms::{Catalog, Census};

/// The column of properties.
const PROPERTIES: &str = "properties";

/// The columns that a row's day may be told by.
const TIMES: [&str; 2] = ["event_time", "last_seen"];

/// More threads than these would wait for DuckDB.
const MOST_THREADS: usize = 4;

/// Returns every property of a table: the keys of its JSON column `properties`,
/// at the top level. With `event`, those of the events of that name.
///
/// Reads that column once, in batches. Memory is bounded, whatever the table
/// holds: of more than
/// [`MOST_PROPERTIES`](mixflow_transforms::MOST_PROPERTIES) those that come first
/// are kept. Days are in UTC, by `event_time` or `last_seen`.
///
/// Fails with [`ErrorKind::TableNotFound`] if there is no such table, with
/// [`ErrorKind::Destination`] if it has no column `properties` of JSON, and with
/// [`ErrorKind::Query`] if it has no event of that name.
///
/// ```
/// use mixflow::Store;
///
/// let store = Store::ephemeral()?;
/// # store.connection()?.execute_batch("CREATE TABLE events AS SELECT 'Sign Up' AS event_name, '{\"plan\":\"pro\",\"n\":1}'::JSON AS properties").unwrap();
/// let catalog = mixflow::catalog_of(&store, "events", None)?;
/// let plan = catalog.properties.iter().find(|one| one.property == "plan");
/// assert_eq!(plan.map(|plan| plan.fill), Some(1.0));
/// # Ok::<_, mixflow::Error>(())
/// ```
pub fn catalog_of(store: &Store, table: &str, event: Option<&str>) -> Result<Catalog> {
    let table = store.table(table)?;
    let sql = question(store, &table, event)?;
    let mut query = store.query(&sql)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let catalog = counted(query.batches()?, threads.min(MOST_THREADS))?.finish();
    match event {
        Some(event) if catalog.rows == 0 => Err(no_such_event(store, &table, event)?),
        _ => Ok(catalog),
    }
}

/// Returns what is asked of DuckDB: the day and the properties of each row.
fn question(store: &Store, table: &str, event: Option<&str>) -> Result<String> {
    let columns = store.schema(table)?;
    let refused = |why: String| {
        let message = format!("cannot list the properties of `{table}`");
        Err(Error::new(ErrorKind::Destination, message).because(why))
    };
    let type_of = |name: &str| {
        let mut columns = columns.iter();
        let found = columns.find(|column| column.column_name.eq_ignore_ascii_case(name));
        found.map(|column| column.column_type.as_str())
    };
    match type_of(PROPERTIES) {
        None => return refused(format!("it has no column `{PROPERTIES}`")),
        Some("JSON" | "VARCHAR") => {}
        Some(other) => return refused(format!("its column `{PROPERTIES}` is {other}, not JSON")),
    }
    let day = TIMES.iter().find_map(|name| match type_of(name)? {
        // A cast would need ICU, and go by the machine's zone.
        "TIMESTAMP WITH TIME ZONE" => Some(format!("make_timestamp(epoch_us({name}))")),
        kind => kind.starts_with("TIMESTAMP").then(|| (*name).to_owned()),
    });
    let day = day.unwrap_or_else(|| "NULL".to_owned());
    let mut sql = format!(
        "SELECT {day}::DATE AS day, {PROPERTIES}::VARCHAR AS properties FROM {}",
        quoted(table)
    );
    if let Some(event) = event {
        if type_of("event_name").is_none() {
            return refused("it has no column `event_name`".to_owned());
        }
        sql += &format!(" WHERE event_name = '{}'", event.replace('\'', "''"));
    }
    Ok(sql)
}

/// Counts the rows of the batches on several threads.
fn counted(batches: impl Iterator<Item = Result<RecordBatch>>, threads: usize) -> Result<Census> {
    // Nothing waits: 2,000 rows of 17 KB are 35 MB, and DuckDB reads ahead itself.
    let (send, receive) = bounded(0);
    let mut census = Census::default();
    std::thread::scope(|scope| {
        let start = |_| {
            let (census, receive) = (census.beside(), receive.clone());
            scope.spawn(|| count(census, receive))
        };
        let threads: Vec<_> = (0..threads).map(start).collect();
        // Theirs are all there are: if they are gone, nothing is sent any more.
        drop(receive);
        let mut row = 0;
        let mut sent = Ok(());
        for batch in batches {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    sent = Err(error);
                    break;
                }
            };
            let rows = batch.num_rows() as u64;
            if send.send((row, batch)).is_err() {
                // All of them have panicked, which is told below.
                break;
            }
            row += rows;
        }
        drop(send);
        for thread in threads {
            match thread.join() {
                Ok(part) => census.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sent
    })?;
    Ok(census)
}

/// Counts the batches that come, each with the number of its first row.
fn count(mut census: Census, batches: Receiver<(u64, RecordBatch)>) -> Census {
    for (first, batch) in batches {
        let days = batch.column(0).as_primitive_opt::<Date32Type>();
        let texts = batch.column(1).as_string::<i32>().iter();
        for (n, json) in texts.enumerate() {
            let day = days.filter(|days| days.is_valid(n));
            census.count(first + n as u64, day.map(|days| days.value(n)), json);
        }
    }
    census
}

/// Returns the error of an event that no row has.
fn no_such_event(store: &Store, table: &str, event: &str) -> Result<Error> {
    let sql = format!("SELECT DISTINCT event_name FROM {}", quoted(table));
    let known: Vec<(Option<String>,)> = store.rows(&sql)?;
    let known: Vec<&str> = known.iter().filter_map(|(name,)| name.as_deref()).collect();
    let message = format!("cannot list the properties of `{event}` in `{table}`");
    let hint = did_you_mean(event, &known);
    Ok(Error::new(ErrorKind::Query, message).because(format!("no event has that name{hint}")))
}
