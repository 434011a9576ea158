//! A sample made larger, or spread over other days.

use std::ops::Range;

use jiff::civil::Date;

use super::data::{Data, Day};
use super::days::{SECONDS_A_DAY, after, days_between, seconds_at};
use super::json;
use super::random::Random;

impl Data {
    /// Repeats the events until there are `events`; profiles stay as they are.
    ///
    /// The first round is the events themselves. In the next ones `time` moves
    /// within its day and `$insert_id` is a new one, so that all events differ
    /// and the days are the same ones. Lines that cannot be read are repeated
    /// as they are.
    pub fn amplified(&self, events: usize) -> Self {
        let templates = self.templates();
        let mut days: Vec<_> = self
            .days
            .keys()
            .map(|date| (*date, Day::default()))
            .collect();
        for number in 0..events {
            let Some(template) = templates.get(number % templates.len().max(1)) else {
                break;
            };
            let round = number / templates.len();
            let day = &mut days[template.day].1;
            match round {
                0 => day.push(template.line),
                _ => day.push(&template.copy(round, number)),
            }
        }
        days.retain(|(_, day)| day.len() > 0);
        Self {
            days: days.into_iter().collect(),
            profiles: self.profiles.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Makes each event at least `bytes` long, by a property `note` of words.
    /// Lines without `properties` stay as they are.
    pub fn padded(&self, bytes: usize) -> Self {
        let mut padded = self.clone();
        for day in padded.days.values_mut() {
            let mut longer = Day::default();
            for (number, line) in day.lines().enumerate() {
                longer.push(&with_note(line, bytes, number));
            }
            *day = longer;
        }
        padded
    }

    /// Moves the events by whole days so that they spread evenly over the days
    /// from `first` to `last`. Lines whose `time` is no whole number stay.
    ///
    /// The sample has 98% of its events on its last day; this evens it out.
    ///
    /// # Panics
    ///
    /// If `last` is before `first`.
    pub fn spread(&self, first: Date, last: Date) -> Self {
        let days = days_between(first, last);
        let mut spread = Self {
            profiles: self.profiles.clone(),
            groups: self.groups.clone(),
            ..Self::default()
        };
        let places = self.days.iter();
        let lines = places.flat_map(|(date, day)| day.lines().map(|line| (*date, line)));
        for (number, (date, line)) in lines.enumerate() {
            let template = Template::new(0, line);
            let target = number as i64 % days;
            match &template.time {
                None => spread.add_raw_line(date, line),
                Some((time, _)) => {
                    let second = time.rem_euclid(SECONDS_A_DAY);
                    let moved = seconds_at(first) + target * SECONDS_A_DAY + second;
                    spread.add_raw_line(after(first, target), template.with(Some(moved), None));
                }
            }
        }
        spread
    }

    /// Returns the events, taking turns between days so that a part of a
    /// round is spread over all of them.
    fn templates(&self) -> Vec<Template<'_>> {
        let longest = self.days.values().map(Day::len).max().unwrap_or(0);
        let places = (0..longest).flat_map(|index| {
            let days = self.days.values().enumerate();
            days.filter(move |(_, day)| index < day.len())
                .map(move |(number, day)| (number, day.line(index)))
        });
        places.map(|(day, line)| Template::new(day, line)).collect()
    }
}

/// A line with the places that a copy changes.
struct Template<'d> {
    day: usize,
    line: &'d [u8],
    /// The time and its place, if it is a whole number.
    time: Option<(i64, Range<usize>)>,
    insert_id: Option<Range<usize>>,
}

impl<'d> Template<'d> {
    fn new(day: usize, line: &'d [u8]) -> Self {
        let mut template = Self {
            day,
            line,
            time: None,
            insert_id: None,
        };
        let Ok(text) = std::str::from_utf8(line) else {
            return template;
        };
        let record = json::members(text).unwrap_or_default();
        let properties = json::last(&record, "properties").map(json::members);
        let properties = properties.and_then(Result::ok).unwrap_or_default();
        let place = |name| json::last(&properties, name).map(|value| json::range_in(text, value));
        let time = place("time");
        template.time = time.and_then(|place| Some((text[place.clone()].parse().ok()?, place)));
        template.insert_id = place("$insert_id");
        template
    }

    fn copy(&self, round: usize, number: usize) -> Vec<u8> {
        let moved = self.time.as_ref().map(|(time, _)| {
            let second = time.rem_euclid(SECONDS_A_DAY);
            time - second + (second + round as i64 * 37) % SECONDS_A_DAY
        });
        self.with(moved, Some(Random(number as u64).next()))
    }

    /// Returns the line with another time and another id, where it has them.
    fn with(&self, time: Option<i64>, insert_id: Option<u64>) -> Vec<u8> {
        let time = self.time.as_ref().zip(time);
        let time = time.map(|((_, place), time)| (place, time.to_string()));
        let id = self.insert_id.as_ref().zip(insert_id);
        let id = id.map(|(place, id)| (place, format!("\"{id:016x}\"")));
        let mut changes: Vec<_> = time.into_iter().chain(id).collect();
        changes.sort_by_key(|(place, _)| place.start);
        let mut copy = Vec::with_capacity(self.line.len() + 16);
        let mut copied = 0;
        for (place, text) in changes {
            copy.extend_from_slice(&self.line[copied..place.start]);
            copy.extend_from_slice(text.as_bytes());
            copied = place.end;
        }
        copy.extend_from_slice(&self.line[copied..]);
        copy
    }
}

/// Adds words to an event until it is `bytes` long; other ones for each number.
fn with_note(line: &[u8], bytes: usize, number: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "cart", "the", "lamp", "of", "checkout", "blue", "and", "summer", "page", "with", "offer",
        "kitchen", "returned", "for", "mobile", "winter",
    ];
    const HEAD: &[u8] = b"\"properties\":{";
    let Some(at) = memchr::memmem::find(line, HEAD) else {
        return line.to_owned();
    };
    let mut note = String::new();
    let mut random = Random(number as u64);
    while line.len() + note.len() + 10 < bytes {
        note.push_str(random.pick(&WORDS));
        note.push(' ');
    }
    let (head, tail) = line.split_at(at + HEAD.len());
    [head, b"\"note\":\"", note.as_bytes(), b"\",", tail].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::normalize_event;
    use jiff::civil::date;
    use std::collections::HashSet;

    fn lines(data: &Data) -> Vec<Vec<u8>> {
        let dates: Vec<_> = data.dates().collect();
        let lines = dates.iter().flat_map(|&date| data.events_on(date));
        lines.map(<[u8]>::to_vec).collect()
    }

    fn distinct_ids(data: &Data) -> HashSet<String> {
        let events = lines(data).into_iter();
        let ids = events.map(|line| normalize_event(&line, false).unwrap().insert_id.unwrap());
        ids.collect()
    }

    #[test]
    fn amplified_events_are_new_and_stay_on_their_days() {
        let data = Data::sample();
        let large = data.amplified(20_001);
        assert_eq!(large.event_count(), 20_001);
        assert_eq!(distinct_ids(&large).len(), 20_001);
        assert_eq!(
            large.dates().collect::<Vec<_>>(),
            data.dates().collect::<Vec<_>>()
        );
        let again = Data::from_lines(lines(&large), []).unwrap();
        let per_day = |data: &Data| -> Vec<_> {
            let counts = data.dates().map(|date| data.events_on(date).count());
            counts.collect()
        };
        assert_eq!(per_day(&again), per_day(&large));
    }

    #[test]
    fn padded_events_are_as_long_as_wanted_and_can_be_read() {
        let data = Data::sample();
        let long = data.padded(900);
        assert!(lines(&long).iter().all(|line| line.len() >= 900));
        assert_eq!(distinct_ids(&long), distinct_ids(&data));
        assert_ne!(lines(&long)[0], lines(&long)[1]);
    }

    #[test]
    fn spread_events_lie_evenly_on_their_days() {
        let data = Data::sample().spread(date(2024, 3, 1), date(2024, 3, 5));
        let counts: Vec<_> = data
            .dates()
            .map(|date| data.events_on(date).count())
            .collect();
        assert_eq!(counts, [1_600; 5]);
        let again = Data::from_lines(lines(&data), []).unwrap();
        assert_eq!(lines(&again), lines(&data));
    }

    #[test]
    fn amplifying_can_also_make_smaller() {
        let small = Data::sample().amplified(28);
        assert_eq!(small.event_count(), 28);
        assert_eq!(small.dates().count(), 14);
        assert_eq!(Data::default().amplified(5).event_count(), 0);
    }
}
