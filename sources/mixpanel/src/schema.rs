//! The columns of normalised records.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use mixflow_core::batch::{MAX_BATCH_ROWS, json_field};

/// The most bytes of text in a batch; a batch ends with the row that reaches it.
///
/// With 2,000 rows a batch of ordinary events is 2 MB; this bounds the
/// extraordinary ones. Offsets are 32 bits, so one row may still be 1 GB.
const MAX_BATCH_BYTES: usize = 4 << 20;

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("event_name"),
        time("event_time", false),
        text("distinct_id"),
        text("insert_id"),
        json_field("properties", false),
    ]))
});

static PROFILES: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("distinct_id"),
        time("last_seen", true),
        json_field("properties", false),
    ]))
});

static RAW: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![Field::new(
        "record",
        DataType::Binary,
        false,
    )]))
});

/// Returns the schema of normalised events: `event_name, event_time (UTC,
/// microseconds, no zone), distinct_id, insert_id, properties (JSON text)`.
pub fn events() -> SchemaRef {
    Arc::clone(&EVENTS)
}

/// Returns the schema of normalised profiles: `distinct_id, last_seen (UTC,
/// microseconds, no zone, nullable), properties (JSON text)`.
pub fn profiles() -> SchemaRef {
    Arc::clone(&PROFILES)
}

/// Returns the schema of raw records: one binary column, `record`.
pub fn raw() -> SchemaRef {
    Arc::clone(&RAW)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn time(name: &str, nullable: bool) -> Field {
    Field::new(
        name,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        nullable,
    )
}

/// One normalised event, its texts borrowed from the record where possible.
#[derive(Debug)]
pub(crate) struct EventRow<'a> {
    pub(crate) event_name: &'a str,
    pub(crate) event_time_us: i64,
    pub(crate) distinct_id: &'a str,
    pub(crate) insert_id: &'a str,
    pub(crate) properties: Properties<'a>,
}

/// One normalised profile.
#[derive(Debug)]
pub(crate) struct ProfileRow<'a> {
    pub(crate) distinct_id: &'a str,
    pub(crate) last_seen_us: Option<i64>,
    pub(crate) properties: Properties<'a>,
}

/// The members of an object that are kept, as runs of the record's own text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Properties<'a> {
    pub(crate) text: &'a str,
    pub(crate) runs: &'a [(usize, usize)],
}

impl Properties<'_> {
    /// Returns the object of the members that are kept.
    pub(crate) fn joined(&self) -> String {
        let runs = self.runs.iter();
        let members: Vec<&str> = runs.map(|(start, end)| &self.text[*start..*end]).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Collects rows into batches.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Columns,
    rows: usize,
    bytes: usize,
}

#[expect(clippy::large_enum_variant, reason = "a decoder has one of these")]
enum Columns {
    Events {
        event_name: StringBuilder,
        event_time: TimestampMicrosecondBuilder,
        distinct_id: StringBuilder,
        insert_id: StringBuilder,
        properties: StringBuilder,
    },
    Profiles {
        distinct_id: StringBuilder,
        last_seen: TimestampMicrosecondBuilder,
        properties: StringBuilder,
    },
    Raw {
        record: BinaryBuilder,
    },
}

impl Rows {
    pub(crate) fn events() -> Rows {
        let columns = Columns::Events {
            event_name: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 16),
            event_time: TimestampMicrosecondBuilder::with_capacity(MAX_BATCH_ROWS),
            distinct_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            insert_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            properties: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 800),
        };
        Rows::new(events(), columns)
    }

    pub(crate) fn profiles() -> Rows {
        let columns = Columns::Profiles {
            distinct_id: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 36),
            last_seen: TimestampMicrosecondBuilder::with_capacity(MAX_BATCH_ROWS),
            properties: StringBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 400),
        };
        Rows::new(profiles(), columns)
    }

    pub(crate) fn raw() -> Rows {
        let columns = Columns::Raw {
            record: BinaryBuilder::with_capacity(MAX_BATCH_ROWS, MAX_BATCH_ROWS * 900),
        };
        Rows::new(raw(), columns)
    }

    fn new(schema: SchemaRef, columns: Columns) -> Rows {
        Rows {
            schema,
            columns,
            rows: 0,
            bytes: 0,
        }
    }

    pub(crate) fn push_event(&mut self, row: &EventRow<'_>) {
        let Columns::Events {
            event_name,
            event_time,
            distinct_id,
            insert_id,
            properties,
        } = &mut self.columns
        else {
            unreachable!("an event decoder fills event columns");
        };
        event_name.append_value(row.event_name);
        event_time.append_value(row.event_time_us);
        distinct_id.append_value(row.distinct_id);
        insert_id.append_value(row.insert_id);
        self.bytes += row.event_name.len() + row.distinct_id.len() + row.insert_id.len();
        self.bytes += append_object(properties, row.properties);
        self.rows += 1;
    }

    pub(crate) fn push_profile(&mut self, row: &ProfileRow<'_>) {
        let Columns::Profiles {
            distinct_id,
            last_seen,
            properties,
        } = &mut self.columns
        else {
            unreachable!("a profile decoder fills profile columns");
        };
        distinct_id.append_value(row.distinct_id);
        last_seen.append_option(row.last_seen_us);
        self.bytes += row.distinct_id.len();
        self.bytes += append_object(properties, row.properties);
        self.rows += 1;
    }

    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        let Columns::Raw { record } = &mut self.columns else {
            unreachable!("raw records fill the raw column");
        };
        record.append_value(bytes);
        self.bytes += bytes.len();
        self.rows += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= MAX_BATCH_ROWS || self.bytes >= MAX_BATCH_BYTES
    }

    /// Returns the rows so far and starts anew; `None` if there are none.
    pub(crate) fn take(&mut self) -> Option<RecordBatch> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        self.bytes = 0;
        let columns: Vec<ArrayRef> = match &mut self.columns {
            Columns::Events {
                event_name,
                event_time,
                distinct_id,
                insert_id,
                properties,
            } => vec![
                Arc::new(event_name.finish()),
                Arc::new(event_time.finish()),
                Arc::new(distinct_id.finish()),
                Arc::new(insert_id.finish()),
                Arc::new(properties.finish()),
            ],
            Columns::Profiles {
                distinct_id,
                last_seen,
                properties,
            } => vec![
                Arc::new(distinct_id.finish()),
                Arc::new(last_seen.finish()),
                Arc::new(properties.finish()),
            ],
            Columns::Raw { record } => vec![Arc::new(record.finish())],
        };
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .expect("the builders are those of the schema");
        Some(batch)
    }
}

/// Appends `{` run `,` run … `}` and returns its length.
fn append_object(column: &mut StringBuilder, properties: Properties<'_>) -> usize {
    use std::fmt::Write as _;
    let mut write = |text: &str| {
        column
            .write_str(text)
            .expect("writing into a builder cannot fail");
        text.len()
    };
    let mut length = write("{");
    for (n, (start, end)) in properties.runs.iter().enumerate() {
        if n > 0 {
            length += write(",");
        }
        length += write(&properties.text[*start..*end]);
    }
    length += write("}");
    column.append_value("");
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows are a batch, whose ids and properties are of these sizes.
    fn batch_of(id: usize, properties: usize) -> usize {
        let (id, text) = ("i".repeat(id), "p".repeat(properties));
        let mut rows = Rows::profiles();
        while !rows.is_full() {
            rows.push_profile(&ProfileRow {
                distinct_id: &id,
                last_seen_us: None,
                properties: Properties {
                    text: &text,
                    runs: &[(0, properties)],
                },
            });
        }
        rows.take().expect("there are rows").num_rows()
    }

    #[test]
    fn the_wider_rows_are_the_fewer_are_in_a_batch() {
        assert_eq!(batch_of(36, 1_000), MAX_BATCH_ROWS);
        assert_eq!(batch_of(36, 255_000), 17);
        // Wherever they are wide.
        assert_eq!(batch_of(255_000, 36), 17);
        assert_eq!(batch_of(36, 5 << 20), 1);
    }
}
