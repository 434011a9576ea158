//! Keeps a destination from being replaced by next to nothing.
//!
//! An export that is whole by all signs may still lack rows; what was there is
//! not given up for one. Every sink that replaces asks here before it commits,
//! unless it was told `allow_shrink = true`.

use crate::error::{Error, ErrorKind, Result};
use crate::remedy::Remedy;

/// A day that is to be replaced, with its rows before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedDay {
    /// The day: `2024-01-31`.
    pub day: String,
    /// Its rows until now.
    pub before: u64,
    /// Its rows from now on.
    pub after: u64,
}

/// What has fewer rows than this may lose most of them.
const FEW: u64 = 10;

/// Refuses to replace days by less than half of what they were.
///
/// Every sink with `replace_window` asks this before it commits. A day of a
/// few rows may become one without any, as quiet days do.
pub fn check_shrink(days: &[ReplacedDay]) -> Result<()> {
    let shrunk: Vec<String> = days
        .iter()
        .filter(|day| loses_most(day.before, day.after))
        .map(|day| format!("{} from {} to {} rows", day.day, day.before, day.after))
        .collect();
    if shrunk.is_empty() {
        return Ok(());
    }
    Err(refused(
        "cannot replace days by less than half of what they are",
        format!("this would shrink {}", shrunk.join(", ")),
    ))
}

/// Refuses to replace all of a destination by less than half of it, or what is
/// there by nothing.
///
/// Every sink with `replace` asks this before it commits. `before` is zero
/// where there was nothing.
pub fn check_replace(destination: &str, before: u64, after: u64) -> Result<()> {
    let empties = before > 0 && after == 0;
    if !empties && !loses_most(before, after) {
        return Ok(());
    }
    Err(refused(
        &format!("cannot replace {destination} by less than half of it"),
        format!("this would shrink it from {before} to {after} rows"),
    ))
}

fn loses_most(before: u64, after: u64) -> bool {
    before >= FEW && after < before.div_ceil(2)
}

fn refused(message: &str, cause: String) -> Error {
    Error::new(ErrorKind::Data, message)
        .because(cause)
        .with_remedy(Remedy::AllowShrink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_may_not_shrink_below_half() {
        let check = |before, after| {
            check_shrink(&[ReplacedDay {
                day: "2024-01-31".to_owned(),
                before,
                after,
            }])
        };
        for (before, after) in [(0, 0), (9, 0), (10, 5), (11, 6), (1_000, 500), (10, 90)] {
            assert!(check(before, after).is_ok(), "{before} to {after}");
        }
        for (before, after) in [(10, 4), (11, 5), (1_000, 0)] {
            assert!(check(before, after).is_err(), "{before} to {after}");
        }
        let error = check(1_000, 7).expect_err("refused");
        assert_eq!(
            error.causes(),
            ["this would shrink 2024-01-31 from 1000 to 7 rows"]
        );
    }

    #[test]
    fn a_whole_destination_may_neither_shrink_below_half_nor_become_empty() {
        let check = |before, after| check_replace("table t", before, after);
        for (before, after) in [(0, 0), (0, 5), (9, 1), (10, 5), (11, 6), (10, 90)] {
            assert!(check(before, after).is_ok(), "{before} to {after}");
        }
        for (before, after) in [(1, 0), (9, 0), (10, 4), (11, 5), (1_000, 0)] {
            assert!(check(before, after).is_err(), "{before} to {after}");
        }
        let error = check(900, 0).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "cannot replace table t by less than half of it"
        );
        assert_eq!(error.causes(), ["this would shrink it from 900 to 0 rows"]);
    }
}
