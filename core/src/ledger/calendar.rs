//! Days as a person counts them: in a zone, with today and late arrivals.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};

use super::record::{DayRecord, DayState, Ledger};

/// How a source counts days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The zone whose midnight a day begins at.
    pub zone: TimeZone,
    /// For how many days after its end a day may still change.
    pub lookback: u32,
    /// The first day that is ever wanted.
    pub start: Option<Date>,
    /// Whether the days that are fetched are those which the ledger lacks.
    pub catches_up: bool,
}

/// How a day stands, seen from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Fetched whole, and not to change any more.
    Complete,
    /// The same, and there was nothing.
    Empty,
    /// Fetched whole, so soon after its end that late rows may be lacking.
    Stale,
    /// Fetched before it was over, or not all of it.
    Partial,
    /// Nobody has fetched it.
    Missing,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 5] = [
        Standing::Complete,
        Standing::Empty,
        Standing::Stale,
        Standing::Partial,
        Standing::Missing,
    ];

    /// Returns the word for it: `complete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Complete => "complete",
            Standing::Empty => "empty",
            Standing::Stale => "stale",
            Standing::Partial => "partial",
            Standing::Missing => "missing",
        }
    }

    /// Returns whether all that there was on the day, when it was over, is
    /// held.
    pub fn is_whole(self) -> bool {
        matches!(self, Standing::Complete | Standing::Empty | Standing::Stale)
    }
}

impl Calendar {
    /// Returns the day that it is.
    pub fn today(&self, now: Timestamp) -> Date {
        now.to_zoned(self.zone.clone()).date()
    }

    /// Returns the last day that is over.
    pub fn yesterday(&self, now: Timestamp) -> Date {
        self.today(now).saturating_sub(1.day())
    }

    /// Returns the first instant after a day.
    pub fn end_of(&self, day: Date) -> Timestamp {
        start_of(day.saturating_add(1.day()), &self.zone)
    }

    /// Returns how a day stands, of which `record` says what is held.
    pub fn standing(&self, day: Date, record: Option<&DayRecord>) -> Standing {
        let Some(record) = record else {
            return Standing::Missing;
        };
        let whole = match record.state {
            DayState::Partial => return Standing::Partial,
            DayState::Complete => Standing::Complete,
            DayState::Empty => Standing::Empty,
        };
        // The end of a day some days later, so that a day of 23 hours counts
        // as one.
        let later = day.saturating_add(Span::new().days(i64::from(self.lookback)));
        if self.lookback > 0 && record.fetched_at < self.end_of(later) {
            Standing::Stale
        } else {
            whole
        }
    }

    /// Returns how each day from `first` to `last` stands.
    pub fn standings<'l>(
        &'l self,
        ledger: &'l Ledger,
        first: Date,
        last: Date,
    ) -> impl Iterator<Item = (Date, Standing)> + 'l {
        days(first, last).map(|day| (day, self.standing(day, ledger.get(day))))
    }

    /// Returns the day after the last of the unbroken run of whole days from
    /// `start` on; `start` if it is not whole itself.
    pub fn after_unbroken(&self, ledger: &Ledger, start: Date) -> Date {
        let mut day = start;
        while self.standing(day, ledger.get(day)).is_whole() {
            match day.tomorrow() {
                Ok(next) => day = next,
                Err(_) => break,
            }
        }
        day
    }
}

/// Returns the days from `first` to `last`, both inclusive.
pub fn days(first: Date, last: Date) -> impl Iterator<Item = Date> {
    first
        .series(Span::new().days(1))
        .take_while(move |day| *day <= last)
}

/// Returns the first instant of a day.
pub fn start_of(day: Date, zone: &TimeZone) -> Timestamp {
    let midnight = day.to_datetime(jiff::civil::Time::midnight());
    // Only the first and last day of jiff's calendar have no instant in some
    // zone.
    zone.to_timestamp(midnight).unwrap_or(if day.year() > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    })
}

/// Joins days that follow one another into ranges, both ends inclusive. The
/// days are in order.
pub fn ranges(days: impl IntoIterator<Item = Date>) -> Vec<(Date, Date)> {
    let mut ranges: Vec<(Date, Date)> = Vec::new();
    for day in days {
        match ranges.last_mut() {
            Some((_, last)) if last.tomorrow().is_ok_and(|next| next == day) => *last = day,
            _ => ranges.push((day, day)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::unit::{Dataset, UnitKey};

    fn record(day: Date, state: DayState, fetched_at: &str) -> DayRecord {
        DayRecord {
            day,
            state,
            rows: Some(1),
            duplicates: 0,
            bytes: Some(1),
            fetched_at: fetched_at.parse().expect("a time"),
            run_id: "run".to_owned(),
            unit_key: UnitKey::of(&Dataset::default().key(), &serde_json::json!({})),
        }
    }

    fn calendar(zone: &str, lookback: u32) -> Calendar {
        Calendar {
            zone: TimeZone::get(zone).expect("a zone"),
            lookback,
            start: None,
            catches_up: false,
        }
    }

    #[test]
    fn a_day_is_stale_until_lookback_has_passed_since_its_end() {
        let day = date(2024, 3, 9);
        // Two days later the clocks of this zone have gone forward.
        let calendar = calendar("US/Pacific", 2);
        for (fetched_at, standing) in [
            ("2024-03-10T08:00:00Z", Standing::Stale),
            ("2024-03-12T06:59:59Z", Standing::Stale),
            ("2024-03-12T07:00:00Z", Standing::Complete),
        ] {
            let record = record(day, DayState::Complete, fetched_at);
            assert_eq!(
                calendar.standing(day, Some(&record)),
                standing,
                "{fetched_at}"
            );
        }
    }

    #[test]
    fn stale_wins_over_empty_and_nothing_over_partial() {
        let day = date(2024, 1, 1);
        let calendar = calendar("UTC", 5);
        let standing = |state, at| calendar.standing(day, Some(&record(day, state, at)));
        assert_eq!(
            standing(DayState::Empty, "2024-01-02T01:00:00Z"),
            Standing::Stale
        );
        assert_eq!(
            standing(DayState::Empty, "2024-02-02T01:00:00Z"),
            Standing::Empty
        );
        assert_eq!(
            standing(DayState::Partial, "2024-02-02T01:00:00Z"),
            Standing::Partial
        );
        assert_eq!(calendar.standing(day, None), Standing::Missing);
    }

    #[test]
    fn without_lookback_nothing_is_stale() {
        let day = date(2024, 1, 1);
        let record = record(day, DayState::Complete, "2024-01-02T00:00:00Z");
        let standing = calendar("UTC", 0).standing(day, Some(&record));
        assert_eq!(standing, Standing::Complete);
    }

    #[test]
    fn the_unbroken_run_ends_at_the_first_day_that_is_not_whole() {
        let calendar = calendar("UTC", 9);
        let at = "2024-01-06T00:00:00Z";
        let ledger = Ledger::new([
            record(date(2024, 1, 1), DayState::Complete, at),
            record(date(2024, 1, 2), DayState::Empty, at),
            record(date(2024, 1, 3), DayState::Partial, at),
            record(date(2024, 1, 5), DayState::Complete, at),
        ]);
        let after = |day| calendar.after_unbroken(&ledger, date(2024, 1, day));
        assert_eq!(after(1), date(2024, 1, 3));
        assert_eq!(after(4), date(2024, 1, 4));
        assert_eq!(after(5), date(2024, 1, 6));
        assert_eq!(
            calendar.after_unbroken(&Ledger::default(), date(2024, 1, 1)),
            date(2024, 1, 1)
        );
    }

    #[test]
    fn days_that_follow_one_another_are_a_range() {
        let days = [1, 2, 4, 5, 6, 9].map(|day| date(2024, 2, day));
        let range = |a, b| (date(2024, 2, a), date(2024, 2, b));
        assert_eq!(ranges(days), [range(1, 2), range(4, 6), range(9, 9)]);
        assert_eq!(ranges([]), []);
    }
}
