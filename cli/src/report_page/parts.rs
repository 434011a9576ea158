//! What the page and its charts are made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};
use mixflow_core::report::{PartitionReport, RunReport};

use super::repaired::Repairs;
use crate::ui::seconds;

/// Series of the chart of events; what is beyond is one more.
const SERIES: usize = 7;

/// Wraps what may be wider than a phone; a keyboard can scroll it, and its edges
/// show that there is more.
pub(super) fn scroll(label: &str, wide: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (wide) } }
}

/// Wraps a chart, which has a width below which nobody could read it.
pub(super) fn scroll_chart(label: &str, chart: &Markup) -> Markup {
    html! {
        p.cue aria-hidden="true" { "scroll sideways →" }
        (scroll(label, chart))
    }
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

/// Says how a run ended, and whether a later one has made up for it.
pub(super) fn status(run: &RunReport, repairs: &Repairs) -> Markup {
    let name = run.status.as_str();
    match repairs.contains_key(&run.run_id) {
        true => html! { span class="status repaired" { (name) ", repaired" } },
        false => html! { span class={ "status " (name) } { (name) } },
    }
}

/// A time as a person reads it, and as a program does.
pub(super) fn moment(time: Timestamp) -> Markup {
    let exact = time.strftime("%FT%TZ").to_string();
    html! { time datetime=(exact) { (time.strftime("%a %-d %b %Y, %H:%M UTC").to_string()) } }
}

/// The same in a column whose head says that it is UTC.
pub(super) fn short_moment(time: Timestamp) -> Markup {
    let exact = time.strftime("%FT%TZ").to_string();
    html! { time datetime=(exact) { (time.strftime("%-d %b %Y, %H:%M").to_string()) } }
}

/// A span of time as a person reads it: `0.04 s`, `41 s`, `3 min 5 s`, `2 h 5 min`.
pub(super) fn span(spent: f64) -> String {
    match spent {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 7_200.0 => seconds(s),
        s => format!(
            "{:.0} h {:.0} min",
            (s / 3_600.0).floor(),
            (s % 3_600.0 / 60.0).floor()
        ),
    }
}

/// Returns the day of a time, in UTC.
pub(super) fn day(time: Timestamp) -> String {
    time.strftime("%F").to_string()
}
