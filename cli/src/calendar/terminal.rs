//! The calendar in a terminal: a sign for each day, readable without colours.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use mixflow::Days;
use mixflow_core::ledger::Standing;

use super::grid::{Cell, Grid, Row, Shape, Totals, named_gaps};
use crate::screen::plain_line;
use crate::ui::{count, counted, short_count};

/// Gaps that are named.
const GAPS: usize = 6;

/// Columns of the name of a row, and what is behind it.
const LABEL: usize = 12;

/// What is drawn, and where.
pub(crate) struct Drawing<'a> {
    /// Which data it is, and where: a line each.
    pub(crate) title: &'a [String],
    pub(crate) days: &'a Days,
    pub(crate) width: u16,
    pub(crate) color: bool,
}

/// Returns the sign of a state. All of them are as wide in every font of a
/// terminal, and none needs a colour to be told from the others.
fn sign(standing: Standing) -> (char, Style) {
    let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    match standing {
        Standing::Complete => ('█', color(AnsiColor::Green)),
        Standing::Empty => ('·', color(AnsiColor::Green)),
        Standing::Stale => ('▒', color(AnsiColor::Cyan)),
        Standing::Partial => ('▄', color(AnsiColor::BrightYellow)),
        Standing::Missing => ('×', color(AnsiColor::BrightRed).bold()),
    }
}

/// Draws what a destination holds.
pub(crate) fn draw(drawing: &Drawing<'_>) -> String {
    let grid = Grid::of(drawing.days);
    let pen = Pen {
        color: drawing.color,
        layout: Layout::of(grid.shape, usize::from(drawing.width)),
    };
    let mut text = String::new();
    for line in drawing.title {
        text.push_str(&plain_line(line));
        text.push('\n');
    }
    text.push('\n');
    if grid.rows.is_empty() {
        text.push_str("there is no day to show yet\n");
        return text;
    }
    text.push_str(&pen.header(grid.shape));
    for row in &grid.rows {
        pen.row(&mut text, grid.shape, row);
    }
    text.push('\n');
    pen.legend(&mut text, drawing.days);
    text
}

/// How much room a day has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Columns of a day.
    cell: usize,
    /// Whether its rows are shown beside its sign.
    with_rows: bool,
    /// Whether the rows of a line are shown at its end.
    with_sum: bool,
}

impl Layout {
    /// Fits a line into `width` columns, of which the last stays free.
    fn of(shape: Shape, width: usize) -> Layout {
        let line = |cell: usize| LABEL + shape.places() * cell;
        let (cell, with_rows) = match shape {
            Shape::Weeks if line(8) < width => (8, true),
            _ if line(2) < width => (2, false),
            _ => (1, false),
        };
        Layout {
            cell,
            with_rows,
            with_sum: line(cell) + 4 < width,
        }
    }
}

struct Pen {
    color: bool,
    layout: Layout,
}

impl Pen {
    /// Returns what stands above the days: their names, or numbers.
    fn header(&self, shape: Shape) -> String {
        let mut line = " ".repeat(LABEL);
        for (at, name) in shape.names().iter().enumerate() {
            let column = LABEL + at * self.layout.cell;
            // A name that would touch the one before is left out.
            if !shape.is_marked(at) || (at > 0 && column <= line.trim_end().len()) {
                continue;
            }
            let _ = write!(line, "{:pad$}{name}", "", pad = column - line.len());
        }
        match line.trim_end() {
            "" => String::new(),
            line => format!("{line}\n"),
        }
    }

    fn row(&self, text: &mut String, shape: Shape, row: &Row) {
        let mut line = format!("{:LABEL$}", shape.label(row));
        for cell in &row.cells {
            self.cell(&mut line, cell.as_ref());
        }
        if self.layout.with_sum {
            let _ = write!(line, "{:>4}", short_count(row.count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    fn cell(&self, line: &mut String, cell: Option<&Cell>) {
        let width = self.layout.cell;
        let Some(cell) = cell else {
            line.push_str(&" ".repeat(width));
            return;
        };
        self.sign(line, cell.standing);
        let rows = match (self.layout.with_rows, cell.rows) {
            (true, Some(rows)) if rows > 0 => format!(" {:>4}", short_count(rows)),
            _ => String::new(),
        };
        let _ = write!(line, "{rows:pad$}", pad = width - 1);
    }

    fn sign(&self, line: &mut String, standing: Standing) {
        let (sign, style) = sign(standing);
        let _ = match self.color {
            true => write!(line, "{style}{sign}{style:#}"),
            false => write!(line, "{sign}"),
        };
    }

    /// Says what the signs mean, how often each is there, and what is lacking.
    fn legend(&self, text: &mut String, days: &Days) {
        let totals = Totals::of(days);
        for (standing, n) in Standing::ALL.into_iter().zip(totals.days) {
            self.sign(text, standing);
            let _ = write!(text, " {} {}   ", count(n), standing.as_str());
        }
        text.truncate(text.trim_end().len());
        let rows = counted(totals.rows, "row");
        let bytes = indicatif::DecimalBytes(totals.bytes);
        let _ = write!(text, "\n{rows}, {bytes} before compression\n");
        let gaps = days.gaps();
        if !gaps.is_empty() {
            let named = named_gaps(&gaps, GAPS);
            let _ = writeln!(text, "missing or partial: {named}");
        }
    }
}
