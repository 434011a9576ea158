//! Whether an object of a record may have a key twice.
//!
//! On the decoder's hot path, so it answers "no" or "perhaps": `mend` looks
//! again, slowly, at the few records of which it says "perhaps".

use crate::escapes::unescape;

/// Places for keys, of which half are used at most: a record has 30 keys on
/// average. They are 8 KB, and stay in the processor's nearest cache.
const PLACES: usize = 1024;

/// How far from its own place a key may be; more are made up to be slow.
const FARTHEST: usize = 16;

/// The keys of a record, each with the object that it stands in, as hashes.
pub(crate) struct Keys {
    /// The record in the upper half, so that nothing is cleared between
    /// records, and the hash in the lower one.
    places: Box<[u64; PLACES]>,
    used: usize,
    record: u32,
    /// The object that keys are noted for, and how many there have been.
    object: u32,
    objects: u32,
    /// The objects around it.
    outer: Vec<u32>,
    repeated: bool,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys {
            places: Box::new([0; PLACES]),
            used: 0,
            record: 0,
            object: 0,
            objects: 0,
            outer: Vec::new(),
            repeated: false,
        }
    }
}

impl Keys {
    /// Forgets all keys, for the next record.
    pub(crate) fn start_over(&mut self) {
        self.record = match self.record.checked_add(1) {
            Some(record) => record,
            None => {
                self.places.fill(0);
                1
            }
        };
        self.used = 0;
        self.object = 0;
        self.objects = 0;
        self.outer.clear();
        self.repeated = false;
    }

    /// Returns whether an object may have had a key twice.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.repeated
    }

    /// Notes that an object begins.
    #[inline]
    pub(crate) fn enter(&mut self) {
        self.outer.push(self.object);
        self.objects = self.objects.wrapping_add(1);
        self.object = self.objects;
    }

    /// Notes that the object ends.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.object = self.outer.pop().unwrap_or(0);
    }

    /// Notes a key of the object, as it stands between its quotes.
    #[inline]
    pub(crate) fn note(&mut self, key: &[u8]) {
        let hash = hash(self.object, key);
        let entry = u64::from(self.record) << 32 | u64::from(hash);
        let mut at = hash as usize;
        for _ in 0..FARTHEST {
            let place = &mut self.places[at % PLACES];
            if *place >> 32 != u64::from(self.record) {
                *place = entry;
                self.used += 1;
                self.repeated |= self.used > PLACES / 2;
                return;
            }
            if *place == entry {
                break;
            }
            at += 1;
        }
        self.repeated = true;
    }

    /// Notes a key that has escapes: `"\u0061"` is `"a"`.
    #[cold]
    pub(crate) fn note_escaped(&mut self, key: &str) {
        self.note(unescape(key).as_bytes());
    }
}

/// Mixes eight bytes at a time; the last eight may be looked at twice.
#[inline]
fn hash(object: u32, key: &[u8]) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let seed = u64::from(object) << 32 | key.len() as u64;
    let (first, last) = ends(key);
    let mut state = fold(seed ^ first, last ^ ODD);
    if key.len() > 16 {
        for middle in key[8..key.len() - 8].chunks(8) {
            let (first, last) = ends(middle);
            state = fold(state ^ first, last ^ ODD);
        }
    }
    (state >> 32) as u32 ^ state as u32
}

/// Returns the first eight bytes and the last eight, which may overlap; of
/// fewer bytes all are in it.
#[inline]
fn ends(key: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return (
            u32::from_le_bytes(*first).into(),
            u32::from_le_bytes(*last).into(),
        );
    }
    match key {
        [] => (0, 0),
        [first, .., last] => ((*first).into(), u64::from(key[1]) << 8 | u64::from(*last)),
        [only] => ((*only).into(), 0),
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_key_counts_in_the_same_object_of_the_same_record_only() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.start_over();
            keys.note(b"a");
            keys.enter();
            keys.note(b"a");
            keys.leave();
            keys.enter();
            keys.note(b"a");
            keys.leave();
            keys.note(b"b");
            assert!(!keys.may_be_repeated());
        }
        keys.note_escaped("\\u0061");
        assert!(keys.may_be_repeated());
    }

    #[test]
    fn many_keys_are_looked_at_again_and_a_usual_number_is_not() {
        let mut keys = Keys::default();
        keys.start_over();
        for n in 0..PLACES / 2 {
            keys.note(format!("$property number {n}").as_bytes());
        }
        assert!(!keys.may_be_repeated());
        keys.note(b"one more");
        assert!(keys.may_be_repeated());
    }

    proptest! {
        /// Every byte counts, wherever it stands.
        #[test]
        fn keys_that_differ_are_told_apart(
            key in prop::collection::vec(any::<u8>(), 1..70),
            at in any::<prop::sample::Index>(),
            other in any::<u8>(),
        ) {
            let mut changed = key.clone();
            let at = at.index(key.len());
            changed[at] = other;
            prop_assert_eq!(hash(1, &key) == hash(1, &changed), key == changed);
            prop_assert_ne!(hash(1, &key), hash(2, &key));
        }
    }
}
