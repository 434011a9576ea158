//! Charts as SVG. What they show is on the page as a table, too.

use std::collections::BTreeMap;

use maud::{Markup, html};
use mixflow_core::report::{PartitionReport, PartitionStatus, RunReport, Timing, WaitReport};

use super::parts::{day, rows_of, scroll_chart, span, top_events};
use super::repaired::Repairs;
use crate::ui::{count, seconds};

/// Runs that the history shows.
pub(super) const RUNS: usize = 50;
/// Partitions that the waterfall and the chart of events show.
const PARTITIONS: usize = 400;

const WIDTH: f64 = 1000.0;
/// For labels, left of a chart.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 10.0;

/// Draws each partition as a bar, from its start to its end.
///
/// Inside of a bar its parts stand one after the other, as long as they took
/// together; in truth decoding and waiting for the sink alternate.
pub(super) fn waterfall(run: &RunReport) -> Markup {
    const ROW: f64 = 18.0;
    const TOP: f64 = 24.0;
    let begun = run.partitions.iter().filter_map(|p| Some((p, p.timing?)));
    let begun: Vec<_> = begun.take(PARTITIONS).collect();
    if begun.is_empty() {
        return html! { p { "No partition has begun." } };
    }
    let end = begun
        .iter()
        .map(|(_, timing)| timing.ended_seconds + timing.write_seconds);
    let end = end.fold(run.duration_seconds, f64::max).max(0.001);
    // As wide as the longest label, so that a phone shows more of the bars.
    let labels = begun.iter().map(|(p, _)| p.label.chars().count());
    let left = (number(labels.max().unwrap_or(0)) * 7.5 + 24.0).min(LEFT);
    let x = |at: f64| left + at / end * (WIDTH - left - RIGHT);
    let mut waited: BTreeMap<&str, Vec<&WaitReport>> = BTreeMap::new();
    for wait in &run.waits {
        waited.entry(&wait.label).or_default().push(wait);
    }
    let step = nice(end / 5.0);
    let ticks: Vec<f64> = (0..)
        .map(|n| f64::from(n) * step)
        .take_while(|at| *at <= end)
        .collect();
    let height = TOP + number(begun.len()) * ROW + 4.0;
    html! {
        (legend(&PARTS.map(|name| (name, match name {
            "wait" => "waiting for a retry or quota",
            "fetch" => "fetching",
            "decode" => "decoding",
            "queue" => "waiting for the sink",
            _ => "the sink writes (below)",
        }))))
        (scroll_chart("Waterfall", &html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-label=(format!("Waterfall of {} partitions over {}", begun.len(), seconds(end))) {
            @for at in &ticks {
                line.grid x1=(n(x(*at))) x2=(n(x(*at))) y1="16" y2=(n(height)) {}
                text.soft x=(n(x(*at))) y="12" text-anchor=(if *at == 0.0 { "start" } else { "middle" }) {
                    (tick(*at))
                }
            }
            @for (row, (p, timing)) in begun.iter().enumerate() {
                (bar(p, timing, &waited, TOP + number(row) * ROW, x))
            }
        }
        }))
        @if run.partitions.len() > begun.len() {
            p { small { "Not drawn: " (run.partitions.len() - begun.len()) " partitions that did not begin, or are beyond " (PARTITIONS) "." } }
        }
    }
}

/// The parts of a bar, one after the other.
const PARTS: [&str; 5] = ["wait", "fetch", "decode", "queue", "write"];

/// Draws one partition, whose upper edge is at `y`.
fn bar(
    p: &PartitionReport,
    timing: &Timing,
    waited: &BTreeMap<&str, Vec<&WaitReport>>,
    y: f64,
    x: impl Fn(f64) -> f64,
) -> Markup {
    html! {
        @let waits = waited.get(p.label.as_str()).map_or(&[][..], Vec::as_slice);
        @let wait = waits.iter().map(|wait| wait.seconds).sum::<f64>().min(timing.fetch_seconds);
        @let parts = [timing.fetch_seconds, timing.decode_seconds, timing.queue_seconds];
        @let class = if p.status == PartitionStatus::Failed { "unit failed" } else { "unit" };
        g class=(class) {
            title { (format!("{}: {} rows in {} tries, {} to {}; waited {}, fetched {}, decoded {}, queued {}, written {}{}",
                p.label, count(p.rows), p.attempts, span(timing.started_seconds), span(timing.ended_seconds),
                span(wait), span(timing.fetch_seconds - wait), span(parts[1]), span(parts[2]), span(timing.write_seconds),
                if p.status == PartitionStatus::Failed { "; failed" } else { "" })) }
            text x=(n(x(0.0) - 6.0)) y=(n(y + 12.0)) text-anchor="end" {
                @if p.status == PartitionStatus::Failed { "✗ " } (short(&p.label, 26))
            }
            @for (at, (part, name)) in parts.iter().zip(["fetch", "decode", "queue"]).enumerate() {
                @let from = timing.started_seconds + parts[..at].iter().sum::<f64>();
                @if *part > 0.0 {
                    rect class=(name) x=(n(x(from))) y=(n(y + 2.0)) width=(n((x(from + part) - x(from)).max(0.5))) height="9" {}
                }
            }
            // Over the fetching: what is between two waits is a try.
            @for (from, long) in placed(waits, timing) {
                rect.wait x=(n(x(from))) y=(n(y + 2.0)) width=(n((x(from + long) - x(from)).max(0.5))) height="9" {}
            }
            @let from = timing.started_seconds + timing.fetch_seconds;
            @if timing.write_seconds > 0.0 {
                rect.write x=(n(x(from))) y=(n(y + 12.0)) width=(n((x(from + timing.write_seconds) - x(from)).max(0.5))) height="3" {}
            }
        }
    }
}

/// Returns when each wait was and how long, within the time that fetching took: one
/// after the other from its start, where a report of old does not say when.
fn placed(waits: &[&WaitReport], timing: &Timing) -> Vec<(f64, f64)> {
    let end = timing.started_seconds + timing.fetch_seconds;
    let mut next = timing.started_seconds;
    let mut placed = Vec::new();
    for wait in waits {
        let from = wait.at_seconds.unwrap_or(next).clamp(next.min(end), end);
        let long = wait.seconds.min(end - from);
        placed.push((from, long));
        next = from + long;
    }
    placed
}

/// Draws the rows of each window as a bar, split by event.
pub(super) fn by_event(run: &RunReport) -> Option<Markup> {
    const HEIGHT: f64 = 220.0;
    const BOTTOM: f64 = 20.0;
    const LEFT: f64 = 70.0;
    let windows: Vec<_> = run.partitions.iter().take(PARTITIONS).collect();
    let most = windows
        .iter()
        .map(|p| p.rows_by_event.values().sum::<u64>());
    let most = most.max().filter(|most| *most > 0)?;
    let names = top_events(run);
    let y = |rows: u64| HEIGHT * (1.0 - number(rows) / number(most)) + 8.0;
    let slot = (WIDTH - LEFT - RIGHT) / number(windows.len());
    let width = (slot * 0.8).clamp(1.0, 60.0);
    // A label each, as long as they do not overlap.
    let every = (90.0 / slot).ceil().max(1.0);
    let has_others = windows.iter().any(|p| rows_of(p, &names).last() > Some(&0));
    let series = series(&names, has_others);
    let series: Vec<(&str, &str)> = series.iter().map(|(a, b)| (&**a, &**b)).collect();
    Some(html! {
        (legend(&series))
        (scroll_chart("Chart of rows", &html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + BOTTOM + 10.0)) role="img"
            aria-label=(format!("Rows of {} windows by event, at most {} in one", windows.len(), count(most))) {
            @for rows in [0, most / 2, most] {
                line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y(rows))) y2=(n(y(rows))) {}
                text.soft x=(n(LEFT - 6.0)) y=(n(y(rows) + 4.0)) text-anchor="end" { (count(rows)) }
            }
            @for (at, p) in windows.iter().enumerate() {
                @let middle = LEFT + (number(at) + 0.5) * slot;
                @let rows = rows_of(p, &names);
                g {
                    title { (p.label) ": " (count(p.rows)) " rows" }
                    @for (s, part) in rows.iter().enumerate() {
                        @let below: u64 = rows[..s].iter().sum();
                        @if *part > 0 {
                            rect class={ "e" (if s == names.len() { 7 } else { s }) } x=(n(middle - width / 2.0))
                                y=(n(y(below + part))) width=(n(width)) height=(n(y(below) - y(below + part))) {}
                        }
                    }
                }
                @if number(at) % every == 0.0 {
                    text.soft x=(n(middle)) y=(n(HEIGHT + BOTTOM + 6.0)) text-anchor="middle" { (short(&p.label, 12)) }
                }
            }
        }
        }))
    })
}

/// Returns what the colours of events mean, each with its class.
fn series(names: &[String], has_others: bool) -> Vec<(String, String)> {
    let named = names.iter().enumerate();
    let named = named.map(|(n, name)| (format!("e{n}"), name.clone()));
    let others = has_others.then(|| ("e7".to_owned(), "others".to_owned()));
    named.chain(others).collect()
}

/// Draws the time of each run of the past, coloured by how it ended.
pub(super) fn history(all: &[RunReport], repairs: &Repairs) -> Markup {
    const HEIGHT: f64 = 140.0;
    const LEFT: f64 = 70.0;
    let runs: Vec<&RunReport> = all[all.len().saturating_sub(RUNS)..].iter().collect();
    let most = runs.iter().map(|run| run.duration_seconds);
    let most = most.fold(0.001, f64::max);
    let slot = (WIDTH - LEFT - RIGHT) / number(runs.len()).max(10.0);
    let y = |seconds: f64| HEIGHT * (1.0 - seconds / most) + 8.0;
    html! {
        (legend(&[("bar-committed", "committed"), ("bar-partial", "partial or stopped"), ("bar-aborted", "aborted"), ("bar-repaired", "repaired by a later run")]))
        (scroll_chart("Chart of runs", &html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + 30.0)) role="img"
            aria-label=(format!("Time of the last {} runs, at most {}", runs.len(), seconds(most))) {
            @for at in [0.0, most] {
                line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y(at))) y2=(n(y(at))) {}
                text.soft x=(n(LEFT - 6.0)) y=(n(y(at) + 4.0)) text-anchor="end" { (seconds(at)) }
            }
            @for (at, run) in runs.iter().enumerate() {
                // A run that took no time is still there to be seen.
                @let height = (HEIGHT + 8.0 - y(run.duration_seconds)).max(2.0);
                @let is_repaired = repairs.contains_key(&run.run_id);
                @let how = if is_repaired { "repaired" } else { run.status.as_str() };
                rect class={ "bar-" (how) } x=(n(LEFT + number(at) * slot + slot * 0.1))
                    y=(n(HEIGHT + 8.0 - height)) width=(n(slot * 0.8)) height=(n(height)) {
                    title { (run.pipeline) ", " (run.started_at.strftime("%F %H:%M UTC").to_string()) ": " (run.status.as_str()) (if is_repaired { ", repaired by a later run" } else { "" }) ", " (count(run.row_count)) " rows in " (span(run.duration_seconds)) }
                }
            }
            @if let (Some(first), Some(last)) = (runs.first(), runs.last()) {
                text.soft x=(n(LEFT)) y=(n(HEIGHT + 24.0)) { (day(first.started_at)) }
                @if day(first.started_at) != day(last.started_at) {
                    text.soft x=(n(LEFT + number(runs.len()) * slot)) y=(n(HEIGHT + 24.0)) text-anchor="end" { (day(last.started_at)) }
                }
            }
        }
        }))
    }
}

fn legend(entries: &[(&str, &str)]) -> Markup {
    html! {
        ul.legend {
            @for (class, text) in entries {
                li {
                    svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" {} }
                    (text)
                }
            }
        }
    }
}

/// Returns what stands at a tick, as a person says it.
fn tick(at: f64) -> String {
    match at {
        s if s >= 3_600.0 && s % 3_600.0 == 0.0 => format!("{} h", s / 3_600.0),
        s if s >= 3_600.0 => format!("{} h {} min", (s / 3_600.0).floor(), s % 3_600.0 / 60.0),
        s if s >= 60.0 && s % 60.0 == 0.0 => format!("{} min", s / 60.0),
        s if s >= 60.0 => format!("{} min {} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{} s", (s * 1000.0).round() / 1000.0),
    }
}

/// Returns a round number that is not below `least`: 1, 2 or 5 times a power of ten,
/// and of minutes and hours those that clocks have.
fn nice(least: f64) -> f64 {
    const CLOCK: [f64; 10] = [
        15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
    ];
    if least > 10.0
        && let Some(step) = CLOCK.into_iter().find(|step| *step >= least)
    {
        return step;
    }
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// Writes a coordinate without digits that nobody sees.
fn n(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a coordinate")]
fn number(value: impl TryInto<u64>) -> f64 {
    value.try_into().unwrap_or(u64::MAX) as f64
}

fn short(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
