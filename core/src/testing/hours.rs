//! Made-up rows, one at each hour that is named, and what is recorded of them: for
//! sinks that keep days.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use jiff::Span;
use jiff::tz::TimeZone;

use crate::batch::{PartitionId, json_field};
use crate::ledger::{DayCounter, DayRecord, DayState, FetchedUnit, UnitRecord};
use crate::source::DayRange;
use crate::unit::{DataKind, Dataset, UnitKey};

/// The microseconds of an hour.
pub const HOUR_US: i64 = 3_600_000_000;

/// Returns the events of a project with days in `zone`, all or those of a name.
pub fn made_up_events(zone: &str, name: Option<&str>) -> Dataset {
    let filters = name.map(|name| ("events".to_owned(), serde_json::json!([name])));
    Dataset {
        project: "12345".to_owned(),
        kind: DataKind::Events,
        zone: zone.to_owned(),
        filters: filters.into_iter().collect(),
    }
}

/// Returns the columns of rows: a time, and an object as JSON.
pub fn hour_fields(time: &str) -> Vec<Field> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
    vec![
        Field::new(time, instant, false),
        json_field("properties", false),
    ]
}

/// Returns a row for each hour since 1970 that is named.
pub fn hour_columns(hours: &[i64]) -> Vec<ArrayRef> {
    let times = hours.iter().map(|hour| hour * HOUR_US);
    let texts = hours.iter().map(|hour| format!("{{\"hour\": {hour}}}"));
    vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        Arc::new(StringArray::from_iter_values(texts)),
    ]
}

/// Returns the record of a unit whose rows have these hours, wherever they lie.
pub fn fetched_hours(
    dataset: &Dataset,
    run_id: &str,
    n: u32,
    range: DayRange,
    hours: &[i64],
) -> FetchedUnit {
    let zone = TimeZone::get(&dataset.zone).unwrap_or(TimeZone::UTC);
    let counter = DayCounter::new(&range, &zone);
    let fetched_at = "2030-01-01T00:00:00Z".parse().expect("a time");
    let key = UnitKey::of(&dataset.key(), &serde_json::json!(range));
    let days = range.first.series(Span::new().days(1));
    let days = days.take_while(|day| *day <= range.last).map(|day| {
        let rows = hours.iter().map(|hour| counter.day(hour * HOUR_US));
        let rows = rows.filter(|of| *of == day).count() as u64;
        DayRecord {
            day,
            state: if rows == 0 {
                DayState::Empty
            } else {
                DayState::Complete
            },
            rows: Some(rows),
            duplicates: 0,
            bytes: Some(rows * 100),
            fetched_at,
            run_id: run_id.to_owned(),
            unit_key: key.clone(),
        }
    });
    let outside = hours.iter().map(|hour| hour * HOUR_US);
    FetchedUnit {
        id: PartitionId(n),
        days: days.collect(),
        record: UnitRecord {
            unit_key: key,
            label: "unit".to_owned(),
            days: Some(range),
            fetched_at,
            run_id: run_id.to_owned(),
            rows: hours.len() as u64,
            duplicates: 0,
            rejected: 0,
            bytes: Some(hours.len() as u64 * 100),
            sha256: None,
            latest_version: None,
            outside: outside.filter(|us| counter.is_outside(*us)).count() as u64,
        },
    }
}
