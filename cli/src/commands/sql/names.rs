//! The names that the shell completes: tables, columns, properties.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mixflow::catalog_of;
use mixflow_core::Result;
use mixflow_sink_duckdb::{Store, quoted};

/// The catalogue of a table of more rows than these takes longer than typing.
const WHOLE: u64 = 200_000;

/// Rows that are looked at then, of the first and of the last.
const SOME: u64 = 20_000;

/// What there is to be completed.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Tables and columns.
    pub(super) names: Vec<String>,
    pub(super) properties: Vec<String>,
}

/// Names that come while a person types already.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<Known>>);

/// Looks for names until it is dropped.
///
/// A thread that asks DuckDB while the process ends, and with it what DuckDB stands on,
/// crashed once: the shell was left in its first half second.
pub(super) struct Looking {
    thread: Option<JoinHandle<()>>,
    /// Ends what the database is asked.
    interrupt: Arc<OnceLock<Interrupt>>,
}

type Interrupt = Box<dyn Fn() + Send + Sync>;

impl Drop for Looking {
    fn drop(&mut self) {
        let Some(thread) = &self.thread else {
            return;
        };
        // One question may have ended just now, and the next one not begun.
        while !thread.is_finished() {
            if let Some(interrupt) = self.interrupt.get() {
                interrupt();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Names {
    /// Looks for the names of a database, on a thread of its own. Without them
    /// nothing is completed, which is not worth an error.
    pub(super) fn looked_for(path: PathBuf) -> (Names, Looking) {
        let names = Names::default();
        let interrupt = Arc::default();
        let (found, may_interrupt) = (names.clone(), Arc::clone(&interrupt));
        let thread = std::thread::Builder::new().name("mixflow-names".to_owned());
        let started = thread.spawn(move || {
            if let Err(error) = found.look(&path, &may_interrupt) {
                log::info!("cannot complete names: {}", error.in_a_line());
            }
        });
        let thread = started
            .inspect_err(|error| log::info!("cannot complete names: {error}"))
            .ok();
        (names, Looking { thread, interrupt })
    }

    /// Calls `look` with what is known by now.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, add: impl FnOnce(&mut Vec<String>, &mut Vec<String>)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { names, properties } = &mut *known;
        add(names, properties);
        for list in [names, properties] {
            list.sort();
            list.dedup();
        }
    }

    fn look(&self, path: &PathBuf, interrupt: &OnceLock<Interrupt>) -> Result<()> {
        let store = Store::open_for_queries(path, None)?;
        interrupt.get_or_init(|| Box::new(store.interrupter()));
        let tables = store.list_tables()?;
        let mut with_properties = Vec::new();
        for table in &tables {
            let columns = store.schema(&table.table_name)?;
            if columns
                .iter()
                .any(|column| column.column_name == "properties")
            {
                with_properties.push(table);
            }
            self.add(|names, _| {
                names.push(table.table_name.clone());
                names.extend(columns.into_iter().map(|column| column.column_name));
            });
        }
        for table in with_properties {
            let rows = table.row_count.unwrap_or_default();
            let properties = match rows {
                0..=WHOLE => {
                    let catalog = catalog_of(&store, &table.table_name, None)?;
                    catalog
                        .properties
                        .into_iter()
                        .map(|one| one.property)
                        .collect()
                }
                rows => of_some(&store, &table.table_name, rows)?,
            };
            self.add(|_, known| known.extend(properties));
        }
        Ok(())
    }
}

/// Returns the properties of the first and the last rows of a table.
fn of_some(store: &Store, table: &str, rows: u64) -> Result<Vec<String>> {
    let (table, last) = (quoted(table), rows.saturating_sub(SOME));
    let keys: Vec<(String,)> = store.rows(&format!(
        "SELECT DISTINCT unnest(json_keys(properties)) FROM (\
         (SELECT properties FROM {table} LIMIT {SOME}) UNION ALL \
         (SELECT properties FROM {table} LIMIT {SOME} OFFSET {last})) \
         WHERE json_type(properties) = 'OBJECT'"
    ))?;
    Ok(keys.into_iter().map(|(key,)| key).collect())
}
