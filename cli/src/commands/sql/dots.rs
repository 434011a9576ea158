//! What is no SQL in the shell: `.tables` and the like.

use std::path::PathBuf;

use clap::ValueEnum as _;
use mixflow_core::suggest::did_you_mean;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::quoted;

use crate::args::{Format, local};

/// All of them, as they are completed.
pub(super) const NAMES: [&str; 7] = [
    ".format",
    ".help",
    ".output",
    ".properties",
    ".quit",
    ".schema",
    ".tables",
];

pub(super) const HELP: &str = "\
SELECT …;             asks; a query ends with `;` and may take several lines
.tables               lists the tables
.schema TABLE         shows the columns of a table
.properties [TABLE]   shows the properties of a table [default: events]
.format FORMAT        shows answers as table, json, jsonl or csv
.output FILE          writes the next answer to a file: .csv, .json, .jsonl, .parquet, .arrow
.quit                 leaves, as Ctrl-D does

Tab completes tables, columns, and properties between quotes. Ctrl-C ends a query,
or drops what is typed. Ctrl-R looks for an earlier query.
";

pub(super) const TABLES: &str = "SELECT table_name AS table, estimated_size::BIGINT AS rows, \
     column_count::BIGINT AS columns FROM duckdb_tables() \
     WHERE NOT starts_with(table_name, '_') AND schema_name = 'main' \
     AND database_name = current_database() ORDER BY lower(table_name)";

/// Returns the query for the columns of a table.
pub(super) fn schema(table: &str) -> String {
    format!(
        "SELECT column_name, column_type FROM (DESCRIBE {})",
        quoted(table)
    )
}

/// An order to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dot {
    Help,
    Quit,
    Tables,
    Schema(String),
    Properties(String),
    Format(Format),
    Output(PathBuf),
}

impl Dot {
    /// Reads a line; `None` if it is SQL.
    pub(super) fn of(line: &str) -> Option<Result<Dot>> {
        let line = line.trim().trim_end_matches(';').trim_end();
        if matches!(line.to_lowercase().as_str(), "exit" | "quit" | "help" | "?") {
            return Some(Ok(match line.starts_with(['h', 'H', '?']) {
                true => Dot::Help,
                false => Dot::Quit,
            }));
        }
        line.starts_with('.').then(|| Dot::read(line))
    }

    fn read(line: &str) -> Result<Dot> {
        let (name, word) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let word = word.trim();
        let needed = |what: &str| match word {
            "" => Err(refused(line).because(format!("it wants {what}"))),
            word => Ok(word.to_owned()),
        };
        Ok(match name {
            ".help" => Dot::Help,
            ".quit" | ".exit" => Dot::Quit,
            ".tables" => Dot::Tables,
            ".schema" | ".columns" => Dot::Schema(needed("the name of a table")?),
            ".properties" | ".catalog" => Dot::Properties(match word {
                "" => "events".to_owned(),
                table => table.to_owned(),
            }),
            ".format" => Dot::Format(format(
                line,
                &needed("a format: table, json, jsonl or csv")?,
            )?),
            ".output" => {
                let path = local(&needed("a file")?);
                Dot::Output(path.map_err(|why| refused(line).because(why))?)
            }
            other => {
                let hint = did_you_mean(other, &NAMES);
                let why = format!("there is no `{other}`{hint}");
                return Err(refused(line)
                    .because(why)
                    .hint("`.help` lists what there is"));
            }
        })
    }
}

fn format(line: &str, word: &str) -> Result<Format> {
    match Format::from_str(word, true) {
        Ok(Format::Parquet | Format::Arrow) => Err(refused(line)
            .because("a terminal cannot show it")
            .hint(format!("`.output rows.{word}` writes the next answer"))),
        Ok(format) => Ok(format),
        Err(_) => Err(refused(line).because(format!("there is no format `{word}`"))),
    }
}

fn refused(line: &str) -> Error {
    Error::new(ErrorKind::Request, format!("cannot do `{line}`"))
}
