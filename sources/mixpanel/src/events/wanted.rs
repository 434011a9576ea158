//! Which days are fetched: those that are asked for, by what the destination
//! holds of them.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{Span, Timestamp, ToSpan as _};
use mixflow_core::config::{DateSpec, Invalid};
use mixflow_core::ledger::{Calendar, Earlier, Held, Ledger, Standing, days};
use mixflow_core::registry::BuildContext;

use crate::options::{EventsOptions, From};

/// The ages in days at which a day is worth a warning: Mixpanel answers for
/// about two years, and what is older was refused or is no news.
const OLD: std::ops::RangeInclusive<i64> = 700..=730;

/// The days that are asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    from: First,
    to: Date,
    pub(super) calendar: Calendar,
}

/// The first day.
#[derive(Clone, Copy, Debug)]
enum First {
    /// This one.
    Day(Date),
    /// The one after the days that the destination has, from this one on.
    Last(Date),
}

impl Wanted {
    /// Checks the options; `None` if the days are not known. What is wrong goes
    /// to `invalid`.
    pub(super) fn new(
        options: &EventsOptions,
        mut calendar: Calendar,
        cx: &BuildContext,
        invalid: &mut Vec<Invalid>,
    ) -> Option<Wanted> {
        let zone = calendar.zone.clone();
        let mut day = |key: &str, spec: Option<DateSpec>| {
            let Some(spec) = spec else {
                invalid.push(Invalid::new(
                    key,
                    "this is missing, such as `yesterday` or `2024-01-31`",
                ));
                return None;
            };
            spec.resolve(cx.now, &zone)
                .map_err(|message| invalid.push(Invalid::new(key, message)))
                .ok()
        };
        calendar.start = options.start.and_then(|start| day("start", Some(start)));
        let to = day("to", options.to);
        let from = match options.from {
            None => day("from", None).map(First::Day),
            Some(From::Day(spec)) => day("from", Some(spec)).map(First::Day),
            Some(From::Last) => calendar.start.map(First::Last),
        };
        if matches!(options.from, Some(From::Last)) {
            calendar.catches_up = true;
            if options.start.is_none() {
                invalid.push(Invalid::new(
                    "start",
                    "this is missing: with `from = \"last\"` it is the first day ever wanted, such as `2024-01-31`",
                ));
            }
            if options.limit.is_some() {
                invalid.push(Invalid::new(
                    "limit",
                    "with a limit no day is ever whole, and `from = \"last\"` goes by whole days",
                ));
            }
        }
        let (from, to) = (from?, to?);
        if let First::Day(from) = from
            && from > to
        {
            invalid.push(Invalid::new("from", format!("{from} is after `to`, {to}")));
            return None;
        }
        Some(Wanted { from, to, calendar })
    }

    /// Returns the first and the last day, as far as they are known without the
    /// destination.
    pub(super) fn range(&self) -> (Date, Date) {
        match self.from {
            First::Day(from) => (self.looking_back(from), self.to),
            First::Last(start) => (start, self.to),
        }
    }

    /// Returns the days to fetch, in order.
    pub(super) fn days(&self, held: &Held) -> BTreeSet<Date> {
        let ledger = &*held.ledger;
        // What will be gone is not held.
        let empty = Ledger::default();
        let ledger = if held.earlier == Earlier::Go {
            &empty
        } else {
            ledger
        };
        let from = match self.from {
            First::Day(from) => from,
            First::Last(start) => self.calendar.after_unbroken(ledger, start),
        };
        let standing = |day: &Date| self.calendar.standing(*day, ledger.get(*day));
        let may_change =
            |day: &Date| !matches!(standing(day), Standing::Complete | Standing::Empty);
        let catches_up = matches!(self.from, First::Last(_));
        let is_wanted = |day: &Date| match held.earlier {
            Earlier::Go => true,
            // Those before `from` only if they may still change.
            Earlier::GoByDay if catches_up || *day < from => may_change(day),
            Earlier::Stay if catches_up => ledger.get(*day).is_none(),
            Earlier::GoByDay | Earlier::Stay => true,
        };
        let mut wanted: BTreeSet<Date> = days(self.looking_back(from), self.to)
            .filter(is_wanted)
            .collect();
        if held.earlier == Earlier::GoByDay && ledger.outside > 0 {
            add_whole_spans(&mut wanted, ledger);
        }
        wanted
    }

    /// Returns the first day that `lookback` makes of `from`.
    fn looking_back(&self, from: Date) -> Date {
        let back = Span::new().days(i64::from(self.calendar.lookback));
        let first = from.saturating_sub(back);
        self.calendar
            .start
            .map_or(first, |start| first.max(start.min(from)))
    }

    /// Warns when the first of some days will soon be too old to be asked for.
    pub(super) fn warning_of_age(&self, first: Option<&Date>, now: Timestamp) -> Option<String> {
        let first = *first?;
        let today = self.calendar.today(now);
        let age = i64::from((today - first).get_days());
        let last_chance = first.saturating_add(730.days());
        OLD.contains(&age).then(|| {
            format!(
                "{first} is {age} days ago, and Mixpanel answers for about two years: after {last_chance} this day may be refused"
            )
        })
    }
}

/// Adds the other days of each window that was fetched as a whole, if some of
/// its days are wanted.
///
/// Where rows lie outside the days that they were fetched for, nobody can tell
/// which of a window's rows belong to one of its days.
fn add_whole_spans(wanted: &mut BTreeSet<Date>, ledger: &Ledger) {
    loop {
        let before = wanted.len();
        for (first, last) in &ledger.spans {
            if wanted.range(first..=last).next().is_some() {
                wanted.extend(days(*first, *last));
            }
        }
        if wanted.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use mixflow_core::ledger::{DayRecord, DayState};
    use mixflow_core::unit::{Dataset, UnitKey};

    use super::*;

    /// The 11th of January is the last day that is over.
    const NOW: &str = "2024-01-12T03:00:00Z";

    fn wanted(options: &str) -> Result<Wanted, Vec<String>> {
        let options: EventsOptions = toml::from_str(options).expect("options");
        let calendar = Calendar {
            zone: TimeZone::UTC,
            lookback: options.lookback.map_or(0, |days| days.0),
            start: None,
            catches_up: false,
        };
        let cx = BuildContext::new(NOW.parse().expect("a time"));
        let mut invalid = Vec::new();
        let wanted = Wanted::new(&options, calendar, &cx, &mut invalid);
        let keys: Vec<String> = invalid.into_iter().map(|invalid| invalid.key).collect();
        wanted.filter(|_| keys.is_empty()).ok_or(keys)
    }

    /// What is held of January: days that are whole for good, that are stale,
    /// and that are partial.
    fn held(whole: &[i8], stale: &[i8], partial: &[i8], earlier: Earlier) -> Held {
        let record = |state: DayState, late: i8| {
            move |day: &i8| DayRecord {
                day: date(2024, 1, *day),
                state,
                rows: Some(1),
                duplicates: 0,
                bytes: Some(1),
                fetched_at: format!("2024-0{late}-{:02}T01:00:00Z", day + 1)
                    .parse()
                    .expect("a time"),
                run_id: String::new(),
                unit_key: UnitKey::of(&Dataset::default().key(), &serde_json::json!({})),
            }
        };
        let days = whole.iter().map(record(DayState::Complete, 2));
        let days = days.chain(stale.iter().map(record(DayState::Complete, 1)));
        let days = days.chain(partial.iter().map(record(DayState::Partial, 1)));
        Held {
            ledger: Arc::new(Ledger::new(days)),
            earlier,
        }
    }

    fn days_of(options: &str, held: &Held) -> Vec<i8> {
        let wanted = wanted(options).expect("the options are right");
        wanted.days(held).iter().map(|day| day.day()).collect()
    }

    const LAST: &str = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-05\"\n";

    #[test]
    fn last_is_the_day_after_the_unbroken_run_of_whole_days() {
        let by_day = |whole: &[i8], partial: &[i8]| {
            days_of(LAST, &held(whole, &[], partial, Earlier::GoByDay))
        };
        assert_eq!(by_day(&[], &[]), [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(by_day(&[5, 6, 7, 8, 9], &[10]), [10, 11]);
        // What is whole after a gap is not asked for again.
        assert_eq!(by_day(&[5, 6, 9, 10], &[]), [7, 8, 11]);
        assert_eq!(by_day(&[5, 6, 7, 8, 9, 10, 11], &[]), [0; 0]);
        // Whole by lookback only.
        let stale = held(&[5, 6], &[7, 8, 9, 10], &[], Earlier::GoByDay);
        assert_eq!(days_of(LAST, &stale), [11]);
    }

    #[test]
    fn lookback_fetches_only_days_that_may_still_change_and_none_before_start() {
        let held = held(&[5, 6, 7], &[8, 9, 10], &[], Earlier::GoByDay);
        let last = |lookback| days_of(&format!("{LAST}lookback = \"{lookback}d\"\n"), &held);
        assert_eq!(last(2), [9, 10, 11]);
        assert_eq!(last(30), [8, 9, 10, 11]);
        let plain = "from = \"yesterday\"\nto = \"yesterday\"\nlookback = \"5d\"\n";
        assert_eq!(days_of(plain, &held), [8, 9, 10, 11]);
        // Nothing is held before.
        let more = "from = \"yesterday\"\nto = \"yesterday\"\nlookback = \"8d\"\n";
        assert_eq!(days_of(more, &held), [3, 4, 8, 9, 10, 11]);
    }

    #[test]
    fn days_that_are_asked_for_are_fetched_whatever_is_held() {
        let plain = "from = \"2024-01-05\"\nto = \"2024-01-07\"\n";
        for earlier in [Earlier::Stay, Earlier::GoByDay, Earlier::Go] {
            assert_eq!(
                days_of(plain, &held(&[5, 6, 7], &[], &[], earlier)),
                [5, 6, 7]
            );
        }
    }

    #[test]
    fn where_rows_are_added_days_that_are_held_are_left_out() {
        let held = held(&[5, 6], &[7], &[9], Earlier::Stay);
        assert_eq!(days_of(LAST, &held), [8, 10, 11]);
    }

    #[test]
    fn what_a_run_will_remove_is_not_held() {
        let held = held(&[5, 6, 7], &[], &[], Earlier::Go);
        assert_eq!(days_of(LAST, &held), [5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn windows_with_rows_outside_are_fetched_as_a_whole_again() {
        let mut ledger = (*held(&[5, 6, 7, 8, 9], &[], &[], Earlier::GoByDay).ledger).clone();
        ledger.outside = 1;
        ledger.spans = [(5, 7), (7, 9)]
            .map(|(a, b)| (date(2024, 1, a), date(2024, 1, b)))
            .into();
        let held = Held {
            ledger: Arc::new(ledger),
            earlier: Earlier::GoByDay,
        };
        let one = "from = \"2024-01-05\"\nto = \"2024-01-05\"\n";
        assert_eq!(days_of(one, &held), [5, 6, 7, 8, 9]);
        let other = "from = \"2024-01-10\"\nto = \"2024-01-10\"\n";
        assert_eq!(days_of(other, &held), [10]);
    }

    #[test]
    fn what_last_needs_and_cannot_have_is_named() {
        let refused = |options: &str| wanted(options).err().unwrap_or_default();
        assert_eq!(refused("from = \"last\"\nto = \"today\"\n"), ["start"]);
        assert_eq!(refused(&format!("{LAST}limit = 5\n")), ["limit"]);
        assert_eq!(refused("to = \"today\"\n"), ["from"]);
        // The first day is yet to come.
        let none = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-03-01\"\n";
        assert_eq!(
            days_of(none, &held(&[], &[], &[], Earlier::GoByDay)),
            [0; 0]
        );
    }

    #[test]
    fn days_that_mixpanel_soon_forgets_are_warned_about() {
        let wanted = wanted(LAST).expect("the options are right");
        let now: Timestamp = NOW.parse().expect("a time");
        let warning = |day| wanted.warning_of_age(Some(&day), now);
        assert!(warning(date(2022, 3, 1)).is_none() && warning(date(2021, 3, 1)).is_none());
        let warning = warning(date(2022, 1, 20)).expect("it is old");
        assert!(warning.contains("after 2024-01-20"), "{warning}");
    }
}
