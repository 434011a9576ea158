//! Keys of objects that look like each other.

use std::collections::HashMap;

use super::text::decode;

/// The keys that came so far, each with a place, counted from 0.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    places: HashMap<Box<str>, usize>,
    names: Vec<Box<str>>,
    /// The keys as they were written when they first came, with their quotes.
    written: Vec<Box<str>>,
    /// The place of the key that came after it the last time: rows of one kind
    /// have their keys in one order, and to compare a key is several times as
    /// fast as to look it up.
    next: Vec<usize>,
}

impl Keys {
    /// Returns the place of a key, in quotes, that stands behind the one at
    /// `before`. A new one gets the next place if `admits` allows it.
    pub(crate) fn place_of(
        &mut self,
        key: &str,
        before: Option<usize>,
        admits: impl FnOnce(&str) -> bool,
    ) -> Option<usize> {
        let guess = before.map_or(0, |before| self.next[before]);
        if self.written.get(guess).is_some_and(|known| **known == *key) {
            return Some(guess);
        }
        let name = decode(key);
        let place = match self.places.get(&*name) {
            Some(place) => *place,
            None if admits(&name) => self.add(name.into(), key.into()),
            None => return None,
        };
        if let Some(before) = before {
            self.next[before] = place;
        }
        Some(place)
    }

    /// Returns the place of a key by its name, without quotes.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Adds a key, and returns its place.
    pub(crate) fn add(&mut self, name: Box<str>, written: Box<str>) -> usize {
        let place = self.names.len();
        self.places.insert(name.clone(), place);
        self.names.push(name);
        self.written.push(written);
        self.next.push(place);
        place
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns the name of each, and how it was written, in the order of places.
    pub(crate) fn into_names(self) -> impl Iterator<Item = (Box<str>, Box<str>)> {
        self.names.into_iter().zip(self.written)
    }
}
