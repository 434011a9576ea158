//! Rows whose time is in none of the days that they were fetched for.
//!
//! A project whose zone is another than the pipeline says, or a day that a
//! zone skips, gives such rows. When their day is fetched again they are to be
//! replaced with it, and when the day that they happen to lie in is fetched
//! again they are to stay. So a sink that replaces days notes each with its day;
//! it is known by what makes two rows the same event. Of rows that are the
//! same it does not matter which one goes, only how many.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::DayCounter;
use crate::batch::PartitionId;
use crate::sink::{PartitionInfo, TxnContext};
use crate::unit::Extent;

/// What stands between the parts of an identity; no name or id has it.
pub const IDENTITY_SEPARATOR: &str = "\u{1f}";

/// Noted rows that memory may hold: some 4 MB.
const MOST_NOTED: usize = 10_000;

/// A row that lies outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideRow {
    /// The day that it was fetched for.
    pub day: Date,
    /// Its time, in microseconds since 1970 (UTC).
    pub us: i64,
    /// What makes it the event that it is, with [`IDENTITY_SEPARATOR`] between the
    /// parts.
    pub identity: String,
}

/// Finds the rows of one transaction that lie outside.
#[derive(Debug)]
pub struct OutsideRows {
    zone: TimeZone,
    /// The column of times, and the texts that make an event what it is.
    time: usize,
    texts: Vec<(usize, String)>,
    days: BTreeMap<PartitionId, DayCounter>,
    noted: Vec<OutsideRow>,
}

impl OutsideRows {
    /// Returns what looks at the rows of a run; `None` if these have no time that
    /// could be outside, or nothing tells them apart.
    pub fn of(cx: &TxnContext) -> Option<OutsideRows> {
        let roles = cx.source.roles?;
        let (time, field) = cx.schema.column_with_name(roles.time)?;
        let is_time = *field.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None);
        let texts = roles.identity.iter().filter_map(|name| {
            let (at, field) = cx.schema.column_with_name(name)?;
            let is_text = *field.data_type() == DataType::Utf8;
            is_text.then(|| (at, (*name).to_owned()))
        });
        let texts: Vec<_> = texts.collect();
        let zone = &cx.source.dataset.zone;
        let are_days = cx.source.partitions_are_days;
        (is_time && !texts.is_empty() && are_days).then(|| OutsideRows {
            zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC),
            time,
            texts,
            days: BTreeMap::new(),
            noted: Vec::new(),
        })
    }

    /// Returns the columns whose texts make an event what it is.
    pub fn identity(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(_, name)| name.as_str())
    }

    /// Notes the days of a partition whose rows will come.
    pub fn announce(&mut self, info: &PartitionInfo) {
        if let Extent::Days(range) = &info.extent {
            let days = DayCounter::new(range, &self.zone);
            self.days.insert(info.id, days);
        }
    }

    /// Notes the rows of a batch that lie outside the days of their partition.
    pub fn note(&mut self, partition: PartitionId, records: &RecordBatch) {
        let Some(days) = self.days.get(&partition) else {
            return;
        };
        let times = records.column(self.time);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let outside = |us: &i64| days.is_outside(*us);
        if !times.values().iter().any(outside) {
            return;
        }
        let texts = self.texts.iter();
        let texts: Vec<&StringArray> = texts
            .map(|(at, _)| records.column(*at).as_string())
            .collect();
        for (row, us) in times.values().iter().enumerate() {
            if times.is_valid(row) && outside(us) {
                self.noted.push(OutsideRow {
                    day: days.day(*us),
                    us: *us,
                    identity: identity(&texts, row),
                });
            }
        }
    }

    /// Returns whether so many rows are noted that memory would grow.
    pub fn is_full(&self) -> bool {
        self.noted.len() >= MOST_NOTED
    }

    /// Returns what was noted since the last time.
    pub fn take(&mut self) -> Vec<OutsideRow> {
        std::mem::take(&mut self.noted)
    }
}

/// Returns what makes an event what it is.
fn identity(texts: &[&StringArray], row: usize) -> String {
    let parts = texts.iter().map(|column| match column.is_valid(row) {
        true => column.value(row),
        false => "",
    });
    parts.collect::<Vec<_>>().join(IDENTITY_SEPARATOR)
}
