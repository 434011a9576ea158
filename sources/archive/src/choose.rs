//! Which body has the newest rows of each day.

use jiff::ToSpan as _;
use jiff::civil::Date;

/// Days that follow each other, and the body that has the newest rows of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first day.
    pub first: Date,
    /// The last day, inclusive.
    pub last: Date,
    /// Which of the bodies; `None` if none has these days.
    pub body: Option<usize>,
}

/// Splits the days from `first` to `last` among bodies, which are given by their
/// first and last day in the order in which they were fetched.
///
/// Each day is taken from the body that was fetched last of those that cover it,
/// so a week that was fetched once gives only those of its days that nobody has
/// fetched again. A body of which days in the middle are not taken is in several
/// pieces.
pub fn choose(
    bodies: impl IntoIterator<Item = (Date, Date)>,
    first: Date,
    last: Date,
) -> Vec<Piece> {
    let mut days: Vec<(Date, Option<usize>)> = first
        .series(1.day())
        .take_while(|day| *day <= last)
        .map(|day| (day, None))
        .collect();
    for (body, (from, to)) in bodies.into_iter().enumerate() {
        let begin = days.partition_point(|(day, _)| *day < from);
        let end = days.partition_point(|(day, _)| *day <= to).max(begin);
        for (_, chosen) in &mut days[begin..end] {
            *chosen = Some(body);
        }
    }
    let alike = days.chunk_by(|(_, one), (_, other)| one == other);
    alike
        .map(|days| Piece {
            first: days[0].0,
            last: days[days.len() - 1].0,
            body: days[0].1,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn day(n: i32) -> Date {
        date(2024, 2, 20).saturating_add(n.days())
    }

    #[test]
    fn a_week_gives_the_days_that_nobody_has_fetched_again() {
        let bodies = [(day(0), day(6)), (day(1), day(1)), (day(4), day(5))];
        let piece = |first, last, body| Piece {
            first: day(first),
            last: day(last),
            body,
        };
        assert_eq!(
            choose(bodies, day(0), day(8)),
            [
                piece(0, 0, Some(0)),
                piece(1, 1, Some(1)),
                piece(2, 3, Some(0)),
                piece(4, 5, Some(2)),
                piece(6, 6, Some(0)),
                piece(7, 8, None),
            ]
        );
        // Fetched again as a whole, it is all that counts.
        let again = bodies.into_iter().chain([(day(0), day(6))]);
        assert_eq!(choose(again, day(0), day(6)), [piece(0, 6, Some(3))]);
        assert_eq!(choose(bodies, day(3), day(2)), []);
    }

    proptest! {
        /// The model: a table in which each fetch replaces its days.
        #[test]
        fn each_day_is_what_a_table_has_after_all_fetches(
            fetches in prop::collection::vec((0..20_i32, 0..8_i32), 0..12),
            first in 0..20_i32,
            length in 0..20_i32,
        ) {
            let last = first + length;
            let mut table = BTreeMap::new();
            for (body, (from, length)) in fetches.iter().enumerate() {
                table.extend((*from..=from + length).map(|n| (day(n), body)));
            }
            let bodies = fetches.iter().map(|(from, length)| (day(*from), day(from + length)));
            let pieces = choose(bodies, day(first), day(last));
            let mut next = day(first);
            for piece in &pieces {
                // Every day once, in order.
                prop_assert_eq!(piece.first, next);
                prop_assert!(piece.first <= piece.last);
                for day in piece.first.series(1.day()).take_while(|day| *day <= piece.last) {
                    prop_assert_eq!(table.get(&day).copied(), piece.body);
                }
                next = piece.last.saturating_add(1.day());
            }
            prop_assert_eq!(next, day(last + 1));
            // And in as few pieces as there can be.
            prop_assert!(pieces.windows(2).all(|two| two[0].body != two[1].body));
        }
    }
}
