//! What is known of one property.

use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use xxhash_rust::xxh3::xxh3_64;

use super::super::extract::Observed;
use super::super::json::JsonValue;
use super::super::properties::Facts;
use super::Property;

/// The characters of an example.
const EXAMPLE: usize = 40;

/// 8 KB where a property has many values, for errors of about 1 %.
const LG_REGISTERS: u8 = 13;

/// Where a row stands: its number, and its day since 1970 if it has a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) day: Option<i32>,
}

/// What is known of one property so far.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) filled: u64,
    observed: Observed,
    distinct: HllSketch,
    days: Option<(i32, i32)>,
    example: Option<(u64, String)>,
}

impl Facts for Seen {
    fn none() -> Seen {
        let distinct = HllSketch::new(LG_REGISTERS, HllType::Hll8);
        Seen {
            filled: 0,
            observed: Observed::default(),
            distinct: distinct.expect("4 to 21 is allowed"),
            days: None,
            example: None,
        }
    }

    fn merge(&mut self, other: Seen) {
        self.filled += other.filled;
        self.observed.merge(other.observed);
        let mut union = HllUnion::new(LG_REGISTERS).expect("4 to 21 is allowed");
        union.update(&self.distinct);
        union.update(&other.distinct);
        self.distinct = union.to_sketch(HllType::Hll8);
        if let Some(days) = other.days {
            self.add_days(days);
        }
        let examples = [self.example.take(), other.example];
        self.example = examples.into_iter().flatten().min();
    }
}

impl Seen {
    /// Counts a value.
    pub(super) fn count(&mut self, row: Row, json: &str) {
        let value = JsonValue::of(json);
        if !self.observed.note(&value) {
            return;
        }
        self.filled += 1;
        // A text is one value, however it is escaped; `"1"` is another than `1`.
        let hash = match &value {
            JsonValue::Text(text) => xxh3_64(text.as_bytes()),
            _ => !xxh3_64(json.as_bytes()),
        };
        self.distinct.update_with_coupon(Coupon::from_value(hash));
        if let Some(day) = row.day {
            self.add_days((day, day));
        }
        if self.example.is_none() {
            self.example = Some((row.number, shortened(value.text().unwrap_or(json))));
        }
    }

    fn add_days(&mut self, (first, last): (i32, i32)) {
        let (known_first, known_last) = self.days.unwrap_or((first, last));
        self.days = Some((known_first.min(first), known_last.max(last)));
    }

    /// Returns what is known, of so many rows.
    pub(super) fn finish(self, property: String, rows: u64) -> Property {
        // The other estimate depends on the order in which values came, and on
        // which threads counted them: a catalogue of the same rows is the same.
        let distinct = self.distinct.composite_estimate();
        let day = |day: i32| epoch().checked_add(i64::from(day).days()).ok();
        Property {
            property,
            types: self.observed.types(),
            fill: self.filled as f64 / rows.max(1) as f64,
            distinct: (distinct.round() as u64).min(self.filled),
            first_day: self.days.and_then(|(first, _)| day(first)),
            last_day: self.days.and_then(|(_, last)| day(last)),
            example: self.example.map(|(_, example)| example),
        }
    }
}

fn epoch() -> Date {
    date(1970, 1, 1)
}

/// Returns the text, or its beginning and `…`.
fn shortened(text: &str) -> String {
    if text.chars().nth(EXAMPLE).is_none() {
        return text.to_owned();
    }
    text.chars().take(EXAMPLE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_has_at_most_40_characters() {
        let long = "ü".repeat(40);
        assert_eq!(shortened(&long), long);
        let longer = shortened(&"ü".repeat(41));
        assert_eq!(longer, "ü".repeat(39) + "…");
    }

    #[test]
    fn few_values_are_counted_exactly_and_many_nearly() {
        for (values, error) in [(500, 0), (20_000, 600), (300_000, 9_000)] {
            let [mut odd, mut even, mut all] = [(); 3].map(|()| Seen::none());
            for n in 0..values {
                let half = if n % 2 == 1 { &mut odd } else { &mut even };
                let row = Row {
                    number: n,
                    day: None,
                };
                half.count(row, &n.to_string());
                half.count(row, &n.to_string());
                all.count(row, &n.to_string());
            }
            odd.merge(even);
            let distinct = odd.finish(String::new(), 2 * values).distinct;
            assert!(distinct.abs_diff(values) <= error, "{distinct} of {values}");
            let by_one = all.finish(String::new(), values).distinct;
            assert_eq!(distinct.min(values), by_one, "of {values}");
        }
    }
}
