//! Whether an object of a record may have a key twice.
//!
//! On the decoder's hot path, so it answers "no" or "perhaps": `mend` looks
//! again, slowly, at the few records of which it says "perhaps".

use super::unescape;

/// Places for keys, of which half are used at most: a record has 30 keys on
/// average. They are 8 KB, and stay in the processor's nearest cache.
const PLACES: usize = 1024;

/// How far from its own place a key may be; more are made up to be slow.
const FARTHEST: usize = 16;

/// The keys of a record, each with the object that it stands in, as hashes.
pub struct Keys {
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
    pub fn start_over(&mut self) {
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
    pub fn may_be_repeated(&self) -> bool {
        self.repeated || self.used > PLACES / 2
    }

    /// Notes that an object begins.
    #[inline]
    pub fn enter(&mut self) {
        self.outer.push(self.object);
        self.objects = self.objects.wrapping_add(1);
        self.object = self.objects;
    }

    /// Notes that the object ends.
    #[inline]
    pub fn leave(&mut self) {
        self.object = self.outer.pop().unwrap_or(0);
    }

    /// Notes a key of the object: what stands in `text` from `start` to `end`.
    #[inline]
    pub fn note(&mut self, text: &[u8], start: usize, end: usize) {
        let hash = hash(self.object, text, start, end);
        let entry = u64::from(self.record) << 32 | u64::from(hash);
        let place = &mut self.places[hash as usize % PLACES];
        if *place >> 32 == u64::from(self.record) {
            self.note_further(entry);
            return;
        }
        *place = entry;
        self.used += 1;
    }

    /// Notes a key whose place is taken, perhaps by itself.
    #[cold]
    fn note_further(&mut self, entry: u64) {
        for further in 0..FARTHEST {
            let place = &mut self.places[(entry as usize + further) % PLACES];
            if *place >> 32 != u64::from(self.record) {
                *place = entry;
                self.used += 1;
                return;
            }
            if *place == entry {
                break;
            }
        }
        self.repeated = true;
    }

    /// Notes a key that has escapes: `"\u0061"` is `"a"`.
    #[cold]
    pub fn note_escaped(&mut self, key: &str) {
        let key = unescape(key);
        self.note(key.as_bytes(), 0, key.len());
    }
}

/// Mixes eight bytes at a time; the last eight may be looked at twice.
#[inline]
fn hash(object: u32, text: &[u8], start: usize, end: usize) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let length = end - start;
    let seed = (u64::from(object) << 32 | length as u64) ^ ODD;
    let state = match length {
        0..8 => fold(seed ^ short(text, start, length), ODD),
        8..=16 => fold(seed ^ word(text, start), ODD ^ word(text, end - 8)),
        _ => long(seed, text, start, end),
    };
    (state >> 32) as u32 ^ state as u32
}

/// Returns fewer than eight bytes.
#[inline]
fn short(text: &[u8], start: usize, length: usize) -> u64 {
    match text.get(start..start + 8) {
        // What stands behind the key is taken off.
        Some(_) => word(text, start) & !(u64::MAX << (8 * length)),
        None => {
            let bytes = text[start..start + length].iter().rev();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
    }
}

fn long(seed: u64, text: &[u8], start: usize, end: usize) -> u64 {
    const ODD: u64 = 0xD6E8_FEB8_6659_FD93;
    let words = (start..end - 8).step_by(8);
    let state = words.fold(seed, |state, at| fold(state ^ word(text, at), ODD));
    fold(state ^ word(text, end - 8), ODD)
}

#[inline]
fn word(text: &[u8], at: usize) -> u64 {
    let bytes = text[at..at + 8].try_into().expect("these are 8 bytes");
    u64::from_le_bytes(bytes)
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

    fn note(keys: &mut Keys, key: &[u8]) {
        keys.note(key, 0, key.len());
    }

    #[test]
    fn the_same_key_counts_in_the_same_object_of_the_same_record_only() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.start_over();
            note(&mut keys, b"a");
            keys.enter();
            note(&mut keys, b"a");
            keys.leave();
            keys.enter();
            note(&mut keys, b"a");
            keys.leave();
            note(&mut keys, b"b");
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
            note(&mut keys, format!("$property number {n}").as_bytes());
        }
        assert!(!keys.may_be_repeated());
        note(&mut keys, b"one more");
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
            let of = |object, key: &[u8]| hash(object, key, 0, key.len());
            prop_assert_eq!(of(1, &key) == of(1, &changed), key == changed);
            prop_assert_ne!(of(1, &key), of(2, &key));
            // What stands around it does not count.
            let inside = [b"x\"", key.as_slice(), b"\": 1 and more"].concat();
            prop_assert_eq!(of(1, &key), hash(1, &inside, 2, 2 + key.len()));
        }
    }
}
