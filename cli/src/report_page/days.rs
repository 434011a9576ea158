//! The calendar: what the destination of a pipeline holds now.

use jiff::civil::Date;
use maud::{Markup, html};
use mixflow::Days;
use mixflow_core::ledger::Standing;

use super::parts::{scroll, scroll_chart};
use crate::calendar::{Cell, Grid, Row, Shape, Totals};
use crate::ui::{count, counted, short_count};

/// What a pipeline's destination holds, and what it is called.
pub(crate) struct Held {
    /// The run through which it was found.
    pub(crate) run_id: String,
    /// The pipeline.
    pub(crate) pipeline: String,
    /// Where the rows are.
    pub(crate) destination: String,
    /// Its days.
    pub(crate) days: Days,
}

const WIDTH: u32 = 1000;
const LEFT: u32 = 90;
/// For the rows of a line.
const RIGHT: u32 = 60;
const TOP: u32 = 20;
const LINE: u32 = 24;
/// The edge of a day.
const EDGE: u32 = 18;

/// Draws the days of a destination.
pub(super) fn section(held: &Held, n: usize) -> Markup {
    let (days, id) = (&held.days, format!("days-{n}"));
    let (totals, gaps) = (Totals::of(days), days.gaps());
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { "Days of " (held.pipeline) }
            p {
                (held.destination) " holds " (counted(totals.rows, "row"))
                @if let Some((first, last)) = days.range { "; the days are those from " (first) " to " (last) } "."
            }
            (legend(&totals))
            (scroll_chart("Calendar", &calendar(days, &totals)))
            @if !gaps.is_empty() { (gaps_table(&gaps)) }
        }
    }
}

fn calendar(days: &Days, totals: &Totals) -> Markup {
    let grid = Grid::of(days);
    let lines = folded(&grid.rows);
    let height = TOP + LINE * u32::try_from(lines.len()).unwrap_or(u32::MAX / LINE - 1) + 4;
    let missing = days.missing();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-label=(format!("Calendar of {} days, {} of which are missing or partial", totals.days.iter().sum::<u64>(), count(missing))) {
            (header(grid.shape))
            @for (rows, n) in lines.iter().zip(0..) {
                @match rows {
                    [row] => (line(grid.shape, row, TOP + n * LINE)),
                    rows => (fold(grid.shape, rows, TOP + n * LINE)),
                }
            }
        }
    }
}

/// So many lines in a row of which nothing is there are drawn as one.
const FOLDED: usize = 4;

/// Splits lines into those that are drawn, and stretches of which nothing is there.
fn folded(rows: &[Row]) -> Vec<&[Row]> {
    let mut lines = Vec::new();
    let stretches = rows.chunk_by(|a, b| is_lacking(a) && is_lacking(b));
    for stretch in stretches {
        if stretch.len() >= FOLDED {
            lines.push(stretch);
        } else {
            lines.extend(stretch.chunks(1));
        }
    }
    lines
}

fn is_lacking(row: &Row) -> bool {
    let mut cells = row.cells.iter().flatten();
    cells.all(|cell| cell.standing == Standing::Missing)
}

/// Draws a stretch of which nothing is there.
fn fold(shape: Shape, rows: &[Row], y: u32) -> Markup {
    let days: usize = rows
        .iter()
        .map(|row| row.cells.iter().flatten().count())
        .sum();
    let last = rows.last().map(|row| shape.label(row)).unwrap_or_default();
    html! {
        text x=(LEFT - 8) y=(y + 14) text-anchor="end" { (rows.first().map(|row| shape.label(row)).unwrap_or_default()) }
        (square(Standing::Missing, LEFT, y))
        text x=(LEFT + EDGE + 6) y=(y + 14) { "to " (last) ": " (counted(days as u64, "day")) ", none of them there" }
    }
}

/// Returns where the left edge of a place is.
fn left_of(shape: Shape, place: usize) -> u32 {
    let places = u32::try_from(shape.places()).unwrap_or(1);
    LEFT + (WIDTH - LEFT - RIGHT) / places * u32::try_from(place).unwrap_or(0)
}

fn header(shape: Shape) -> Markup {
    html! {
        @for (place, name) in shape.names().iter().enumerate() {
            @if shape.is_marked(place) {
                text.soft x=(left_of(shape, place)) y="12" { (name) }
            }
        }
    }
}

fn line(shape: Shape, row: &Row, y: u32) -> Markup {
    html! {
        text x=(LEFT - 8) y=(y + 14) text-anchor="end" { (shape.label(row)) }
        @for (place, cell) in row.cells.iter().enumerate() {
            @if let Some(cell) = cell { (day(shape, cell, left_of(shape, place), y)) }
        }
        text.soft x=(WIDTH) y=(y + 14) text-anchor="end" { (short_count(row.count())) }
    }
}

fn day(shape: Shape, cell: &Cell, x: u32, y: u32) -> Markup {
    let standing = cell.standing.as_str();
    html! {
        g {
            title {
                (cell.day) ": " (standing)
                @if let Some(rows) = cell.rows { ", " (counted(rows, "row")) }
            }
            (square(cell.standing, x, y))
            @if let (Shape::Weeks, Some(rows @ 1..)) = (shape, cell.rows) {
                text x=(x + EDGE + 6) y=(y + 14) { (short_count(rows)) }
            }
        }
    }
}

/// Draws a day so that it can be told from others without its colour: whole,
/// hatched, half, an empty frame, or crossed out.
fn square(standing: Standing, x: u32, y: u32) -> Markup {
    let class = standing.as_str();
    html! {
        rect class={ "day " (class) } x=(x) y=(y) width=(EDGE) height=(EDGE) rx="2" {}
        @match standing {
            Standing::Complete | Standing::Empty => {}
            Standing::Stale => {
                @for at in [6, 12] {
                    path.mark d=(format!("M{} {}l{at} -{at}", x, y + at)) {}
                    path.mark d=(format!("M{} {}l{at} -{at}", x + EDGE - at, y + EDGE)) {}
                }
                path.mark d=(format!("M{x} {}l{EDGE} -{EDGE}", y + EDGE)) {}
            }
            Standing::Partial => {
                rect.half x=(x) y=(y + EDGE / 2) width=(EDGE) height=(EDGE / 2) rx="2" {}
            }
            Standing::Missing => {
                path.cross d=(format!("M{} {}l8 8m0 -8l-8 8", x + 5, y + 5)) {}
            }
        }
    }
}

fn legend(totals: &Totals) -> Markup {
    html! {
        ul.legend {
            @for (standing, n) in Standing::ALL.into_iter().zip(totals.days) {
                li {
                    svg viewBox=(format!("-1 -1 {0} {0}", EDGE + 2)) aria-hidden="true" { (square(standing, 0, 0)) }
                    (count(n)) " " (standing.as_str())
                }
            }
        }
    }
}

fn gaps_table(gaps: &[(Date, Date)]) -> Markup {
    html! {
        details {
            summary { "Missing or partial, as a table" }
            (scroll("Missing or partial days", &html! {
                table {
                    thead { tr {
                        th scope="col" { "First" } th scope="col" { "Last" } th.n scope="col" { "Days" }
                    } }
                    tbody {
                        @for (first, last) in gaps {
                            tr {
                                th scope="row" { (first) } td { (last) } td.n { ((*last - *first).get_days() + 1) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
