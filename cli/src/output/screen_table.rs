//! A table on a terminal: as wide as that, and no longer than a person reads.

use std::collections::VecDeque;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use comfy_table::Cell;
use console::{measure_text_width, truncate_str};
use mixflow_core::Result;

use super::fit::{Column, fit};
use super::rows::{FOR_PEOPLE, RowWriter, formatters, unwritten};
use super::table::{align, drawn};
use crate::screen::plain_line;
use crate::ui::{count, counted};

/// The most rows that are shown.
const MOST: usize = 40;

/// Of more than those, so many of the first and of the last.
const HALF: usize = MOST / 2;

/// Stands for the rows that are not shown.
const DOTS: &str = "·";

/// Keeps the rows that will be shown, and draws them when the last has come.
pub(super) struct ScreenTable<'h, W> {
    out: W,
    schema: SchemaRef,
    width: u16,
    /// How to get what is not shown.
    hint: &'h str,
    first: Vec<Vec<String>>,
    /// The end of what came, in batches: at least `HALF` rows if there are.
    last: VecDeque<RecordBatch>,
    rows: usize,
}

impl<W: Write> ScreenTable<'_, W> {
    pub(super) fn new<'h>(
        out: W,
        schema: &SchemaRef,
        width: u16,
        hint: &'h str,
    ) -> ScreenTable<'h, W> {
        ScreenTable {
            out,
            schema: schema.clone(),
            width,
            hint,
            first: Vec::new(),
            last: VecDeque::new(),
            rows: 0,
        }
    }

    /// Remembers the end of a batch, and forgets what is not the end any more.
    fn remember(&mut self, batch: &RecordBatch) {
        let rows = batch.num_rows();
        let from = rows.saturating_sub(HALF);
        self.last.push_back(batch.slice(from, rows - from));
        let mut kept: usize = self.last.iter().map(RecordBatch::num_rows).sum();
        while let Some(oldest) = self.last.front()
            && kept - oldest.num_rows() >= HALF
        {
            kept -= oldest.num_rows();
            self.last.pop_front();
        }
    }

    /// Returns the rows that are shown; between two of them, those that are not.
    fn shown(&mut self) -> Result<Vec<Vec<String>>> {
        let mut rows = std::mem::take(&mut self.first);
        if self.rows <= MOST {
            return Ok(rows);
        }
        rows.truncate(HALF);
        let dots = vec![DOTS.to_owned(); self.schema.fields().len()];
        rows.extend(std::iter::repeat_n(dots, 3));
        let mut end = Vec::new();
        for batch in &self.last {
            end.extend(texts(batch, batch.num_rows())?);
        }
        rows.extend(end.split_off(end.len().saturating_sub(HALF)));
        Ok(rows)
    }

    /// Says how many rows there are, and how to get what is not shown.
    fn footer(&self, columns_shown: usize) -> String {
        let mut said = counted(self.rows as u64, "row");
        let mut lacks = false;
        if self.rows > MOST {
            said += &format!(", of which the first and the last {HALF} are shown");
            lacks = true;
        }
        let left_out = self.schema.fields().iter().skip(columns_shown);
        let left_out: Vec<String> = left_out.map(|one| plain_line(one.name()).into()).collect();
        if !left_out.is_empty() {
            let named = format!("\nno room for {}", left_out.join(", "));
            said += &match measure_text_width(&named) {
                width if width <= self.width.into() => named,
                _ => format!("\nno room for {} columns", count(left_out.len() as u64)),
            };
            lacks = true;
        }
        match lacks {
            true => format!("{said}\nall of it: {}\n", self.hint),
            false => said + "\n",
        }
    }
}

impl<W: Write> RowWriter for ScreenTable<'_, W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let room = (MOST - self.first.len()).min(batch.num_rows());
        self.first.extend(texts(batch, room)?);
        self.rows += batch.num_rows();
        self.remember(batch);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let rows = self.shown()?;
        let names = self.schema.fields().iter();
        let names: Vec<String> = names.map(|field| plain_line(field.name()).into()).collect();
        let columns: Vec<Column> = (0..names.len())
            .map(|n| {
                let cells = rows.iter().map(|row| measure_text_width(&row[n]));
                let widest = cells.max().unwrap_or(0).max(measure_text_width(&names[n]));
                Column::new(self.schema.field(n), widest)
            })
            .collect();
        let widths: Vec<usize> = fit(&columns, self.width.into())
            .into_iter()
            .flatten()
            .collect();
        let cut = |row: &[String]| -> Vec<Cell> {
            let cells = row.iter().zip(&widths);
            cells
                .map(|(text, width)| Cell::new(truncate_str(text, *width, "…")))
                .collect()
        };
        let mut table = drawn();
        table.set_header(cut(&names));
        for row in &rows {
            table.add_row(cut(row));
        }
        align(&mut table, &self.schema);
        for line in table.lines() {
            writeln!(self.out, "{line}").map_err(unwritten)?;
        }
        let footer = self.footer(widths.len());
        self.out.write_all(footer.as_bytes()).map_err(unwritten)?;
        self.out.flush().map_err(unwritten)
    }
}

/// Returns the first rows of a batch, as they are read.
fn texts(batch: &RecordBatch, rows: usize) -> Result<Vec<Vec<String>>> {
    let columns = formatters(batch, &FOR_PEOPLE)?;
    let row = |n: usize| {
        let cells = columns.iter().map(|column| column.value(n).to_string());
        cells.map(|cell| plain_line(&cell).into_owned()).collect()
    };
    Ok((0..rows).map(row).collect())
}
