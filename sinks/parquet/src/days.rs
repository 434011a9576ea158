//! Which day a row was fetched for, and which UTC day it lies in.
//!
//! The two differ: a day of a project begins when its zone says, and a row may
//! say that it happened at any time at all.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use mixflow_core::ledger::{DayCounter, start_of};
use mixflow_core::unit::{Dataset, DayRange};
use mixflow_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The column whose UTC day names the folder.
pub const DAY_COLUMN: &str = "event_time";

/// A day, in microseconds.
pub const DAY_US: i64 = 86_400_000_000;

/// Returns whether rows have a time that says their day.
pub(crate) fn has_day(schema: &Schema) -> bool {
    schema.field_with_name(DAY_COLUMN).is_ok_and(|field| {
        matches!(
            field.data_type(),
            DataType::Timestamp(TimeUnit::Microsecond, _)
        )
    })
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Home {
    /// The day that it was fetched for, as its dataset counts days; `None` if
    /// it was fetched for none, or nobody will ever ask by day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Date>,
    /// The UTC day that it lies in, where folders are by day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<Date>,
}

/// Splits rows of a partition by where they belong; rows keep their order.
///
/// A time outside the partition's days belongs to the nearest of them.
pub fn split(records: &RecordBatch, days: Option<&DayCounter>) -> Result<Vec<(Home, RecordBatch)>> {
    let times = times_of(records)?;
    let key = |us: i64| (days.map(|days| days.place(us)), us.div_euclid(DAY_US));
    let home = |us: i64| home_of(us, days);
    let Some(&first) = times.first() else {
        return Ok(Vec::new());
    };
    // Nearly every batch lies in one day, and is passed on as it is.
    if times.iter().all(|us| key(*us) == key(first)) {
        return Ok(vec![(home(first)?, records.clone())]);
    }
    let mut rows: BTreeMap<_, (i64, Vec<u32>)> = BTreeMap::new();
    for (row, us) in (0..).zip(times) {
        let (_, rows) = rows.entry(key(*us)).or_insert((*us, Vec::new()));
        rows.push(row);
    }
    rows.into_values()
        .map(|(us, rows)| {
            Ok((
                home(us)?,
                take_record_batch(records, &UInt32Array::from(rows))?,
            ))
        })
        .collect()
}

/// Returns where rows of a partition belong, and no more than `most` of that.
pub(crate) fn homes(
    records: &RecordBatch,
    days: Option<&DayCounter>,
    most: usize,
) -> Result<BTreeSet<Home>> {
    let key = |us: i64| (days.map(|days| days.place(us)), us.div_euclid(DAY_US));
    let (mut homes, mut before) = (BTreeSet::new(), None);
    for us in times_of(records)? {
        // Rows of a body are by and large in the order of their times.
        let now = Some(key(*us));
        if now != before && homes.len() < most {
            homes.insert(home_of(*us, days)?);
        }
        before = now;
    }
    Ok(homes)
}

fn times_of(records: &RecordBatch) -> Result<&[i64]> {
    let column = records.column_by_name(DAY_COLUMN).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("folders by date need the column `{DAY_COLUMN}`"),
        )
    })?;
    Ok(column.as_primitive::<TimestampMicrosecondType>().values())
}

fn home_of(us: i64, days: Option<&DayCounter>) -> Result<Home> {
    Ok(Home {
        day: days.map(|days| days.day(us)),
        folder: Some(utc_date(us.div_euclid(DAY_US))?),
    })
}

/// Returns the zone that a dataset counts its days in.
pub fn zone_of(dataset: &Dataset) -> TimeZone {
    TimeZone::get(&dataset.zone).unwrap_or(TimeZone::UTC)
}

/// Returns the days from `first` to `last` as a zone has them.
pub fn whole_days(first: Date, last: Date, zone: &TimeZone) -> DayRange {
    let start = |day| start_of(day, zone).as_microsecond();
    DayRange {
        first,
        last,
        start_us: start(first),
        end_us: start(last.saturating_add(Span::new().days(1))),
    }
}

/// Returns the first instant of a UTC day, in microseconds since 1970.
pub fn start_us(date: Date) -> i64 {
    let days = date - Date::constant(1970, 1, 1);
    i64::from(days.get_days()) * DAY_US
}

/// Returns a UTC day by its number since 1970.
pub fn utc_date(day: i64) -> Result<Date> {
    Timestamp::UNIX_EPOCH
        .to_zoned(TimeZone::UTC)
        .date()
        .checked_add(Span::new().days(day))
        .map_err(|error| {
            Error::new(ErrorKind::Data, format!("day {day} has no date")).with_source(error)
        })
}
