//! A table for people, where no terminal says how wide it may be.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle,
    TableStyle, Width,
};
use mixflow_core::Result;

use super::rows::{FOR_PEOPLE, RowWriter, formatters, unwritten};
use crate::screen::plain_line;
use crate::ui::counted;

/// Rows that decide how wide columns are, and that are in memory at once.
const CHUNK: usize = 1_000;

/// The lines of DuckDB's shell.
const BOX: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('┌', '─', '┬', '┐'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('└', '─', '┴', '┘'));

/// Collects rows and prints them a chunk at a time, each whole on one line.
pub(super) struct Table<W> {
    out: W,
    schema: SchemaRef,
    chunk: Vec<Vec<String>>,
    /// The widths of the first chunk, once it is printed.
    widths: Option<Vec<u16>>,
    rows: u64,
}

impl<W: Write> Table<W> {
    pub(super) fn new(out: W, schema: &SchemaRef) -> Table<W> {
        Table {
            out,
            schema: schema.clone(),
            chunk: Vec::new(),
            widths: None,
            rows: 0,
        }
    }

    /// Prints the rows that are there, and the lower edge if they are the last.
    fn print(&mut self, last: bool) -> Result<()> {
        let mut table = drawn();
        self.fill(&mut table);
        // At least as wide as those of the first chunk.
        let widths = self.widths.iter().flatten();
        let widths = widths.map(|width| Width::Fixed(*width));
        table.set_constraints(widths.map(ColumnConstraint::LowerBoundary));
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
            table.add_row(cells.into_iter().map(Cell::new));
        }
        align(table, &self.schema);
    }
}

/// Returns a table without rows, whose texts are as wide as they are.
pub(super) fn drawn() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(BOX);
    table.force_no_tty();
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Puts numbers to the right.
pub(super) fn align(table: &mut comfy_table::Table, schema: &SchemaRef) {
    for (field, column) in schema.fields().iter().zip(table.column_iter_mut()) {
        if field.data_type().is_numeric() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Returns how wide the columns of a table are, by its upper edge.
fn widths_of(lines: &[String]) -> Vec<u16> {
    let edge = lines.first().map_or("", String::as_str);
    let columns = edge.trim_matches(['┌', '┐']).split('┬');
    let width = |column: &str| u16::try_from(column.chars().count()).unwrap_or(u16::MAX);
    columns.map(width).collect()
}

/// Returns the line after the header, which may take several.
fn body_of(lines: &[String]) -> usize {
    let separator = lines.iter().position(|line| line.starts_with('├'));
    separator.map_or(0, |n| n + 1)
}

impl<W: Write> RowWriter for Table<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = formatters(batch, &FOR_PEOPLE)?;
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
