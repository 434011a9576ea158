//! Queries that can only read, however they are written.
//!
//! The file is open read-only, and DuckDB's own switches keep it from every
//! other file and from extensions. They leave a hole: the database and its log
//! stay among the files that DuckDB may touch, so `COPY … TO 'x.db'` would
//! overwrite them. So DuckDB's parser and binder are asked as well.

use duckdb::{Connection, params};
use mixflow_core::{Error, ErrorKind, Result};

use crate::open::{connect_to_nothing, failed, full_text, unanswered};
use crate::sql::literal;

/// Shuts a connection off, and its switches with it.
pub(crate) fn lock_down(connection: &Connection) -> Result<()> {
    connection
        .execute_batch("SET enable_external_access = false; SET lock_configuration = true")
        .map_err(failed("open the database for queries"))
}

/// Returns whether a connection is shut off already.
pub(crate) fn is_locked_down(connection: &Connection) -> Result<bool> {
    connection
        .query_row("SELECT current_setting('lock_configuration')", [], |row| {
            row.get(0)
        })
        .map_err(failed("open the database for queries"))
}

/// What the answer of a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Rows,
    /// The plan of `EXPLAIN`: texts of several lines.
    Plan,
}

/// Checks that a text is one statement that reads.
///
/// Fails with [`ErrorKind::Query`], with DuckDB's own words where it does
/// not understand the query.
pub(crate) fn check_reads(connection: &Connection, sql: &str) -> Result<Answer> {
    if let Some(explained) = explained(sql) {
        for query in explained {
            if matches!(statements(connection, query)?, Statements::Selects(1)) {
                check_select(connection, query)?;
                return Ok(Answer::Plan);
            }
        }
        return Err(only_reads());
    }
    match statements(connection, sql)? {
        Statements::Selects(1) => check_select(connection, sql).map(|()| Answer::Rows),
        Statements::Selects(0) => Err(refused("it is empty")),
        Statements::Selects(n) => Err(refused(format!("it has {n} statements"))
            .hint("ask one at a time, each with a `mixflow query` of its own")),
        Statements::Unparsed => Err(syntax_error(sql)),
        Statements::Others => Err(only_reads()),
    }
}

enum Statements {
    Selects(u64),
    /// At least one is something else.
    Others,
    Unparsed,
}

/// Asks DuckDB's parser what a text is.
fn statements(connection: &Connection, sql: &str) -> Result<Statements> {
    let (kind, count): (Option<String>, Option<u64>) = connection
        .query_row(
            "SELECT parsed->>'error_type', json_array_length(parsed->'statements')::UBIGINT \
             FROM (SELECT json_serialize_sql(?) AS parsed)",
            params![sql],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(unanswered)?;
    Ok(match (kind.as_deref(), count) {
        (None, Some(count)) => Statements::Selects(count),
        (Some("parser"), _) => Statements::Unparsed,
        _ => Statements::Others,
    })
}

/// Asks DuckDB's binder whether one statement is a `SELECT` through and
/// through: `WITH a AS (COPY …) FROM a` is one for the parser.
fn check_select(connection: &Connection, sql: &str) -> Result<()> {
    let nested = format!("FROM query({})", literal(sql));
    let Err(error) = connection.prepare(&nested) else {
        return Ok(());
    };
    // A single statement, which is not executed by this: its own error has the
    // place in the text.
    match connection.prepare(sql) {
        Err(own) => Err(unanswered(own)),
        Ok(_) => Err(only_reads_but(&full_text(&error))),
    }
}

/// Returns what may be explained by a text that begins with `EXPLAIN`: what
/// comes after it, and after the options in parentheses.
fn explained(sql: &str) -> Option<Vec<&str>> {
    let rest = after_word(after_blanks(sql), "EXPLAIN")?;
    let rest = after_blanks(rest);
    let rest = after_word(rest, "ANALYZE").map_or(rest, after_blanks);
    let mut queries = vec![rest];
    if rest.starts_with('(')
        && let Some((_, rest)) = rest.split_once(')')
    {
        queries.push(rest);
    }
    Some(queries)
}

fn after_word<'s>(sql: &'s str, word: &str) -> Option<&'s str> {
    let (start, rest) = sql.split_at_checked(word.len())?;
    let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (start.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

/// Returns the text after white space and comments.
fn after_blanks(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        };
        rest = after.trim_start();
    }
}

/// Returns what DuckDB says of a text that it cannot parse, from a database
/// where nothing is.
fn syntax_error(sql: &str) -> Error {
    match connect_to_nothing().map(|nothing| nothing.prepare(sql).err()) {
        Ok(Some(error)) => unanswered(error),
        Ok(None) => only_reads(),
        Err(error) => error,
    }
}

fn only_reads() -> Error {
    only_reads_but("it does more than read, and `query` is read-only")
}

fn only_reads_but(why: &str) -> Error {
    refused(why).hint(
        "ask with SELECT, FROM, WITH, VALUES, SHOW, DESCRIBE, SUMMARIZE, PIVOT … ON x IN (…), or EXPLAIN of these; write with DuckDB's own client",
    )
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Query, "cannot answer the query").because(why)
}
