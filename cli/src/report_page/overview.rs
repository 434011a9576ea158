//! All pipelines in a table: how each ran last, and what it lacks.

use maud::{Markup, html};
use mixflow_core::report::{RunReport, Status};

use super::contents::Contents;
use super::parts::{scroll, short_moment, status};
use crate::ui::count;

/// Draws the table of the pipelines whose last runs the page shows.
pub(super) fn section(contents: &Contents<'_>) -> Markup {
    html! {
        section aria-labelledby="overview" {
            h2 id="overview" { "All pipelines" }
            (scroll("All pipelines", &html! {
                table {
                    thead { tr {
                        th scope="col" { "Pipeline" } th scope="col" { "Last run" } th scope="col" { "Ended (UTC)" }
                        th scope="col" { "Last success (UTC)" } th.n scope="col" { "Rows" }
                        th.n scope="col" { "Days lacking" } th scope="col" { "Destination" }
                    } }
                    tbody { @for run in &contents.shown { (row(run, contents)) } }
                }
            }))
        }
    }
}

fn row(run: &RunReport, contents: &Contents<'_>) -> Markup {
    let success = |past: &&RunReport| {
        past.status == Status::Committed
            && past.pipeline == run.pipeline
            && past.destination == run.destination
    };
    let success = contents.all.iter().rev().find(success);
    let held = contents.held.iter().find(|held| held.run_id == run.run_id);
    html! {
        tr {
            th.wrap scope="row" { a href={ "#" (run.run_id) } { (run.pipeline) } }
            td { (status(run, &contents.repairs)) } td { (short_moment(run.completed_at)) }
            td { @match success { Some(run) => (short_moment(run.completed_at)), None => "never" } }
            td.n { (count(run.row_count)) }
            td.n { @match held { Some(held) => (count(held.days.missing())), None => "–" } }
            td.wrap { @for place in run.destinations() { div { (place) } } }
        }
    }
}
