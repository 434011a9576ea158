//! What the page and its charts are made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};
use mixflow_core::report::{PartitionReport, RunReport};

/// Series of the chart of events; what is beyond is one more.
const SERIES: usize = 7;

/// Wraps what may be wider than a phone; a keyboard can scroll it.
pub(super) fn scroll(label: &str, wide: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (wide) } }
}

/// Returns the names of the most frequent events, the most frequent first.
pub(super) fn top_events(run: &RunReport) -> Vec<String> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, rows) in run.partitions.iter().flat_map(|p| &p.rows_by_event) {
        *totals.entry(name).or_default() += rows;
    }
    let mut totals: Vec<(&str, u64)> = totals.into_iter().collect();
    totals.sort_by_key(|(name, rows)| (std::cmp::Reverse(*rows), *name));
    let names = totals.into_iter().map(|(name, _)| name.to_owned());
    names.take(SERIES).collect()
}

/// Returns the rows of a partition for each of `names`, and for all others.
pub(super) fn rows_of(partition: &PartitionReport, names: &[String]) -> Vec<u64> {
    let of = |name: &String| partition.rows_by_event.get(name).copied().unwrap_or(0);
    let mut rows: Vec<u64> = names.iter().map(of).collect();
    let all: u64 = partition.rows_by_event.values().sum();
    rows.push(all - rows.iter().sum::<u64>());
    rows
}

/// Returns the day of a time, in UTC.
pub(super) fn day(time: Timestamp) -> String {
    time.strftime("%F").to_string()
}
