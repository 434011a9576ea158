//! Counts the properties of rows.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::json::{decode, members};
use super::Catalog;
use super::facts::{Facts, Row};

/// The properties that are kept of a table. Who makes keys of identifiers has
/// millions, and each takes memory.
pub const MOST_PROPERTIES: usize = 10_000;

/// Counts the properties of rows, one after the other.
///
/// Memory is bounded: by [`MOST_PROPERTIES`], and by 9 KB for each of them.
/// Threads may count parts of the same rows, each [beside](Census::beside) the
/// others, and be [merged](Census::merge).
#[derive(Default)]
pub struct Census {
    rows: u64,
    unreadable: u64,
    known: Known,
    /// The members of the row at hand.
    members: Vec<Member>,
}

/// A key and its value, by where they stand in a row's JSON.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
    /// Where its property stands, unless the key comes once more or is one too
    /// many.
    place: Option<usize>,
}

impl Census {
    /// Returns one that counts other rows of the same table, and the same
    /// properties where there are too many.
    pub fn beside(&self) -> Census {
        let mut census = Census::default();
        census.known.admitted = self.known.admitted.clone();
        census
    }

    /// Counts a row: its number, which orders the rows, its day since 1970 if it
    /// has a time, and its properties.
    pub fn count(&mut self, number: u64, day: Option<i32>, json: Option<&str>) {
        self.rows += 1;
        let Some(json) = json else { return };
        self.members.clear();
        let read = members(json, |key, value| {
            self.members.push(Member {
                key: range_in(json, key),
                value: range_in(json, value),
                place: None,
            });
            Ok(())
        });
        if read.is_err() {
            self.unreadable += 1;
            return;
        }
        self.find_places(json);
        let row = Row { number, day };
        for member in &self.members {
            if let Some(place) = member.place {
                self.known.facts[place].count(row, &json[member.value.clone()]);
            }
        }
    }

    /// Finds the properties that the members are of. Of keys that are there twice
    /// the last one counts.
    fn find_places(&mut self, json: &str) {
        let mut before = None;
        for n in 0..self.members.len() {
            let key = &json[self.members[n].key.clone()];
            let Some(place) = self.known.place_of(key, before) else {
                continue;
            };
            let latest = &mut self.known.latest[place];
            if let Some(earlier) = self.members.get_mut(*latest)
                && *latest < n
                && earlier.place == Some(place)
            {
                earlier.place = None;
            }
            *latest = n;
            self.members[n].place = Some(place);
            before = Some(place);
        }
    }

    /// Adds what one [beside](Census::beside) it has counted.
    pub fn merge(&mut self, other: Census) {
        self.rows += other.rows;
        self.unreadable += other.unreadable;
        self.known.merge(other.known);
    }

    /// Returns what was counted.
    pub fn finish(self) -> Catalog {
        let Known { names, facts, .. } = self.known;
        let mut properties: Vec<(Box<str>, Facts)> = names.into_iter().zip(facts).collect();
        properties.sort_by(|(a, x), (b, y)| y.filled.cmp(&x.filled).then_with(|| a.cmp(b)));
        let properties = properties.into_iter();
        Catalog {
            rows: self.rows,
            properties: properties
                .map(|(name, facts)| facts.finish(name.into(), self.rows))
                .collect(),
            is_cut: self.known.is_cut,
            unreadable: self.unreadable,
        }
    }
}

/// Returns where a part of a text stands in it.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The properties so far. Each has a place in all of the lists.
#[derive(Default)]
struct Known {
    places: HashMap<Box<str>, usize>,
    names: Vec<Box<str>>,
    /// The keys as they were written when they first came, with their quotes.
    written: Vec<Box<str>>,
    facts: Vec<Facts>,
    /// The place of the property that came after it the last time: rows of one
    /// kind have their keys in one order, and to compare a name is several times
    /// as fast as to look it up.
    next: Vec<usize>,
    /// The member that was the last one of this property.
    latest: Vec<usize>,
    admitted: Admitted,
    is_cut: bool,
}

impl Known {
    /// Returns the place of a property by its key, in quotes, which stands behind
    /// that of the property at `before`; `None` if there are too many.
    fn place_of(&mut self, key: &str, before: Option<usize>) -> Option<usize> {
        let guess = before.map_or(0, |before| self.next[before]);
        if self.written.get(guess).is_some_and(|known| **known == *key) {
            return Some(guess);
        }
        let name = decode(key);
        let place = match self.places.get(&*name) {
            Some(place) => *place,
            None if self.admitted.admits(&name) => self.add(name.into(), key.into(), Facts::new()),
            None => {
                self.is_cut = true;
                return None;
            }
        };
        if let Some(before) = before {
            self.next[before] = place;
        }
        Some(place)
    }

    fn add(&mut self, name: Box<str>, written: Box<str>, facts: Facts) -> usize {
        let place = self.names.len();
        self.places.insert(name.clone(), place);
        self.names.push(name);
        self.written.push(written);
        self.facts.push(facts);
        self.next.push(place);
        self.latest.push(0);
        place
    }

    fn merge(&mut self, other: Known) {
        self.is_cut |= other.is_cut;
        let names = other.names.into_iter().zip(other.written);
        for ((name, written), facts) in names.zip(other.facts) {
            match self.places.get(&name) {
                Some(place) => self.facts[*place].merge(facts),
                None => {
                    self.add(name, written, facts);
                }
            }
        }
    }
}

/// The names that are counted, by all that count rows of one table: who counted
/// a property only until there were too many would have too few of it.
#[derive(Clone, Default)]
struct Admitted(Arc<Mutex<HashSet<Box<str>>>>);

impl Admitted {
    fn admits(&self, name: &str) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(name) || (names.len() < MOST_PROPERTIES && names.insert(name.into()))
    }
}
