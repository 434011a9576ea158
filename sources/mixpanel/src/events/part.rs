//! Parts of a window: what is asked for when all of it is too much at once.
//!
//! Days first, then the events that are named, then the hours of a day. The
//! export takes no condition on an event's name but a list of names, and what is
//! in no list would be lost: so where no events are named a day is split by
//! time alone, by conditions of which one holds for each event and no two do,
//! whatever the server takes `time` for.

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;

use super::windows::Window;

/// The parts that a part is split into, at most.
const PIECES: usize = 4;

/// Seconds of a part that is not split any further.
const SHORT: i64 = 30 * 60;

/// An event's time in the language of `where`, as Mixpanel's documentation
/// writes a number.
const TIME: &str = "number(properties[\"time\"])";

/// A part of a window, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    days: Window,
    /// Only these events; `None` for all that are wanted.
    names: Option<Vec<String>>,
    /// Only from this second on; `None` for what is earlier, too.
    from: Option<i64>,
    /// Only before this second; `None` for what is later, too.
    until: Option<i64>,
}

impl Part {
    /// Returns a window as a whole.
    pub(super) fn all(days: Window) -> Part {
        Part {
            days,
            names: None,
            from: None,
            until: None,
        }
    }

    /// Returns whether only some times of a day are asked for.
    pub(super) fn is_by_time(&self) -> bool {
        self.from.is_some() || self.until.is_some()
    }

    /// Returns whether there are times that are too late for it.
    pub(super) fn is_bounded(&self) -> bool {
        self.until.is_some()
    }

    /// Returns whether only some of the events that are wanted are asked for.
    pub(super) fn is_by_name(&self) -> bool {
        self.names.is_some()
    }

    /// Returns whether an event of this second can be in the answer. Those near
    /// a bound can: there may be fractions that the answer does not have.
    pub(super) fn has(&self, second: f64) -> bool {
        self.from.is_none_or(|from| second > from as f64 - 1.0)
            && self.until.is_none_or(|until| second < until as f64 + 1.0)
    }

    /// Splits it into parts that have each of its events once, where `wanted`
    /// are the names of events that are asked for, if not all are. Returns none
    /// if it is too small.
    pub(super) fn split(&self, wanted: &[String]) -> Vec<Part> {
        let by_days = self.days.split(PIECES);
        if by_days.len() > 1 {
            let of = |days| Part {
                days,
                ..self.clone()
            };
            return by_days.into_iter().map(of).collect();
        }
        let names = self.names.as_deref().unwrap_or(wanted);
        let by_name = groups(names);
        if by_name.len() > 1 {
            let of = |names| Part {
                names: Some(names),
                ..self.clone()
            };
            return by_name.into_iter().map(of).collect();
        }
        self.split_by_time()
    }

    fn split_by_time(&self) -> Vec<Part> {
        let first = self.from.unwrap_or_else(|| midnight(self.days.first));
        let after = self.days.first.saturating_add(1.day());
        let last = self.until.unwrap_or_else(|| midnight(after));
        let pieces = PIECES as i64;
        if last - first <= SHORT {
            return Vec::new();
        }
        let cut = |n| first + (last - first) * n / pieces;
        let part = |n| Part {
            from: if n == 0 { self.from } else { Some(cut(n)) },
            until: if n == pieces - 1 {
                self.until
            } else {
                Some(cut(n + 1))
            },
            ..self.clone()
        };
        (0..pieces).map(part).collect()
    }

    /// Returns what is asked for, where `filters` are those of all parts.
    pub(super) fn query(&self, filters: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut query = vec![
            ("from_date", self.days.first.to_string()),
            ("to_date", self.days.last.to_string()),
        ];
        let of = |key| move |pair: &&(&'static str, String)| pair.0 == key;
        let others = filters
            .iter()
            .filter(|(key, _)| !matches!(*key, "event" | "where"));
        let event = self.names.as_ref().map(|names| json!(names).to_string());
        let event = event.or_else(|| filters.iter().find(of("event")).map(|pair| pair.1.clone()));
        query.extend(event.map(|names| ("event", names)));
        let wanted = filters.iter().find(of("where")).map(|pair| &*pair.1);
        query.extend(self.condition(wanted).map(|all| ("where", all)));
        query.extend(others.cloned());
        query
    }

    /// Returns the condition on events, where `wanted` is that of all parts.
    fn condition(&self, wanted: Option<&str>) -> Option<String> {
        let from = self.from.map(|from| format!("not ({TIME} < {from})"));
        let until = self.until.map(|until| format!("{TIME} < {until}"));
        match (wanted, from.is_some() || until.is_some()) {
            (None, false) => None,
            (Some(wanted), false) => Some(wanted.to_owned()),
            (wanted, true) => {
                let wanted = wanted.map(|wanted| format!("({wanted})"));
                let all: Vec<String> = wanted.into_iter().chain(from).chain(until).collect();
                Some(all.join(" and "))
            }
        }
    }
}

/// Shows `2024-01-01`, and what of it: `2024-01-01 from 06:00 until 12:00`.
impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.days)?;
        if let Some(names) = &self.names {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            write!(f, " of {}", names.join(", "))?;
        }
        for (word, second) in [("from", self.from), ("until", self.until)] {
            if let Some(second) = second {
                let second = second - midnight(self.days.first);
                write!(f, " {word} {:02}:{:02}", second / 3600, second / 60 % 60)?;
            }
        }
        Ok(())
    }
}

/// Splits names into groups; one that stands twice comes once.
fn groups(names: &[String]) -> Vec<Vec<String>> {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(name) {
            once.push(name.clone());
        }
    }
    let size = once.len().div_ceil(PIECES).max(1);
    once.chunks(size).map(<[String]>::to_vec).collect()
}

/// Returns the second at which a day begins for Mixpanel, where wall clocks
/// count as if they were UTC.
fn midnight(day: Date) -> i64 {
    let zoned = day.to_zoned(TimeZone::UTC);
    zoned.map_or(0, |zoned| zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn day() -> Part {
        Part::all(Window::day(date(2024, 1, 5)))
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("event {n}")).collect()
    }

    /// Splits parts, and those that come of it, wherever `goes_on` says so.
    fn leaves(part: Part, wanted: &[String], goes_on: &mut dyn FnMut() -> bool) -> Vec<Part> {
        let pieces = part.split(wanted);
        if pieces.is_empty() || !goes_on() {
            return vec![part];
        }
        let pieces = pieces.into_iter();
        pieces
            .flat_map(|piece| leaves(piece, wanted, goes_on))
            .collect()
    }

    fn shown(parts: &[Part]) -> Vec<String> {
        parts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn days_are_split_first_then_names_then_hours() {
        let (first, last) = (date(2024, 1, 1), date(2024, 1, 5));
        let week = Part::all(Window { first, last });
        let days = week.split(&names(2));
        assert_eq!(
            shown(&days),
            [
                "2024-01-01..2024-01-02",
                "2024-01-03..2024-01-04",
                "2024-01-05"
            ]
        );
        let named = days[2].split(&names(2));
        assert_eq!(
            shown(&named),
            ["2024-01-05 of `event 0`", "2024-01-05 of `event 1`"]
        );
        let hours = named[1].split(&names(2));
        assert_eq!(
            shown(&hours)[..2],
            [
                "2024-01-05 of `event 1` until 06:00",
                "2024-01-05 of `event 1` from 06:00 until 12:00"
            ]
        );
    }

    #[test]
    fn a_part_asks_for_what_the_pipeline_wants_of_it() {
        let filters = [
            ("event", "[\"a\",\"b\"]".to_owned()),
            ("where", "1 == 1 or 2 == 1".to_owned()),
            ("time_in_ms", "true".to_owned()),
        ];
        let all = day().query(&filters);
        assert_eq!(all[2..], filters);
        let a = &day().split(&["a".to_owned(), "b".to_owned()])[0];
        let hours = &a.split(&[])[1].query(&filters);
        assert_eq!(
            hours[2..],
            [
                ("event", "[\"a\"]".to_owned()),
                (
                    "where",
                    "(1 == 1 or 2 == 1) and not (number(properties[\"time\"]) < 1704434400) \
                     and number(properties[\"time\"]) < 1704456000"
                        .to_owned()
                ),
                ("time_in_ms", "true".to_owned()),
            ]
        );
        assert_eq!(day().query(&[]).len(), 2);
    }

    proptest! {
        /// However far it is split, each event of each time is asked for once:
        /// also one whose time is nothing that can be compared.
        #[test]
        fn each_event_is_in_one_part(
            days in 1_i64..9,
            named in 0_usize..11,
            on in 0_i64..9,
            event in 0_usize..11,
            second in prop::option::of(-100_000_i64..200_000),
            cuts in prop::collection::vec(any::<bool>(), 200),
        ) {
            let first = date(2024, 1, 1);
            let last = first.saturating_add((days - 1).days());
            let on = first.saturating_add((on % days).days());
            let wanted = names(named);
            let mut cuts = cuts.into_iter();
            let parts = leaves(Part::all(Window { first, last }), &wanted, &mut || {
                cuts.next().unwrap_or(false)
            });
            let event = wanted.get(event % named.max(1));
            let time = second.map(|second| midnight(on) + second);
            let is_before = |bound: i64| time.is_some_and(|time| time < bound);
            let has = |part: &&Part| {
                (part.days.first..=part.days.last).contains(&on)
                    && event.is_none_or(|event| {
                        part.names.as_ref().is_none_or(|names| names.contains(event))
                    })
                    && part.from.is_none_or(|from| !is_before(from))
                    && part.until.is_none_or(is_before)
            };
            prop_assert_eq!(parts.iter().filter(has).count(), 1);
        }

        #[test]
        fn each_name_is_in_one_group(named in prop::collection::vec("[a-d]{1,2}", 0..40)) {
            let groups = groups(&named);
            prop_assert!(groups.len() <= PIECES);
            for name in &named {
                let found = groups.iter().flatten().filter(|found| *found == name);
                prop_assert_eq!(found.count(), 1);
            }
        }
    }
}
