//! Numbers that are compared exactly.

use std::cmp::Ordering;

/// A number of a column, a literal or a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// Written without fraction or exponent, and at most 127 bits.
    Whole(i128),
    Float(f64),
}

impl Number {
    /// Reads the digits of a literal or of JSON.
    pub(super) fn parse(digits: &str) -> Option<Number> {
        match digits.parse() {
            Ok(whole) => Some(Number::Whole(whole)),
            Err(_) => digits.parse().ok().map(Number::Float),
        }
    }

    /// Returns the other sign of it.
    pub(super) fn negated(self) -> Number {
        match self {
            Number::Whole(whole) => Number::Whole(-whole),
            Number::Float(float) => Number::Float(-float),
        }
    }

    /// Compares exactly, a whole number with a float, too. NaN is equal to
    /// itself and greater than everything else, as in DuckDB.
    pub(super) fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a.cmp(&b),
            (Number::Float(a), Number::Float(b)) => {
                let unordered = || a.is_nan().cmp(&b.is_nan());
                a.partial_cmp(&b).unwrap_or_else(unordered)
            }
            (Number::Whole(a), Number::Float(b)) => whole_to_float(a, b),
            (Number::Float(a), Number::Whole(b)) => whole_to_float(b, a).reverse(),
        }
    }
}

fn whole_to_float(whole: i128, float: f64) -> Ordering {
    // 2^127, the first float that is greater than every `i128`.
    const LIMIT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    if float.is_nan() || float >= LIMIT {
        return Ordering::Less;
    }
    if float < -LIMIT {
        return Ordering::Greater;
    }
    // In this range the cast cuts the fraction off and is exact otherwise.
    let fraction = float.fract();
    whole.cmp(&(float as i128)).then(match fraction {
        f if f > 0.0 => Ordering::Less,
        f if f < 0.0 => Ordering::Greater,
        _ => Ordering::Equal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        let number = |digits| Number::parse(digits).expect("a number");
        let there = number(a).compare(number(b));
        assert_eq!(number(b).compare(number(a)), there.reverse());
        there
    }

    #[test]
    fn numbers_are_compared_exactly() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("9007199254740993", "9007199254740992", Greater),
            // As floats these two would be equal.
            ("9007199254740993", "9007199254740992.0", Greater),
            ("1", "1.0", Equal),
            ("1", "1.5", Less),
            ("-1", "-1.5", Greater),
            ("0", "-0.0", Equal),
            ("0", "0.5", Less),
            ("0", "-0.5", Greater),
            ("170141183460469231731687303715884105727", "1e39", Less),
            ("-170141183460469231731687303715884105728", "-1e39", Greater),
            ("5", "1e999", Less),
            ("5", "NaN", Less),
            ("NaN", "NaN", Equal),
            ("1e999", "NaN", Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }
}
