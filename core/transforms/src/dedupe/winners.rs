//! Which row of each key stays.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use mixflow_core::error::Result;

/// What is known of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Of the key. Two of a billion keys have the same with a probability of
    /// less than 10^-20.
    pub(super) hash: u128,
    pub(super) version: i64,
}

/// Returns a bit for each of `rows` rows: whether it stays.
///
/// `each` gives all records in order, with their rows, and is called once a
/// pass; a pass looks at its share of the keys only.
pub(super) fn of(
    rows: u64,
    passes: u64,
    mut each: impl FnMut(&mut dyn FnMut(u64, Record)) -> Result<()>,
) -> Result<BooleanBuffer> {
    let count = usize::try_from(rows).expect("a bit for each row fits in memory");
    let mut stay = BooleanBufferBuilder::new(count);
    stay.append_n(count, false);
    let mut best: HashMap<u128, (i64, u64), BuildHasherDefault<AsItIs>> = HashMap::default();
    best.reserve(usize::try_from(rows / passes).unwrap_or(0));
    for pass in 0..passes {
        each(&mut |row, record| {
            // The table goes by the lower half.
            if (record.hash >> 64) as u64 % passes != pass {
                return;
            }
            match best.entry(record.hash) {
                Entry::Vacant(entry) => drop(entry.insert((record.version, row))),
                Entry::Occupied(mut entry) => {
                    if record.version > entry.get().0 {
                        entry.insert((record.version, row));
                    }
                }
            }
        })?;
        for (_, (_, row)) in best.drain() {
            stay.set_bit(row as usize, true);
        }
    }
    Ok(stay.finish())
}

/// The keys are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
