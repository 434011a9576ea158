//! Some of a body's days: the others have been fetched again.

use mixflow_core::source::Extent;

use super::windows::Window;

/// From when to when rows are taken.
///
/// What is before the first day of a body, where the zone is not the project's,
/// goes with the first, and what is after the last one with the last. So each
/// row of a body is in one of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The first instant; `None` if nothing is before it.
    from_us: Option<i64>,
    /// The first instant after it; `None` if nothing is there.
    until_us: Option<i64>,
}

impl Taken {
    /// All of a body.
    pub(super) const ALL: Taken = Taken {
        from_us: None,
        until_us: None,
    };

    /// Takes `days`, whose instants are in `extent`, of a body that has `all`.
    pub(super) fn of(extent: Extent, days: Window, all: Window) -> Taken {
        let Extent::Days(range) = extent else {
            return Taken::ALL;
        };
        Taken {
            from_us: (days.first > all.first).then_some(range.start_us),
            until_us: (days.last < all.last).then_some(range.end_us),
        }
    }

    /// Returns whether the body is taken as a whole.
    pub(super) fn is_all(self) -> bool {
        self.from_us.is_none() && self.until_us.is_none()
    }

    /// Returns whether the body's first day is taken.
    pub(super) fn has_first_day(self) -> bool {
        self.from_us.is_none()
    }

    /// Returns whether a row of this time is taken.
    pub(super) fn has(self, time_us: i64) -> bool {
        self.from_us.is_none_or(|from| from <= time_us)
            && self.until_us.is_none_or(|until| time_us < until)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use mixflow_core::source::Dataset;
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    proptest! {
        /// However the days of a body are split, no row comes twice or is lost,
        /// and each that is in its days comes with its own.
        #[test]
        fn each_row_is_in_one_piece(
            cuts in prop::collection::vec(any::<bool>(), 5),
            zone in prop::sample::select(vec!["UTC", "US/Pacific", "America/Sao_Paulo"]),
            hour in -60_i64..220,
        ) {
            let zone = TimeZone::get(zone).expect("a zone");
            // In the first zone with daylight saving the 10th has 23 hours.
            let day = |n: i32| date(2024, 3, 8).saturating_add(n.days());
            let all = Window { first: day(0), last: day(5) };
            let key = Dataset::default().key();
            let mut pieces = vec![all];
            for (n, _) in (1..).zip(cuts).filter(|(_, cut)| *cut) {
                let last = pieces.last_mut().expect("it has one");
                last.last = day(n - 1);
                pieces.push(Window { first: day(n), last: day(5) });
            }
            let extent = |days: Window| days.unit(&key, Some(&zone), None).extent;
            let Extent::Days(range) = extent(all) else {
                unreachable!("a window is of days");
            };
            let at = range.start_us + hour * HOUR;
            let has = |days: &&Window| Taken::of(extent(**days), **days, all).has(at);
            let found: Vec<&Window> = pieces.iter().filter(has).collect();
            prop_assert_eq!(found.len(), 1);
            let instant = jiff::Timestamp::from_microsecond(at).expect("a time");
            let today = instant.to_zoned(zone.clone()).date();
            let days = found[0];
            prop_assert!(
                (days.first <= today && today <= days.last)
                    || (today < all.first && days.first == all.first)
                    || (today > all.last && days.last == all.last)
            );
        }
    }
}
