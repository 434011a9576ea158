//! The properties of rows, each with what is counted of it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::json::{Keys, members};

/// The properties that are kept of a table. Who makes keys of identifiers has
/// millions, and each takes memory.
pub const MOST_PROPERTIES: usize = 10_000;

/// What is counted of a property.
pub(crate) trait Facts {
    /// Returns what is known of one that has no value yet.
    fn none() -> Self;

    /// Adds what is known of the same property from other rows.
    fn merge(&mut self, other: Self);
}

/// The properties that came so far: the keys of the outermost objects.
///
/// There are at most [`MOST_PROPERTIES`], those that came first.
pub(crate) struct Properties<F> {
    known: Known<F>,
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

impl<F: Facts> Properties<F> {
    /// Returns none.
    pub(crate) fn new() -> Properties<F> {
        Properties {
            known: Known::new(Admitted::default()),
            members: Vec::new(),
        }
    }

    /// Returns those of other rows of the same table, of which the same are kept
    /// where there are too many.
    pub(crate) fn beside(&self) -> Properties<F> {
        Properties {
            known: Known::new(self.known.admitted.clone()),
            members: Vec::new(),
        }
    }

    /// Gives `count` each value of a row with what is known of its property. Of
    /// keys that are there twice the last one counts.
    ///
    /// Returns whether the row could be read; if not, nothing of it counts.
    pub(crate) fn count(&mut self, json: &str, mut count: impl FnMut(&mut F, &str)) -> bool {
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
            return false;
        }
        self.find_places(json);
        for member in &self.members {
            if let Some(place) = member.place {
                count(&mut self.known.facts[place], &json[member.value.clone()]);
            }
        }
        true
    }

    /// Finds the properties that the members are of.
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

    /// Adds those of other rows.
    pub(crate) fn merge(&mut self, other: Properties<F>) {
        self.known.merge(other.known);
    }

    /// Returns whether there were too many.
    pub(crate) fn is_cut(&self) -> bool {
        self.known.is_cut
    }

    /// Returns each property's key with what is known of it, in no order.
    pub(crate) fn into_facts(self) -> impl Iterator<Item = (Box<str>, F)> {
        let names = self.known.keys.into_names().map(|(name, _)| name);
        names.zip(self.known.facts)
    }
}

/// Returns where a part of a text stands in it.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The properties so far. Each has a place in all of the lists.
struct Known<F> {
    keys: Keys,
    facts: Vec<F>,
    /// The member that was the last one of this property.
    latest: Vec<usize>,
    admitted: Admitted,
    is_cut: bool,
}

impl<F: Facts> Known<F> {
    fn new(admitted: Admitted) -> Known<F> {
        Known {
            keys: Keys::default(),
            facts: Vec::new(),
            latest: Vec::new(),
            admitted,
            is_cut: false,
        }
    }

    /// Returns the place of a property by its key, in quotes, which stands behind
    /// that of the property at `before`; `None` if there are too many.
    fn place_of(&mut self, key: &str, before: Option<usize>) -> Option<usize> {
        let admitted = &self.admitted;
        let place = self
            .keys
            .place_of(key, before, |name| admitted.admits(name));
        self.is_cut |= place.is_none();
        if place == Some(self.facts.len()) {
            self.facts.push(F::none());
            self.latest.push(0);
        }
        place
    }

    fn merge(&mut self, other: Known<F>) {
        self.is_cut |= other.is_cut;
        for ((name, written), facts) in other.keys.into_names().zip(other.facts) {
            match self.keys.named(&name) {
                Some(place) => self.facts[place].merge(facts),
                None => {
                    self.keys.add(name, written);
                    self.facts.push(facts);
                    self.latest.push(0);
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
