//! Rows on stdout or in a file, in the formats of `--format`.

mod fit;
mod json;
mod rows;
mod screen_table;
mod table;
mod zones;

use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::FormatOptions;
use mixflow_core::staged::{FileMode, StagedFile};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::args::{Format, OutputArgs};
use crate::screen::Screen;
use rows::{RowWriter, formatters, unwritten};
use screen_table::ScreenTable;
use table::Table;
use zones::{printable, printable_schema};

/// How to get rows and columns that a terminal is not shown.
const ALL: &str = "add `| less -S`, `--format jsonl` or `--output rows.csv`";

/// Writes the batches of an answer as `args` want them.
///
/// Memory holds one batch, and for Parquet one row group. A file appears when
/// it is whole. A reader that goes away ends it early, which is no error.
pub(crate) fn write(
    args: &OutputArgs,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<()> {
    write_hinting(args, ALL, schema, batches)
}

/// Writes as [`write`] does; `all` says how to get what a terminal is not shown.
pub(crate) fn write_hinting(
    args: &OutputArgs,
    all: &str,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<()> {
    let Some(path) = &args.output else {
        let binary = matches!(args.format, Format::Parquet | Format::Arrow);
        if binary && io::stdout().is_terminal() {
            return Err(
                Error::new(ErrorKind::Config, "cannot show bytes on a terminal")
                    .hint("give `--output FILE`, or pipe it into something that reads them"),
            );
        }
        let gone = Arc::new(AtomicBool::new(false));
        let out = Out {
            inner: BufWriter::with_capacity(64 << 10, io::stdout()),
            gone: Arc::clone(&gone),
        };
        let written = match io::stdout().is_terminal() {
            true => write_to(
                Screen::new(out),
                args.format,
                Some((width(), all)),
                schema,
                batches,
            ),
            false => write_to(out, args.format, None, schema, batches),
        };
        return match gone.load(Ordering::Relaxed) {
            true => Ok(()),
            false => written,
        };
    };
    refuse_database(path)?;
    let staged = StagedFile::begin(path, FileMode::Replace)?;
    write_to(staged.handle()?, args.format, None, schema, batches)
        .map_err(|error| error.context(format!("cannot write `{}`", path.display())))?;
    staged.commit()
}

/// Returns rows as a table that fits the terminal, if stdout is one; of a part of
/// an answer, so that nothing stands below it.
pub(crate) fn drawn(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<String> {
    let screen = io::stdout().is_terminal().then(|| (width(), ALL));
    let mut text = Vec::new();
    write_to(&mut text, Format::Table, screen, schema, batches)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .take_while(|line| line.starts_with(['┌', '│', '├', '└']));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Writes a text where rows would go.
pub(crate) fn put(args: &OutputArgs, text: &str) -> Result<()> {
    let Some(path) = &args.output else {
        let mut out = io::stdout().lock();
        return match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Nobody reads it any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(unwritten),
        };
    };
    refuse_database(path)?;
    let staged = StagedFile::begin(path, FileMode::Replace)?;
    staged
        .handle()?
        .write_all(text.as_bytes())
        .map_err(unwritten)?;
    staged.commit()
}

/// Fails if there is a database at `path`, very likely the one that is asked.
fn refuse_database(path: &Path) -> Result<()> {
    let mut head = [0; 12];
    // A pipe would be waited for.
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    let mut read = || std::fs::File::open(path)?.read_exact(&mut head);
    if !is_file || read().is_err() || !head.ends_with(b"DUCK") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Destination,
        format!("cannot write rows to `{}`", path.display()),
    )
    .because("a DuckDB database is there")
    .hint("choose another file for `--output`"))
}

/// Returns how many columns the terminal has; 80 where there is none.
pub(crate) fn width() -> u16 {
    // The floor keeps a column of a table readable.
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => columns.max(20),
        None => 80,
    }
}

fn write_to<W: Write + Send>(
    out: W,
    format: Format,
    screen: Option<(u16, &str)>,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<()> {
    let is_text = !matches!(format, Format::Parquet | Format::Arrow);
    let schema = &if is_text {
        printable_schema(schema)
    } else {
        schema.clone()
    };
    let mut writer: Box<dyn RowWriter + '_> = match format {
        Format::Table => match screen {
            Some((width, all)) => Box::new(ScreenTable::new(out, schema, width, all)),
            None => Box::new(Table::new(out, schema)),
        },
        Format::Json => Box::new(json::array(out)),
        Format::Jsonl => Box::new(json::lines(out)),
        Format::Csv => Box::new(Csv::new(out, schema)?),
        Format::Parquet => Box::new(parquet(out, schema)?),
        Format::Arrow => Box::new(StreamWriter::try_new(out, schema)?),
    };
    for batch in batches {
        let batch = batch?;
        if is_text {
            writer.write(&printable(&batch)?)?;
        } else {
            writer.write(&batch)?;
        }
    }
    writer.finish()
}

impl<W: Write> RowWriter for StreamWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(StreamWriter::write(self, batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        StreamWriter::finish(&mut self)?;
        self.get_mut().flush().map_err(unwritten)
    }
}

fn parquet<W: Write + Send>(out: W, schema: &SchemaRef) -> Result<ArrowWriter<W>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(100_000))
        .build();
    ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(|error| {
        Error::new(ErrorKind::Query, "cannot write the answer as Parquet")
            .with_source(error)
            .hint("cast the column in the query, such as `x::VARCHAR`")
    })
}

impl<W: Write + Send> RowWriter for ArrowWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        ArrowWriter::write(self, batch).map_err(unwritten)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let mut out = self.into_inner().map_err(unwritten)?;
        out.flush().map_err(unwritten)
    }
}

/// A header, then a line for each row; NULL is empty.
struct Csv<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    fn new(out: W, schema: &SchemaRef) -> Result<Csv<W>> {
        let mut writer = csv::Writer::from_writer(out);
        let names = schema.fields().iter().map(|field| field.name());
        writer.write_record(names).map_err(unwritten)?;
        Ok(Csv { writer })
    }
}

impl<W: Write> RowWriter for Csv<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = FormatOptions::default();
        let columns = formatters(batch, &options)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for column in &columns {
                text.clear();
                column.value(row).write(&mut text)?;
                self.writer.write_field(&text).map_err(unwritten)?;
            }
            self.writer.write_record(None::<&[u8]>).map_err(unwritten)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.flush().map_err(unwritten)
    }
}

/// Returns the last column of a plan, laid out as it is.
pub(crate) fn plan(batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<String> {
    let mut plan = String::new();
    for batch in batches {
        let batch = batch?;
        let options = FormatOptions::default();
        let columns = formatters(&batch, &options)?;
        for row in 0..batch.num_rows() {
            let Some(text) = columns.last().map(|column| column.value(row).to_string()) else {
                continue;
            };
            for c in text.trim_end().chars() {
                if c.is_control() && c != '\n' {
                    plan.extend(c.escape_default());
                } else {
                    plan.push(c);
                }
            }
            plan.push('\n');
        }
    }
    Ok(plan)
}

/// Returns the one value of an answer as text.
pub(crate) fn scalar(batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<String> {
    let refuse = |why: String| {
        Err(
            Error::new(ErrorKind::Query, "cannot answer the query with one value")
                .because(why)
                .hint("ask for one value, or leave `--scalar` out"),
        )
    };
    let mut value = None;
    for batch in batches {
        let batch = printable(&batch?)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_columns() != 1 {
            return refuse(format!("it has {} columns", batch.num_columns()));
        }
        if batch.num_rows() > 1 || value.is_some() {
            return refuse("it has more than one row".to_owned());
        }
        let options = FormatOptions::default().with_null("NULL");
        value = Some(formatters(&batch, &options)?[0].value(0).to_string());
    }
    match value {
        Some(value) => Ok(value),
        None => refuse("it has no row".to_owned()),
    }
}

/// Remembers that the reader went away: every format's library wraps that
/// error in its own way.
struct Out<W> {
    inner: W,
    gone: Arc<AtomicBool>,
}

impl<W> Out<W> {
    fn look<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.gone.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.look(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.look(flushed)
    }
}

/// Guesses a format from a file's name, if it says one.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    Some(match path.extension()?.to_str()? {
        "json" => Format::Json,
        "jsonl" | "ndjson" => Format::Jsonl,
        "csv" => Format::Csv,
        "parquet" => Format::Parquet,
        "arrow" | "arrows" => Format::Arrow,
        _ => return None,
    })
}

/// Returns where rows go if not to stdout, and how.
pub(crate) fn resolve(format: Option<Format>, output: Option<PathBuf>) -> OutputArgs {
    let guessed = output.as_deref().and_then(format_of);
    OutputArgs {
        format: format.or(guessed).unwrap_or(Format::Table),
        output,
    }
}
