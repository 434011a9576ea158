//! The report as a page: one file that asks for nothing.

mod charts;
mod contents;
mod days;
mod overview;
mod parts;
mod repaired;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use mixflow_core::Error;
use mixflow_core::report::{PartitionReport, PartitionStatus, RunReport};

use crate::ui::{count, counted};
use charts::{by_event, history, waterfall};
use parts::{moment, rows_of, scroll, short_moment, span, status, top_events};
use repaired::Repairs;

pub(crate) use contents::Contents;
pub(crate) use days::Held;
pub(crate) use repaired::repairs;

/// Returns a page: the days first, then the runs, then their history.
pub(crate) fn page(contents: &Contents<'_>) -> String {
    let Contents {
        shown,
        held,
        all,
        repairs,
        ..
    } = contents;
    let title = match shown.as_slice() {
        several if contents.is_of_all => {
            format!("mixflow: {}", counted(several.len() as u64, "pipeline"))
        }
        [run] => format!(
            "mixflow: {} of {}",
            run.pipeline,
            run.started_at.strftime("%-d %b %Y")
        ),
        several => format!("mixflow: {}", counted(several.len() as u64, "run")),
    };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is asked of anybody, whatever a name in the data says.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { (title) }
                    @if shown.len() > 1 && !contents.is_of_all {
                        nav aria-label="Runs" {
                            ul {
                                @for run in shown {
                                    li {
                                        a href={ "#" (run.run_id) } { (run.pipeline) " · " (moment(run.started_at)) }
                                        " " (status(run, repairs))
                                    }
                                }
                            }
                        }
                    }
                }
                main {
                    @if contents.is_of_all { (overview::section(contents)) }
                    @for (n, held) in held.iter().enumerate() { (days::section(held, n)) }
                    @for run in shown { (section(run, contents)) }
                    section aria-labelledby="history" {
                        h2 id="history" { "Run history" }
                        (past(all, repairs))
                    }
                }
                footer {
                    p { small { "Written by mixflow " (env!("CARGO_PKG_VERSION")) "." } }
                }
            }
        }
    };
    markup.into_string()
}

fn section(run: &RunReport, contents: &Contents<'_>) -> Markup {
    let repair = contents.repairs.get(&run.run_id);
    let repair = repair.and_then(|id| contents.all.iter().find(|run| run.run_id == *id));
    html! {
        section id=(run.run_id) aria-labelledby={ "h-" (run.run_id) } {
            h2 id={ "h-" (run.run_id) } { "Run of " (run.pipeline) " " (status(run, &contents.repairs)) }
            @if let Some(repair) = repair { (mended(run, repair)) }
            (facts(run))
            @if let Some(error) = &run.error { (problem(error)) }
            @if repair.is_none() && (!run.failed_partitions.is_empty() || run.failed_sinks().next().is_some()) { (missing(run)) }
            @if !run.warnings.is_empty() {
                h3 { "Warnings" }
                ul { @for warning in &run.warnings { li { (warning) } } }
            }
            @if run.partitions.iter().any(|partition| partition.timing.is_some()) {
                h3 { "Where the time went" }
                (waterfall(run))
                details {
                    summary { "As a table" }
                    (partitions(run))
                }
            }
            @let events = by_event(run);
            @if let Some(chart) = events {
                h3 { "Rows by window and event" }
                (chart)
                details {
                    summary { "As a table" }
                    (events_table(run))
                }
            }
            @if !run.waits.is_empty() {
                h3 { "Retries and waits" }
                (waits(run))
            }
        }
    }
}

fn facts(run: &RunReport) -> Markup {
    html! {
        dl.facts {
            (fact("Run", &run.run_id))
            div { dt { "Began" } dd { (moment(run.started_at)) } }
            (fact("Source", &run.source))
            @for place in run.destinations() {
                (fact("Destination", &place.to_string()))
            }
            div {
                dt { "Days" }
                dd {
                    @match (run.from_date, run.to_date) {
                        (Some(from), Some(to)) => { span.whole { (from) } " to " span.whole { (to) } }
                        _ => "–",
                    }
                }
            }
            (fact("Rows", &count(run.row_count)))
            (fact("Took", &span(run.duration_seconds)))
            (fact("Received", &indicatif::DecimalBytes(run.bytes_received).to_string()))
            (fact("Requests", &count(run.requests)))
            (fact("Tried again", &count(run.retries)))
            (fact("Rejected", &rejected(run)))
            (fact("Duplicates left out", &count(run.duplicates)))
        }
    }
}

/// Says that nothing is missing any more, and what was.
fn mended(run: &RunReport, repair: &RunReport) -> Markup {
    let failed = || {
        run.partitions
            .iter()
            .filter(|p| p.status == PartitionStatus::Failed)
    };
    html! {
        div.mended {
            p {
                strong { "Repaired." } " What this run lacked came with the run of " (moment(repair.started_at)) " "
                code { (repair.run_id) } "."
            }
            @if failed().next().is_some() {
                details { summary { "What it lacked" } (failures(failed())) }
            }
        }
    }
}

fn failures<'p>(failed: impl Iterator<Item = &'p PartitionReport>) -> Markup {
    html! {
        ul {
            @for partition in failed {
                @let why = partition.error.as_deref().unwrap_or("unknown");
                li { @if !why.starts_with(&partition.label) { (partition.label) ": " } (why) }
            }
        }
    }
}

fn missing(run: &RunReport) -> Markup {
    let partitions = run.partitions.iter();
    let failed = partitions.filter(|p| p.status == PartitionStatus::Failed);
    html! {
        div.problem {
            h3 { "Missing" }
            (failures(failed))
            ul {
                @for sink in run.failed_sinks() {
                    li { "all of it from " (sink.destination) ": " (sink.error.as_ref().map(Error::in_a_line).unwrap_or_default()) }
                }
            }
            p { "Fetch what is missing with " code { "mixflow run FILE --only-failed" } "." }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn rejected(run: &RunReport) -> String {
    match &run.reject_file {
        Some(file) if run.rejected > 0 => format!("{}, in {file}", count(run.rejected)),
        _ => count(run.rejected),
    }
}

fn problem(error: &Error) -> Markup {
    let causes = error.causes();
    html! {
        div.problem role="alert" {
            p { strong { (error.message()) } }
            @if !causes.is_empty() {
                ul { @for cause in &causes { li { (cause) } } }
            }
            @if let Some(hint) = error.hint_text() { p { "Hint: " (hint) } }
        }
    }
}

fn partitions(run: &RunReport) -> Markup {
    scroll(
        "Partitions",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "Partition" } th scope="col" { "Status" }
                    @for name in ["Worker", "Rows", "Tries", "Began after", "Ended after", "Fetch", "Decode", "Queue", "Write"] {
                        th.n scope="col" { (name) }
                    }
                    th scope="col" { "Error" }
                } }
                tbody {
                    @for p in &run.partitions {
                        @let timing = p.timing.unwrap_or_default();
                        tr {
                            th scope="row" { (p.label) } td { (p.status.as_str()) }
                            td.n { @if p.timing.is_some() { (timing.worker + 1) } }
                            td.n { (count(p.rows)) } td.n { (p.attempts) }
                            @for spent in [timing.started_seconds, timing.ended_seconds, timing.fetch_seconds, timing.decode_seconds, timing.queue_seconds, timing.write_seconds] {
                                td.n { (span(spent)) }
                            }
                            td.wrap { (p.error.as_deref().unwrap_or("")) }
                        }
                    }
                }
            }
        },
    )
}

fn events_table(run: &RunReport) -> Markup {
    let names = top_events(run);
    scroll(
        "Rows by window and event",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "Window" }
                    @for name in &names { th.n scope="col" { (name) } }
                    th.n scope="col" { "Others" } th.n scope="col" { "All" }
                } }
                tbody {
                    @for partition in &run.partitions {
                        tr {
                            th scope="row" { (partition.label) }
                            @for rows in rows_of(partition, &names) { td.n { (count(rows)) } }
                            td.n { (count(partition.rows)) }
                        }
                    }
                }
            }
        },
    )
}

fn waits(run: &RunReport) -> Markup {
    scroll(
        "Retries and waits",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "Partition" } th.n scope="col" { "After" }
                    th scope="col" { "For" } th.n scope="col" { "How long" } th scope="col" { "Why" }
                } }
                tbody {
                    @for wait in &run.waits {
                        tr {
                            th scope="row" { (wait.label) }
                            td.n { (wait.at_seconds.map(span).unwrap_or_default()) }
                            td { (wait.kind.as_str()) } td.n { (span(wait.seconds)) } td.wrap { (wait.reason) }
                        }
                    }
                }
            }
        },
    )
}

fn past(all: &[RunReport], repairs: &Repairs) -> Markup {
    html! {
        (history(all, repairs))
        details {
            summary { "As a table" }
            (scroll("Run history", &html! {
                table {
                    thead { tr {
                        th scope="col" { "Started (UTC)" } th scope="col" { "Pipeline" } th scope="col" { "Status" }
                        th.n scope="col" { "Rows" } th.n scope="col" { "Took" } th scope="col" { "Destination" }
                    } }
                    tbody {
                        @for run in all.iter().rev().take(charts::RUNS) {
                            tr {
                                th scope="row" { (short_moment(run.started_at)) } td { (run.pipeline) } td { (status(run, repairs)) }
                                td.n { (count(run.row_count)) } td.n { (span(run.duration_seconds)) }
                                td { @for place in run.destinations() { div { (place) } } }
                            }
                        }
                    }
                }
            }))
        }
    }
}
