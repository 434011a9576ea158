//! Days in UTC, counted in seconds.

use jiff::civil::Date;
use jiff::tz::TimeZone;

pub(super) const SECONDS_A_DAY: i64 = 86_400;

/// Returns the number of days from `first` to `last`, both counted.
///
/// # Panics
///
/// If `last` is before `first`.
pub(super) fn days_between(first: Date, last: Date) -> i64 {
    let days = (seconds_at(last) - seconds_at(first)) / SECONDS_A_DAY + 1;
    assert!(days > 0, "the last day is before the first one");
    days
}

/// Returns the date `days` after `date`.
pub(super) fn after(date: Date, days: i64) -> Date {
    date.saturating_add(jiff::Span::new().days(days))
}

/// Returns the midnight at which `date` begins, in seconds since 1970.
pub(super) fn seconds_at(date: Date) -> i64 {
    let midnight = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    midnight
        .expect("the date is far from the ends of time")
        .as_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn days_are_counted_with_both_ends() {
        let first = date(2024, 2, 28);
        assert_eq!(days_between(first, first), 1);
        assert_eq!(days_between(first, after(first, 2)), 3);
        assert_eq!(after(first, 2), date(2024, 3, 1));
        assert_eq!(seconds_at(date(2024, 1, 1)), 1_704_067_200);
    }
}
