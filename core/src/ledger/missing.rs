//! What a table lacks of what was asked for, as is kept beside it for people.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::sink::{Outcome, PartitionInfo};
use crate::unit::Extent;

/// A partition that is not in a table, as the metadata of the table lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Missing {
    /// What people call it.
    pub partition: String,
    /// The first day, for date windows.
    pub from: Option<Date>,
    /// The last day, for date windows.
    pub to: Option<Date>,
    /// Why it could not be had.
    pub error: String,
}

/// Adds what a run could not have to what is missing from before.
pub fn add_missing(missing: &mut Vec<Missing>, outcome: &Outcome<'_>) {
    for (info, error) in outcome.missing {
        let (from, to) = days(info.extent).map_or((None, None), |(a, b)| (Some(a), Some(b)));
        missing.retain(|old| old.partition != info.label);
        missing.push(Missing {
            partition: info.label.clone(),
            from,
            to,
            error: error.clone(),
        });
    }
}

/// Returns what is missing of the days from `first` to `last`, of which
/// `held` are there: with the reason, where a run has left one.
pub fn missing_days(
    known: Vec<Missing>,
    held: &[(Date, Date)],
    first: Date,
    last: Date,
) -> Vec<Missing> {
    let days = |first: Date, last: Date| {
        let all = first.series(jiff::Span::new().days(1));
        all.take_while(move |day| *day <= last)
    };
    let held: BTreeSet<Date> = held.iter().flat_map(|(a, b)| days(*a, *b)).collect();
    let mut missing: Vec<Missing> = Vec::new();
    for day in days(first, last).filter(|day| !held.contains(day)) {
        let reason = known.iter().rev().find(|known| {
            matches!((known.from, known.to), (Some(from), Some(to)) if (from..=to).contains(&day))
        });
        let error = reason.map_or(NEVER_FETCHED, |known| known.error.as_str());
        match missing.last_mut() {
            Some(before)
                if before.error == error
                    && before.to.and_then(|to| to.tomorrow().ok()) == Some(day) =>
            {
                before.to = Some(day);
            }
            _ => missing.push(Missing {
                partition: String::new(),
                from: Some(day),
                to: Some(day),
                error: error.to_owned(),
            }),
        }
    }
    for range in &mut missing {
        range.partition = match (range.from, range.to) {
            (Some(from), Some(to)) if from < to => format!("{from}..{to}"),
            (from, _) => from.map(|from| from.to_string()).unwrap_or_default(),
        };
    }
    missing
}

/// Why a day is missing that lies between others.
const NEVER_FETCHED: &str = "nobody has fetched it";

/// Leaves out what has been had by now.
pub fn still_missing(missing: Vec<Missing>, done: &[PartitionInfo]) -> Vec<Missing> {
    let mut had = BTreeSet::new();
    for (first, last) in done.iter().filter_map(|info| days(info.extent)) {
        had.extend(
            first
                .series(jiff::Span::new().days(1))
                .take_while(|day| *day <= last),
        );
    }
    missing
        .into_iter()
        .filter(|old| match (old.from, old.to) {
            (Some(from), Some(to)) => !from
                .series(jiff::Span::new().days(1))
                .take_while(|day| *day <= to)
                .all(|day| had.contains(&day)),
            _ => !done.iter().any(|info| info.label == old.partition),
        })
        .collect()
}

fn days(extent: Extent) -> Option<(Date, Date)> {
    match extent {
        Extent::Days(days) => Some((days.first, days.last)),
        Extent::Page(_) | Extent::Whole => None,
    }
}
