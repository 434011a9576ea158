//! Rows of every destination in one form, and the model's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use mixflow_sink_duckdb::Store;
use mixflow_tests::sim::{EngageQuery, ExportQuery, Simulator, model};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::value::RawValue;

/// A normalised event as it stands in a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub event_time_us: i64,
    pub insert_id: String,
    pub event_name: String,
    pub distinct_id: String,
    pub properties: String,
}

/// A normalised profile as it stands in a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    pub distinct_id: String,
    pub last_seen_us: Option<i64>,
    pub properties: String,
}

/// Something that a row can be read as.
pub trait Row: Sized + Ord + std::fmt::Debug {
    const COLUMNS: &'static str;
    fn of_columns(batch: &RecordBatch, row: usize) -> Self;
    fn of_line(line: &str) -> Self;
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    let column = batch.column_by_name(column).unwrap();
    column.as_string::<i32>().value(row).to_owned()
}

fn micros(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(column).unwrap();
    let column = column.as_primitive::<TimestampMicrosecondType>();
    column.is_valid(row).then(|| column.value(row))
}

fn micros_of(text: &str) -> i64 {
    assert!(text.ends_with('Z'), "{text} is not in UTC");
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

impl Row for Event {
    const COLUMNS: &'static str = "event_name, event_time, distinct_id, insert_id, properties";

    fn of_columns(batch: &RecordBatch, row: usize) -> Event {
        Event {
            event_time_us: micros(batch, "event_time", row).unwrap(),
            insert_id: text(batch, "insert_id", row),
            event_name: text(batch, "event_name", row),
            distinct_id: text(batch, "distinct_id", row),
            properties: text(batch, "properties", row),
        }
    }

    fn of_line(line: &str) -> Event {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line<'a> {
            event_name: String,
            event_time: String,
            distinct_id: String,
            insert_id: String,
            #[serde(borrow)]
            properties: &'a RawValue,
        }
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        Event {
            event_time_us: micros_of(&line.event_time),
            insert_id: line.insert_id,
            event_name: line.event_name,
            distinct_id: line.distinct_id,
            properties: line.properties.get().to_owned(),
        }
    }
}

impl Row for Profile {
    const COLUMNS: &'static str = "distinct_id, last_seen, properties";

    fn of_columns(batch: &RecordBatch, row: usize) -> Profile {
        Profile {
            distinct_id: text(batch, "distinct_id", row),
            last_seen_us: micros(batch, "last_seen", row),
            properties: text(batch, "properties", row),
        }
    }

    fn of_line(line: &str) -> Profile {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line<'a> {
            distinct_id: String,
            last_seen: Option<String>,
            #[serde(borrow)]
            properties: &'a RawValue,
        }
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        Profile {
            distinct_id: line.distinct_id,
            last_seen_us: line.last_seen.as_deref().map(micros_of),
            properties: line.properties.get().to_owned(),
        }
    }
}

fn of_batches<R: Row>(batches: &[RecordBatch]) -> Vec<R> {
    let rows_of = |batch: &RecordBatch| -> Vec<R> {
        let rows = 0..batch.num_rows();
        rows.map(|row| R::of_columns(batch, row)).collect()
    };
    batches.iter().flat_map(rows_of).collect()
}

/// Asks a database.
pub fn answer(db: &Path, sql: &str) -> Vec<RecordBatch> {
    let store = Store::open_read_only(db).unwrap();
    let mut query = store.query(sql).unwrap();
    let batches = query.batches().unwrap();
    batches.map(Result::unwrap).collect()
}

/// Reads a table in the order in which it was written.
pub fn in_table<R: Row>(db: &Path, table: &str) -> Vec<R> {
    let sql = format!("SELECT {} FROM {table} ORDER BY rowid", R::COLUMNS);
    of_batches(&answer(db, &sql))
}

/// Reads lines.
pub fn in_lines<R: Row>(text: &[u8]) -> Vec<R> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(R::of_line).collect()
}

/// Reads a Parquet file, or a folder of them in the order of their names.
pub fn in_parquet<R: Row>(path: &Path) -> Vec<R> {
    if path.is_dir() {
        let mut inner: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            // As Spark, pyarrow and Hive do.
            .filter(|entry| !entry.file_name().to_str().unwrap().starts_with(['.', '_']))
            .map(|entry| entry.path())
            .collect();
        inner.sort();
        return inner.iter().flat_map(|path| in_parquet(path)).collect();
    }
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    of_batches(&batches)
}

/// Reads the rows of a Delta table as its log says, from the first commit on.
pub fn in_delta<R: Row>(path: &Path) -> Vec<R> {
    let (live, _) = delta_files(path);
    let files = live.iter().map(|file| -> PathBuf { path.join(file) });
    files.flat_map(|file| in_parquet(&file)).collect()
}

/// Returns the files that a Delta table consists of, and all that it ever did.
pub fn delta_files(path: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut live, mut ever) = (BTreeSet::new(), BTreeSet::new());
    for n in 0.. {
        let commit = path.join(format!("_delta_log/{n:020}.json"));
        let Ok(text) = std::fs::read_to_string(commit) else {
            break;
        };
        for line in text.lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let file = |action: &serde_json::Value| action["path"].as_str().map(str::to_owned);
            if let Some(gone) = file(&action["remove"]) {
                live.remove(&gone);
            }
            if let Some(new) = file(&action["add"]) {
                ever.insert(new.clone());
                live.insert(new);
            }
        }
    }
    (live, ever)
}

/// Reads the events at `path`, sorted, which a sink of this type has written.
pub fn written_by(kind: &str, path: &Path) -> Vec<Event> {
    sorted(match kind {
        "duckdb" => in_table(path, "events"),
        "parquet" => in_parquet(path),
        "delta" => in_delta(path),
        _ => in_lines(&std::fs::read(path).unwrap()),
    })
}

/// Returns what the destination should hold, in the order of the answers.
///
/// Where the model leaves an insert id open (mixflow puts a hash there), it is
/// empty.
pub fn expected_events(sim: &Simulator, query: &ExportQuery) -> Vec<Event> {
    let lines = sim.expected_events(query);
    let events = lines.iter().map(|line| {
        let event = model::normalize_event(line, query.time_in_ms).unwrap();
        Event {
            event_time_us: event.event_time_us,
            insert_id: event.insert_id.unwrap_or_default(),
            event_name: event.event_name,
            distinct_id: event.distinct_id,
            properties: event.properties.text,
        }
    });
    events.collect()
}

pub fn expected_profiles(sim: &Simulator, query: &EngageQuery) -> Vec<Profile> {
    let records = sim.expected_profiles(query);
    let profiles = records.iter().map(|record| {
        let profile = model::normalize_profile(record).unwrap();
        Profile {
            distinct_id: profile.distinct_id,
            last_seen_us: profile.last_seen_us,
            properties: profile.properties.text,
        }
    });
    profiles.collect()
}

/// Panics at the first row that differs, rather than with all of them.
#[track_caller]
pub fn assert_same<R: Row>(found: &[R], expected: &[R]) {
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "row {n}");
    }
    assert_eq!(found.len(), expected.len());
}

pub fn sorted<R: Row>(mut rows: Vec<R>) -> Vec<R> {
    rows.sort();
    rows
}

/// Returns every value as text.
pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect());
        }
    }
    rows
}
