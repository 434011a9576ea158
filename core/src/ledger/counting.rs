//! Counting a unit's rows by its days, while they pass.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::calendar::{days, start_of};
use crate::unit::{DayRange, Extent};

/// What a session says of the body that a unit's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFacts {
    /// When it was asked for.
    pub fetched_at: Timestamp,
    /// The SHA-256 of what came, compressed if it was, in hexadecimal.
    pub sha256: Option<String>,
}

/// What is counted of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayCount {
    /// Rows that the sink gets.
    pub rows: u64,
    /// Rows that were left out as duplicates.
    pub duplicates: u64,
    /// Bytes of records.
    pub bytes: u64,
}

/// Splits times among the days of a unit.
///
/// A time before the first day counts as that day's, one after the last as the
/// last one's: somewhere each row must stand.
#[derive(Clone, Debug)]
pub struct DayCounter {
    first: Date,
    /// When each day begins, and when the last one ends, in microseconds since
    /// 1970 (UTC).
    starts: Vec<i64>,
    counts: Vec<DayCount>,
}

impl DayCounter {
    /// Creates a counter for the days of `range` in `zone`.
    pub fn new(range: &DayRange, zone: &TimeZone) -> DayCounter {
        let mut starts = vec![range.start_us];
        let later = days(range.first, range.last).skip(1);
        starts.extend(later.map(|day| start_of(day, zone).as_microsecond()));
        starts.push(range.end_us);
        DayCounter {
            first: range.first,
            counts: vec![DayCount::default(); starts.len() - 1],
            starts,
        }
    }

    /// Returns which of the days, from 0, a time belongs to.
    pub fn place(&self, us: i64) -> usize {
        let inner = &self.starts[1..self.starts.len() - 1];
        inner.partition_point(|start| *start <= us)
    }

    /// Returns the day that a time belongs to.
    pub fn day(&self, us: i64) -> Date {
        self.first
            .saturating_add(jiff::Span::new().days(self.place(us) as i64))
    }

    /// Returns whether a time is in none of the days.
    pub fn is_outside(&self, us: i64) -> bool {
        us < self.starts[0] || us >= self.starts[self.starts.len() - 1]
    }

    /// Returns the count of the day that a time belongs to.
    pub fn at(&mut self, us: i64) -> &mut DayCount {
        let place = self.place(us);
        &mut self.counts[place]
    }

    /// Returns the days, each with what was counted and when it ends.
    fn counted(&self) -> impl Iterator<Item = (Date, DayCount, i64)> {
        let days = self.first.series(jiff::Span::new().days(1));
        let ends = &self.starts[1..];
        days.zip(&self.counts)
            .zip(ends)
            .map(|((day, count), end)| (day, *count, *end))
    }
}

/// What is found out of a unit beside its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitFacts {
    pub(crate) body: Option<BodyFacts>,
    /// For a unit that stands for days.
    pub(crate) days: Option<DayCounter>,
    /// Bytes of records; `None` if the source does not say.
    pub(crate) bytes: Option<u64>,
    /// Records whose day the source does not say.
    pub(crate) bytes_without_day: bool,
    /// Whether rows do not say their day.
    pub(crate) rows_without_day: bool,
    pub(crate) latest_version: Option<i64>,
    pub(crate) outside: u64,
    /// What stands for who the rows are of, if another run is to compare it.
    pub(crate) ids: Vec<u64>,
}

/// A day of a unit, as it was counted.
pub(crate) struct CountedDay {
    pub(crate) day: Date,
    pub(crate) rows: Option<u64>,
    pub(crate) duplicates: u64,
    pub(crate) bytes: Option<u64>,
    pub(crate) end_us: i64,
}

impl UnitFacts {
    /// Begins to count a unit.
    pub(crate) fn of(extent: &Extent, zone: &TimeZone) -> UnitFacts {
        UnitFacts {
            days: match extent {
                Extent::Days(range) => Some(DayCounter::new(range, zone)),
                Extent::Page(_) | Extent::Whole => None,
            },
            ..UnitFacts::default()
        }
    }

    /// Counts rows that the sink gets, by their times if they have them.
    pub(crate) fn count_rows(&mut self, times: Option<&[i64]>) {
        let Some(days) = &mut self.days else { return };
        let Some(times) = times else {
            self.rows_without_day = true;
            return;
        };
        for us in times {
            days.at(*us).rows += 1;
            self.outside += u64::from(days.is_outside(*us));
        }
    }

    /// Counts the bytes of records, by their times if the source knows them.
    pub(crate) fn count_records(&mut self, times: Option<&[i64]>, lengths: &[u32]) {
        let all: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        *self.bytes.get_or_insert(0) += all;
        match (&mut self.days, times) {
            (Some(days), Some(times)) => {
                for (us, length) in times.iter().zip(lengths) {
                    days.at(*us).bytes += u64::from(*length);
                }
            }
            _ => self.bytes_without_day = true,
        }
    }

    /// Returns the days; `rows` are those of the whole unit.
    pub(crate) fn counted(&self, rows: u64) -> Vec<CountedDay> {
        let Some(days) = &self.days else {
            return Vec::new();
        };
        let only = days.counts.len() == 1;
        let known = |by_day: u64, all: Option<u64>, lacks_days: bool| match lacks_days {
            // The only day has them all.
            true if only => all,
            // Where there are none at all, each day has none.
            true => all.filter(|all| *all == 0),
            false => all.map(|_| by_day),
        };
        let counted = days.counted().map(|(day, count, end_us)| CountedDay {
            day,
            rows: known(count.rows, Some(rows), self.rows_without_day),
            duplicates: count.duplicates,
            bytes: known(count.bytes, self.bytes, self.bytes_without_day),
            end_us,
        });
        counted.collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn range(first: Date, last: Date, zone: &TimeZone) -> DayRange {
        DayRange {
            first,
            last,
            start_us: start_of(first, zone).as_microsecond(),
            end_us: start_of(last.saturating_add(jiff::Span::new().days(1)), zone).as_microsecond(),
        }
    }

    fn facts(days: u8, zone: &str) -> (UnitFacts, DayRange) {
        let zone = TimeZone::get(zone).expect("a zone");
        let first = date(2024, 3, 9);
        let last = first.saturating_add(jiff::Span::new().days(i64::from(days) - 1));
        let range = range(first, last, &zone);
        (UnitFacts::of(&Extent::Days(range), &zone), range)
    }

    #[test]
    fn rows_are_counted_by_the_days_of_the_zone() {
        // The 10th has 23 hours here.
        let (mut facts, range) = facts(3, "US/Pacific");
        let at = |hours| range.start_us + hours * HOUR;
        facts.count_rows(Some(&[at(0), at(23), at(24), at(46), at(47), at(70)]));
        let rows: Vec<_> = facts.counted(6).iter().map(|day| day.rows).collect();
        assert_eq!(rows, [Some(2), Some(2), Some(2)]);
        assert_eq!(facts.outside, 0);
    }

    #[test]
    fn rows_outside_count_for_the_nearest_day_and_are_told_apart() {
        let (mut facts, range) = facts(2, "UTC");
        facts.count_rows(Some(&[
            range.start_us - 1,
            range.end_us,
            range.end_us + HOUR,
        ]));
        let rows: Vec<_> = facts.counted(3).iter().map(|day| day.rows).collect();
        assert_eq!(rows, [Some(1), Some(2)]);
        assert_eq!(facts.outside, 3);
    }

    #[test]
    fn rows_without_a_time_leave_only_a_single_day_known() {
        let (mut one, _) = facts(1, "UTC");
        one.count_rows(None);
        assert_eq!(one.counted(7)[0].rows, Some(7));
        let (mut two, _) = facts(2, "UTC");
        two.count_rows(None);
        assert_eq!(two.counted(7)[0].rows, None);
        let (none, _) = facts(2, "UTC");
        assert_eq!(none.counted(0)[1].rows, Some(0));
        assert_eq!(none.counted(0)[1].bytes, None);
    }

    proptest! {
        #[test]
        fn every_row_and_byte_is_counted_once(
            days in 1_u8..6,
            hours in prop::collection::vec(-48_i64..200, 0..50),
        ) {
            let (mut facts, range) = facts(days, "US/Pacific");
            let times: Vec<i64> = hours.iter().map(|hour| range.start_us + hour * HOUR).collect();
            let lengths = vec![3; times.len()];
            facts.count_rows(Some(&times));
            facts.count_records(Some(&times), &lengths);
            let counted = facts.counted(times.len() as u64);
            prop_assert_eq!(counted.len(), usize::from(days));
            let rows: Option<u64> = counted.iter().map(|day| day.rows).sum();
            let bytes: Option<u64> = counted.iter().map(|day| day.bytes).sum();
            prop_assert_eq!(rows, Some(times.len() as u64));
            prop_assert_eq!(bytes, Some(3 * times.len() as u64));
            let outside = times.iter().filter(|us| **us < range.start_us || **us >= range.end_us);
            prop_assert_eq!(facts.outside, outside.count() as u64);
        }
    }
}
