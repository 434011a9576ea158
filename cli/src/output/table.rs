//! A table for people.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::FormatOptions;
use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Width};
use mixflow_core::Result;

use super::rows::{RowWriter, formatters, unwritten};
use crate::screen::plain_line;
use crate::ui::counted;

/// Rows that decide how wide columns are, and that are in memory at once.
const CHUNK: usize = 1_000;

/// Collects rows and prints them a chunk at a time.
///
/// On a terminal a row is one line and what does not fit is cut; elsewhere
/// nothing is.
pub(super) struct Table<W> {
    out: W,
    schema: SchemaRef,
    terminal: Option<u16>,
    chunk: Vec<Vec<String>>,
    /// The widths of the first chunk, once it is printed.
    widths: Option<Vec<u16>>,
    rows: u64,
}

impl<W: Write> Table<W> {
    pub(super) fn new(out: W, schema: &SchemaRef, terminal: Option<u16>) -> Table<W> {
        Table {
            out,
            schema: schema.clone(),
            terminal,
            chunk: Vec::new(),
            widths: None,
            rows: 0,
        }
    }

    /// Prints the rows that are there, and the lower edge if they are the last.
    fn print(&mut self, last: bool) -> Result<()> {
        let mut table = drawn_as(self.terminal);
        self.fill(&mut table);
        self.constrain(&mut table);
        let lines: Vec<String> = table.lines().collect();
        let is_first = self.widths.is_none();
        if is_first {
            self.widths = Some(widths_of(&lines));
        }
        // The upper edge, the header and what separates it, only once.
        let from = if is_first { 0 } else { body_of(&lines) };
        let to = lines.len() - usize::from(!last);
        for line in &lines[from..to] {
            writeln!(self.out, "{line}").map_err(unwritten)?;
        }
        Ok(())
    }

    /// Moves the rows of the chunk into `table`, below their names.
    fn fill(&mut self, table: &mut comfy_table::Table) {
        let names = self.schema.fields().iter().map(|field| field.name());
        table.set_header(names.map(|name| plain_line(name).into_owned()));
        for cells in self.chunk.drain(..) {
            let mut row = Row::from(cells.into_iter().map(Cell::new).collect::<Vec<_>>());
            if self.terminal.is_some() {
                row.max_height(1);
            }
            table.add_row(row);
        }
        for (field, column) in self.schema.fields().iter().zip(table.column_iter_mut()) {
            if field.data_type().is_numeric() {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }

    /// Makes the columns at least as wide as those of the first chunk: a number
    /// of a later one is never cut.
    fn constrain(&self, table: &mut comfy_table::Table) {
        let widths = match (&self.widths, self.terminal) {
            (Some(widths), _) => widths.clone(),
            (None, Some(width)) => whole_columns(&table.column_max_content_widths(), width),
            (None, None) => Vec::new(),
        };
        let widths = widths.iter().map(|width| Width::Fixed(*width));
        table.set_constraints(widths.map(ColumnConstraint::LowerBoundary));
    }
}

/// Returns a table without rows, for a terminal of this width if there is one.
fn drawn_as(terminal: Option<u16>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(ASCII_FULL_CONDENSED);
    table.style_mut().header_separator.fill = Some('-');
    table.style_mut().header_separator.junction = Some('+');
    table.set_truncation_indicator("…");
    table.force_no_tty();
    match terminal {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// Returns how wide the columns of a table are, by its upper edge.
fn widths_of(lines: &[String]) -> Vec<u16> {
    let edge = lines.first().map_or("", String::as_str);
    let columns = edge.trim_matches('+').split('+');
    let width = |column: &str| u16::try_from(column.len()).unwrap_or(u16::MAX);
    columns.map(width).collect()
}

/// Returns the line after the header, which may take several.
fn body_of(lines: &[String]) -> usize {
    let edges = lines.iter().enumerate();
    let mut edges = edges.filter(|(_, line)| line.starts_with('+'));
    edges.nth(1).map_or(0, |(n, _)| n + 1)
}

impl<W: Write> RowWriter for Table<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = FormatOptions::default().with_null("NULL");
        let columns = formatters(batch, &options)?;
        for row in 0..batch.num_rows() {
            if self.chunk.len() == CHUNK {
                self.print(false)?;
            }
            let cells = columns
                .iter()
                .map(|column| plain_line(&column.value(row).to_string()).into_owned());
            self.chunk.push(cells.collect());
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.print(true)?;
        writeln!(self.out, "{}", counted(self.rows, "row")).map_err(unwritten)?;
        self.out.flush().map_err(unwritten)
    }
}

/// Returns how wide columns of these contents are to be at least: the narrow
/// ones keep all of their text, as long as the others have some room left.
fn whole_columns(contents: &[u16], terminal: u16) -> Vec<u16> {
    const PADDING: u16 = 2;
    const SOME: u16 = 16;
    let mut room = i32::from(terminal) - 1;
    let mut widths: Vec<u16> = contents
        .iter()
        .map(|content| content.saturating_add(PADDING).min(SOME))
        .collect();
    room -= widths
        .iter()
        .map(|width| i32::from(*width) + 1)
        .sum::<i32>();
    let mut narrow_first: Vec<usize> = (0..contents.len()).collect();
    narrow_first.sort_by_key(|n| contents[*n]);
    for n in narrow_first {
        let whole = contents[n].saturating_add(PADDING);
        let more = i32::from(whole) - i32::from(widths[n]);
        if more <= room {
            room -= more;
            widths[n] = whole;
        }
    }
    widths
}
