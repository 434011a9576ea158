//! Windows: ranges of days that are fetched as a whole.

use std::num::NonZeroU32;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use mixflow_core::config::Invalid;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::{Ledger, ranges};
use mixflow_core::source::{DayRange, Extent};
use mixflow_core::unit::{DatasetKey, Unit, UnitKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::quota::Limits;
use crate::options::{EventsOptions, WindowDays};
use crate::time::midnight_us;

/// A range of days, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: Date,
    pub(super) last: Date,
}

/// What tells a window from the others of its dataset, as it travels.
#[derive(Serialize, Deserialize)]
struct Days {
    from_date: Date,
    to_date: Date,
    /// The most events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
}

impl Days {
    /// Reads what a unit is; fails if it is no window.
    fn of(unit: &Unit) -> Result<Days> {
        Days::deserialize(&unit.request).map_err(|error| {
            let message = format!("`{}` is not a window of events", unit.label);
            Error::new(ErrorKind::Other, message).with_source(error)
        })
    }
}

/// Returns the most events that a unit stands for, if it is not all of them.
pub(super) fn limit_of(unit: &Unit) -> Option<i64> {
    Days::of(unit).ok()?.limit
}

impl Window {
    /// Returns a day as a window.
    pub(super) fn day(day: Date) -> Window {
        Window {
            first: day,
            last: day,
        }
    }

    /// Returns how many days it has.
    fn days(self) -> u32 {
        (self.last - self.first).get_days().unsigned_abs() + 1
    }

    /// Splits it into at most so many windows, of about equal length.
    pub(super) fn split(self, most: usize) -> Vec<Window> {
        let days: Vec<Date> = mixflow_core::ledger::days(self.first, self.last).collect();
        let size = days.len().div_ceil(most);
        windows_of(&days, count(size))
    }

    /// Returns whether `day` is the day after it.
    fn is_before(self, day: Date) -> bool {
        self.last.tomorrow().is_ok_and(|next| next == day)
    }

    /// Returns the window that is a unit.
    pub(super) fn of(unit: &Unit) -> Result<Window> {
        let days = Days::of(unit)?;
        Ok(Window {
            first: days.from_date,
            last: days.to_date,
        })
    }

    /// Returns the window as a unit of `dataset`, whose days begin in `zone`, or
    /// at most `limit` events of it.
    pub(super) fn unit(
        self,
        dataset: &DatasetKey,
        zone: Option<&TimeZone>,
        limit: Option<i64>,
    ) -> Unit {
        let (extent, request) = (self.extent(zone), self.request(limit));
        Unit::new(dataset, extent, self.to_string(), request)
    }

    /// Returns the key of that unit.
    pub(super) fn key(self, dataset: &DatasetKey, limit: Option<i64>) -> UnitKey {
        UnitKey::of(dataset, &self.request(limit))
    }

    fn request(self, limit: Option<i64>) -> Value {
        json!(Days {
            from_date: self.first,
            to_date: self.last,
            limit,
        })
    }

    /// Returns the days, with the instants at which they begin and end.
    fn extent(self, zone: Option<&TimeZone>) -> Extent {
        let after = self.last.saturating_add(1.day());
        Extent::Days(DayRange {
            first: self.first,
            last: self.last,
            start_us: midnight_us(self.first, zone),
            end_us: midnight_us(after, zone),
        })
    }
}

/// Shows `2024-01-01`, or `2024-01-01..2024-01-07`.
impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

/// Returns the zone of a name; `None` is UTC.
pub(super) fn zone(name: Option<&str>, invalid: &mut Vec<Invalid>) -> Option<TimeZone> {
    let name = name.filter(|name| !matches!(*name, "UTC" | "Etc/UTC"))?;
    match TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(_) => {
            invalid.push(Invalid::new(
                "timezone",
                format!("`{name}` is not a time zone; one is called like `US/Pacific` or `Europe/Berlin`"),
            ));
            None
        }
    }
}

/// How many days a window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowSize {
    /// So many.
    Days(NonZeroU32),
    /// As many as follow one another.
    All,
    /// As is best for their size, and for at most so many windows.
    Auto { most: u32 },
}

/// Bytes of records in a window, where it is known how full days are: about
/// 64 MB compressed, of which a try that fails costs no more than that.
const WINDOW_BYTES: u64 = 640 << 20;

/// Windows of days of which nothing is known. Three go out within a second.
const FEW: u32 = 3;

/// Days of a window of which nothing is known, if there are many: a month.
const MANY_DAYS: u32 = 31;

/// More days than there are dates; jiff's spans end somewhere, too.
const MOST_DAYS: u32 = 7_000_000;

impl WindowSize {
    /// Takes what the options say.
    pub(super) fn new(options: &EventsOptions) -> WindowSize {
        match options.window_days {
            Some(WindowDays::Days(days)) => {
                NonZeroU32::new(days).map_or(WindowSize::All, WindowSize::Days)
            }
            _ if options.limit.is_some() => WindowSize::All,
            _ => WindowSize::Auto {
                // Half of what an hour's quota allows.
                most: Limits::EXPORT
                    .with(options.limits)
                    .per_hour
                    .div_ceil(2)
                    .max(1),
            },
        }
    }

    /// Splits days, which are in order, into windows.
    pub(super) fn split(self, wanted: &[Date], ledger: &Ledger) -> Vec<Window> {
        match self {
            WindowSize::All => windows_of(wanted, u32::MAX),
            WindowSize::Days(days) => windows_of(wanted, days.get()),
            // Which of the rows of several days belong to one of them could
            // not be told when it is fetched alone.
            WindowSize::Auto { most } if ledger.outside > 0 => {
                windows_of(wanted, count(wanted.len()).div_ceil(most))
            }
            WindowSize::Auto { most } => {
                let all = count(wanted.len());
                // Many windows cost more than large ones.
                let least = all.div_ceil(most);
                match bytes_of_a_day(ledger) {
                    None => {
                        let few = FEW.max(all.div_ceil(MANY_DAYS)).min(most);
                        windows_of(wanted, all.div_ceil(few.max(1)))
                    }
                    Some(usual) => by_size(wanted, ledger, usual, least),
                }
            }
        }
    }
}

/// Joins days into windows of about [`WINDOW_BYTES`], of at least `least` days.
fn by_size(wanted: &[Date], ledger: &Ledger, usual: u64, least: u32) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut bytes = 0_u64;
    for day in wanted {
        let known = ledger.get(*day).and_then(|known| known.bytes);
        let more = known.unwrap_or(usual);
        match windows.last_mut() {
            Some(window)
                if window.is_before(*day)
                    && (bytes.saturating_add(more) <= WINDOW_BYTES || window.days() < least) =>
            {
                window.last = *day;
                bytes = bytes.saturating_add(more);
            }
            _ => {
                windows.push(Window::day(*day));
                bytes = more;
            }
        }
    }
    windows
}

/// Returns how full a day of which nothing is known is likely to be: as the
/// fullest of the last month that is known. `None` if nothing is known.
fn bytes_of_a_day(ledger: &Ledger) -> Option<u64> {
    let known = ledger.days().rev().filter_map(|day| day.bytes);
    known.take(MANY_DAYS as usize).max()
}

/// Joins days that follow one another into windows of at most `size` days.
fn windows_of(wanted: &[Date], size: u32) -> Vec<Window> {
    let mut windows = Vec::new();
    for (first, last) in ranges(wanted.iter().copied()) {
        let mut next = Some(first);
        while let Some(first) = next.filter(|first| *first <= last) {
            let end = first.checked_add(Span::new().days(i64::from(size.clamp(1, MOST_DAYS) - 1)));
            let last = end.map_or(last, |end| end.min(last));
            windows.push(Window { first, last });
            next = last.tomorrow().ok();
        }
    }
    windows
}

fn count(days: usize) -> u32 {
    u32::try_from(days).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use mixflow_core::ledger::{DayRecord, DayState};
    use mixflow_core::unit::{Dataset, UnitKey};
    use proptest::prelude::*;

    use super::*;

    const AUTO: WindowSize = WindowSize::Auto { most: 30 };

    fn wanted(n: i64) -> Vec<Date> {
        let first = date(2024, 1, 1);
        let last = first.saturating_add(Span::new().days(n - 1));
        mixflow_core::ledger::days(first, last).collect()
    }

    fn record(day: Date, bytes: u64) -> DayRecord {
        DayRecord {
            day,
            state: DayState::Complete,
            rows: None,
            duplicates: 0,
            bytes: Some(bytes),
            fetched_at: jiff::Timestamp::UNIX_EPOCH,
            run_id: String::new(),
            unit_key: UnitKey::of(&Dataset::default().key(), &serde_json::json!({})),
        }
    }

    fn sizes(windows: &[Window]) -> Vec<u32> {
        windows.iter().map(|window| window.days()).collect()
    }

    #[test]
    fn with_nothing_known_there_are_few_windows() {
        let of = |n| sizes(&AUTO.split(&wanted(n), &Ledger::default()));
        assert_eq!(of(1), [1]);
        assert_eq!(of(2), [1, 1]);
        assert_eq!(of(14), [5, 5, 4]);
        assert_eq!(of(366).len(), 12);
        // Half of an hour's quota.
        assert_eq!(of(4_000).len(), 30);
    }

    #[test]
    fn windows_are_as_large_as_their_days_allow() {
        const MB: u64 = 1 << 20;
        let known = |bytes: &[u64]| {
            let days = wanted(bytes.len() as i64).into_iter();
            Ledger::new(days.zip(bytes).map(|(day, mb)| record(day, mb * MB)))
        };
        // Thin days together, full days alone.
        let ledger = known(&[1, 1, 1, 700, 700, 300, 300, 300]);
        assert_eq!(sizes(&AUTO.split(&wanted(8), &ledger)), [3, 1, 1, 2, 1]);
        // Days to come are as full as the fullest of the last.
        assert_eq!(sizes(&AUTO.split(&wanted(9), &ledger)), [3, 1, 1, 2, 1, 1]);
        // The sample: 8,000 rows in 14 days.
        assert_eq!(sizes(&AUTO.split(&wanted(14), &known(&[1; 14]))), [14]);
    }

    #[test]
    fn what_was_found_outside_its_days_makes_windows_of_a_day() {
        let mut ledger = Ledger::default();
        ledger.outside = 1;
        assert_eq!(sizes(&AUTO.split(&wanted(3), &ledger)), [1, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_day_is_in_one_window(
            days in prop::collection::btree_set(0_i64..400, 0..200),
            bytes in prop::collection::vec(0_u64..2_000_000_000, 0..400),
            size in prop_oneof![
                Just(AUTO),
                Just(WindowSize::All),
                (1_u32..40).prop_map(|n| WindowSize::Days(NonZeroU32::new(n).expect("not 0"))),
            ],
        ) {
            let day = |n: i64| date(2024, 1, 1).saturating_add(Span::new().days(n));
            let wanted: Vec<Date> = days.iter().map(|n| day(*n)).collect();
            let ledger = Ledger::new((0..).zip(&bytes).map(|(n, bytes)| record(day(n), *bytes)));
            let windows = size.split(&wanted, &ledger);
            let found: Vec<Date> = windows
                .iter()
                .flat_map(|window| mixflow_core::ledger::days(window.first, window.last))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
