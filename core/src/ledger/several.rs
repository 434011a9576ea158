//! What several destinations hold of the same dataset.

use jiff::civil::Date;

use super::record::{DayRecord, DayState, Ledger};
use super::store::{Earlier, Held};
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};

impl Ledger {
    /// Returns what this destination and another one both hold: of each day
    /// what is the less whole, or the older.
    #[must_use]
    pub fn in_both(&self, other: &Ledger) -> Ledger {
        let days = self.days().filter_map(|one| {
            let other = other.get(one.day)?;
            Some(lesser(one, other).clone())
        });
        let mut both = Ledger::new(days);
        both.outside = self.outside.max(other.outside);
        both.spans = self.spans.union(&other.spans).copied().collect();
        both.lost = self.lost.clone().or_else(|| other.lost.clone());
        both
    }

    /// Returns what all destinations hold that have these ledgers.
    pub fn in_all(ledgers: impl IntoIterator<Item = Ledger>) -> Ledger {
        let both = |one: Ledger, other| one.in_both(&other);
        ledgers.into_iter().reduce(both).unwrap_or_default()
    }
}

/// Returns which of two records of a day promises less.
fn lesser<'r>(one: &'r DayRecord, other: &'r DayRecord) -> &'r DayRecord {
    let promises = |record: &DayRecord| (record.state != DayState::Partial, record.fetched_at);
    if promises(other) < promises(one) {
        other
    } else {
        one
    }
}

impl Held {
    /// Returns what a source may know of several destinations that it fetches
    /// for: a day is held as far as all of them hold it when the run commits, and
    /// rows stay if they stay somewhere.
    pub fn by_all(all: &[Held]) -> Held {
        if let [one] = all {
            return one.clone();
        }
        let has = |earlier| all.iter().any(|held| held.earlier == earlier);
        let earlier = match (has(Earlier::Stay), has(Earlier::GoByDay)) {
            (true, _) => Earlier::Stay,
            (false, true) => Earlier::GoByDay,
            (false, false) => Earlier::Go,
        };
        let ledgers = all.iter().map(|held| match held.earlier {
            Earlier::Go => Ledger::default(),
            Earlier::Stay | Earlier::GoByDay => (*held.ledger).clone(),
        });
        Held {
            ledger: Ledger::in_all(ledgers).into(),
            earlier,
        }
    }

    /// As [`by_all`](Held::by_all), for a source that fetches the days which the
    /// destinations lack.
    ///
    /// Fails if one of them has a day, on or after `start`, that it would get
    /// twice, since another one lacks it, or may have one since its ledger is
    /// lost.
    pub fn to_catch_up(all: &[(Destination, Held)], start: Option<Date>) -> Result<Held> {
        let held: Vec<Held> = all.iter().map(|(_, held)| held.clone()).collect();
        let common = Held::by_all(&held);
        for (destination, held) in all {
            if let (Earlier::Stay, Some(why)) = (held.earlier, &held.ledger.lost) {
                return Err(unknown(destination, why));
            }
            let is_wanted = |day: &Date| start.is_none_or(|start| *day >= start);
            if let Some(day) = common.would_come_twice(held).find(is_wanted) {
                return Err(apart(destination, day));
            }
        }
        Ok(common)
    }

    /// Returns the days that one of the destinations would get twice from a source
    /// that fetches the days which this lacks.
    fn would_come_twice<'h>(&'h self, one: &'h Held) -> impl Iterator<Item = Date> + 'h {
        let stay = one.earlier == Earlier::Stay;
        let days = one.ledger.days().map(|record| record.day);
        days.filter(move |day| stay && self.ledger.get(*day).is_none())
    }
}

/// Returns the error of a destination that has a day which another one lacks,
/// and to which rows are added.
fn apart(destination: &Destination, day: Date) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot fetch what is missing into {destination}"),
    )
    .because(format!(
        "it has {day}, another sink of the pipeline lacks it, and it would get it twice"
    ))
    .hint("run it with `--only-failed`, if the last run says what the other one lacks, or fill that one by a pipeline of its own")
}

/// Returns the error of a destination to which rows are added, and of which
/// nobody knows the days.
fn unknown(destination: &Destination, why: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("cannot add what is missing to {destination}: it may be there already"),
    )
    .because(why)
    .hint("mend the state folder; if what it knew is lost, set `start` to the first day that the destination lacks, and remove what was set aside")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;
    use crate::unit::{Dataset, UnitKey};

    fn record(day: i8, state: DayState, fetched_at: i64) -> DayRecord {
        DayRecord {
            day: date(2024, 1, day),
            state,
            rows: Some(1),
            duplicates: 0,
            bytes: None,
            fetched_at: Timestamp::from_second(fetched_at).expect("a time"),
            run_id: format!("run {fetched_at}"),
            unit_key: UnitKey::of(&Dataset::default().key(), &serde_json::json!({})),
        }
    }

    fn held(earlier: Earlier, records: &[DayRecord]) -> Held {
        Held {
            ledger: Ledger::new(records.iter().cloned()).into(),
            earlier,
        }
    }

    const WHOLE: DayState = DayState::Complete;

    #[test]
    fn a_day_is_held_as_far_as_all_hold_it() {
        let one = [
            record(1, WHOLE, 10),
            record(2, WHOLE, 10),
            record(3, DayState::Partial, 90),
        ];
        let other = [
            record(2, WHOLE, 5),
            record(3, WHOLE, 10),
            record(4, WHOLE, 10),
        ];
        let both = Ledger::new(one.clone()).in_both(&Ledger::new(other.clone()));
        assert_eq!(both, Ledger::new([other[0].clone(), one[2].clone()]));
        let turned = Ledger::new(other).in_both(&Ledger::new(one));
        assert_eq!(turned, both);
    }

    #[test]
    fn what_lies_outside_somewhere_may_lie_outside() {
        let ledger = |outside, day| {
            let mut ledger = Ledger::default();
            ledger.outside = outside;
            ledger.spans = [(date(2024, 1, day), date(2024, 1, day + 1))].into();
            ledger
        };
        let (one, other) = (ledger(2, 1), ledger(1, 5));
        let both = one.in_both(&other);
        assert_eq!((both.outside, both.spans.len()), (2, 2));
    }

    #[test]
    fn what_one_sink_will_remove_none_holds() {
        let days = [record(1, WHOLE, 1)];
        let go = held(Earlier::Go, &days);
        let by_day = held(Earlier::GoByDay, &days);
        let together = Held::by_all(&[by_day.clone(), go.clone()]);
        assert!(together.ledger.is_empty());
        assert_eq!(together.earlier, Earlier::GoByDay);
        let replaced = Held::by_all(&[go.clone(), go]);
        assert_eq!(replaced.earlier, Earlier::Go);
        let one = Held::by_all(std::slice::from_ref(&by_day));
        assert_eq!(one.ledger, by_day.ledger);
    }

    #[test]
    fn a_day_that_only_one_has_would_come_twice_where_rows_are_added() {
        let one = [record(1, WHOLE, 1)];
        let two = [record(1, WHOLE, 1), record(2, WHOLE, 1)];
        let caught_up = |earlier, start: i8| {
            let less = (Destination::named("less"), held(Earlier::GoByDay, &one));
            let more = (Destination::named("more"), held(earlier, &two));
            Held::to_catch_up(&[less, more], Some(date(2024, 1, start)))
        };
        let error = caught_up(Earlier::Stay, 1).expect_err("2024-01-02 would come twice");
        assert_eq!(error.message(), "cannot fetch what is missing into more");
        assert!(error.causes()[0].starts_with("it has 2024-01-02"));
        assert!(caught_up(Earlier::GoByDay, 1).is_ok());
        // Nobody wants the days before.
        assert!(caught_up(Earlier::Stay, 3).is_ok());
    }
}
