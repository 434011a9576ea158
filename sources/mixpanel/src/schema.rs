//! The columns of normalised records.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mixflow_core::batch::json_field;
use mixflow_core::roles::ColumnRoles;

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

/// What the columns of normalised events are for.
///
/// Mixpanel itself takes events with the same four parts for one, and keeps the
/// one that it has processed last.
pub const ROLES: ColumnRoles = ColumnRoles {
    kind: "event_name",
    identity: &["event_name", "distinct_id", "insert_id"],
    time: "event_time",
    version: ("properties", "mp_processing_time_ms"),
};

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
