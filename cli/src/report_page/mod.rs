//! The report as a page: one file that asks for nothing.

mod charts;
mod days;
mod parts;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use mixflow_core::Error;
use mixflow_core::report::{PartitionStatus, RunReport};

use crate::ui::{count, counted, seconds};
use charts::{by_event, history, waterfall};
use parts::{day, rows_of, scroll, top_events};

pub(crate) use days::Held;

/// Returns a page about `shown`, with what their destinations hold and the
/// history of all runs.
pub(crate) fn page(shown: &[&RunReport], held: &[Held], all: &[RunReport]) -> String {
    let title = match shown {
        [run] => format!("mixflow: {} of {}", run.pipeline, day(run.started_at)),
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
                    @if shown.len() > 1 {
                        nav aria-label="Runs" {
                            ul {
                                @for run in shown {
                                    li {
                                        a href={ "#" (run.run_id) } { (run.pipeline) " · " (run.started_at) }
                                        " " (status(run))
                                    }
                                }
                            }
                        }
                    }
                }
                main {
                    @for run in shown { (section(run)) }
                    @for (n, held) in held.iter().enumerate() { (days::section(held, n)) }
                    section aria-labelledby="history" {
                        h2 id="history" { "Run history" }
                        (past(all))
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

fn section(run: &RunReport) -> Markup {
    html! {
        section id=(run.run_id) aria-labelledby={ "h-" (run.run_id) } {
            h2 id={ "h-" (run.run_id) } { (run.pipeline) " " (status(run)) }
            (facts(run))
            @if let Some(error) = &run.error { (problem(error)) }
            @if !run.failed_partitions.is_empty() || run.failed_sinks().next().is_some() { (missing(run)) }
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
    let days = match (&run.from_date, &run.to_date) {
        (Some(from), Some(to)) => format!("{from} to {to}"),
        _ => "–".to_owned(),
    };
    html! {
        dl.facts {
            (fact("Run", &run.run_id))
            (fact("Source", &run.source))
            @for place in run.destinations() {
                (fact("Destination", &place.to_string()))
            }
            (fact("Days", &days))
            (fact("Rows", &count(run.row_count)))
            (fact("Time", &seconds(run.duration_seconds)))
            (fact("Received", &indicatif::DecimalBytes(run.bytes_received).to_string()))
            (fact("Requests", &count(run.requests)))
            (fact("Tried again", &count(run.retries)))
            (fact("Rejected", &rejected(run)))
            (fact("Duplicates left out", &count(run.duplicates)))
        }
    }
}

fn missing(run: &RunReport) -> Markup {
    let partitions = run.partitions.iter();
    let failed = partitions.filter(|p| p.status == PartitionStatus::Failed);
    html! {
        div.problem {
            h3 { "Missing" }
            ul {
                @for partition in failed {
                    li { (partition.label) ": " (partition.error.as_deref().unwrap_or("unknown")) }
                }
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

fn status(run: &RunReport) -> Markup {
    html! { span class={ "status " (run.status.as_str()) } { (run.status.as_str()) } }
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
    let time = |seconds: f64| format!("{seconds:.2}");
    scroll(
        "Partitions",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "Partition" } th scope="col" { "Status" }
                    @for name in ["Worker", "Rows", "Tries", "From s", "To s", "Fetch s", "Decode s", "Queue s", "Write s"] {
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
                                td.n { (time(spent)) }
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
                    th scope="col" { "Partition" } th scope="col" { "For" }
                    th.n scope="col" { "Seconds" } th scope="col" { "Why" }
                } }
                tbody {
                    @for wait in &run.waits {
                        tr {
                            th scope="row" { (wait.label) } td { (wait.kind.as_str()) }
                            td.n { (format!("{:.1}", wait.seconds)) } td.wrap { (wait.reason) }
                        }
                    }
                }
            }
        },
    )
}

fn past(all: &[RunReport]) -> Markup {
    html! {
        (history(all))
        details {
            summary { "As a table" }
            (scroll("Run history", &html! {
                table {
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Pipeline" } th scope="col" { "Status" }
                        th.n scope="col" { "Rows" } th.n scope="col" { "Time" } th scope="col" { "Destination" }
                    } }
                    tbody {
                        @for run in all.iter().rev().take(charts::RUNS) {
                            tr {
                                th scope="row" { (run.started_at) } td { (run.pipeline) } td { (status(run)) }
                                td.n { (count(run.row_count)) } td.n { (seconds(run.duration_seconds)) }
                                td { @for place in run.destinations() { div { (place) } } }
                            }
                        }
                    }
                }
            }))
        }
    }
}
