//! Rows whose time is in none of the days that they were fetched for.

use jiff::Timestamp;

use super::super::case::{Case, Checked, expect, expect_ids, well};
use super::super::rows::{batch, begin, context_of_events, day, ids, write};
use super::super::summary::Conformance;
use crate::ledger::{DayRecord, DayState, FetchedUnit, UnitRecord};
use crate::sink::{Outcome, PartitionInfo, Sink, TxnContext, WriteMode};
use crate::source::Extent;
use crate::unit::UnitKey;

/// What a server has for a day, with the day that the rows say.
type Fetched = (u32, Vec<(u32, std::ops::Range<u32>)>);

/// Three days. Of the second one, rows say that they are of the one before and
/// the one after, and of a day that nobody fetches.
fn fetched(n: u32) -> Fetched {
    match n {
        0 => (0, vec![(0, 0..4)]),
        1 => (1, vec![(0, 10..12), (1, 12..15), (2, 15..16), (9, 16..18)]),
        _ => (n, vec![(n, 20..23)]),
    }
}

/// The same window again and again gives the same rows, whatever their time,
/// and no window takes rows of another one.
pub(super) fn rows_outside_their_days(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::ReplaceWindow) else {
        return Ok(Checked::Skipped);
    };
    let all = ids((0..4).chain(10..18).chain(20..23));
    let windows: [&[u32]; 8] = [
        &[0, 1, 2],
        &[0, 1, 2],
        &[0, 1, 2],
        &[0],
        &[1],
        &[2],
        &[1, 2],
        &[1],
    ];
    for (n, window) in windows.into_iter().enumerate() {
        let window: Vec<Fetched> = window.iter().map(|day| fetched(*day)).collect();
        well("replace", replace(&*sink, &window))?;
        expect_ids(case, &format!("after run {n}"), Some(all.clone()))?;
    }
    expect_days(&*sink, &[4, 8, 3])?;
    // A row outside that is gone where it came from.
    well(
        "with fewer",
        replace(&*sink, &[(1, vec![(1, 12..15), (9, 16..17)])]),
    )?;
    let fewer = ids((0..4).chain(12..15).chain(16..17).chain(20..23));
    expect_ids(case, "after a run with fewer rows", Some(fewer))?;
    expect_days(&*sink, &[4, 4, 3])?;
    Ok(Checked::Passed)
}

fn replace(sink: &dyn Sink, window: &[Fetched]) -> crate::Result<()> {
    let cx = context_of_events();
    sink.preview(&cx)?;
    let mut txn = begin(sink, &cx)?;
    let (mut rows, mut units) = (0, Vec::new());
    for (n, parts) in window {
        let info = day(*n);
        txn.partition(&info)?;
        for (day, ids) in parts {
            write(&mut *txn, *n, batch(*day, ids.clone()))?;
        }
        let unit = unit(&cx, &info, parts);
        rows += unit.record.rows;
        units.push(unit);
    }
    txn.commit(&Outcome {
        missing: &[],
        rows,
        units: &units,
    })
    .map(drop)
}

/// Checks the ledger, if the sink keeps one.
fn expect_days(sink: &dyn Sink, rows: &[u64]) -> Result<(), String> {
    let dataset = context_of_events().source.dataset;
    let Some(ledger) = well("the ledger", sink.ledger(&dataset))? else {
        return Ok(());
    };
    let found: Vec<(String, Option<u64>)> = ledger
        .days()
        .map(|record| (record.day.to_string(), record.rows))
        .collect();
    let days = (0..).zip(rows);
    let expected: Vec<_> = days.map(|(n, rows)| (day(n).label, Some(*rows))).collect();
    expect(
        found == expected,
        format!("the days of the ledger are {found:?}, not {expected:?}"),
    )
}

fn unit(
    cx: &TxnContext,
    info: &PartitionInfo,
    parts: &[(u32, std::ops::Range<u32>)],
) -> FetchedUnit {
    let Extent::Days(range) = info.extent else {
        unreachable!("it is a day");
    };
    let count = |is_counted: &dyn Fn(u32) -> bool| -> u64 {
        let counted = parts.iter().filter(|(day, _)| is_counted(*day));
        counted.map(|(_, ids)| u64::from(ids.end - ids.start)).sum()
    };
    let rows = count(&|_| true);
    let fetched_at = Timestamp::UNIX_EPOCH;
    let unit_key = UnitKey::of(&cx.source.dataset.key(), &info.label.clone().into());
    FetchedUnit {
        id: info.id,
        days: vec![DayRecord {
            day: range.first,
            state: DayState::Complete,
            rows: Some(rows),
            duplicates: 0,
            bytes: None,
            fetched_at,
            run_id: cx.run_id.clone(),
            unit_key: unit_key.clone(),
        }],
        record: UnitRecord {
            unit_key,
            label: info.label.clone(),
            days: Some(range),
            fetched_at,
            run_id: cx.run_id.clone(),
            rows,
            duplicates: 0,
            rejected: 0,
            bytes: None,
            sha256: None,
            latest_version: None,
            outside: count(&|day| day != info.id.0),
        },
    }
}
