//! What is wrong with a pipeline file, and where.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

/// One thing that is wrong with the options of a component.
///
/// What a component's constructor returns; the builder adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, relative to the component's table: `limit`, `retry.max_wait`;
    /// empty for the table itself.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl Invalid {
    /// Creates a complaint about `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Invalid {
        Invalid {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// One thing that is wrong with a pipeline, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key with the tables around it: `source.limit`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// Where it stands in the text, in bytes.
    pub place: Place,
}

/// Where a problem stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the text, in bytes.
    Text(Range<usize>),
    /// In an override, given as it was written: `--set sink.mode=replase`.
    Override(String),
    /// Nowhere in particular.
    Nowhere,
}

/// Everything that is wrong with one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// What the text is called: a path.
    pub origin: String,
    /// The text that the places point into.
    pub text: String,
    /// The problems, in the order of the text.
    pub list: Vec<Problem>,
}

impl std::error::Error for Problems {}

/// Shows each problem with line, column and a caret.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            self.show(f, problem)?;
        }
        Ok(())
    }
}

impl Problems {
    /// Returns each problem in a line: where it is, and what is wrong.
    pub fn in_lines(&self) -> Vec<String> {
        let problems = self.list.iter();
        problems.map(|problem| self.in_a_line(problem)).collect()
    }

    fn in_a_line(&self, problem: &Problem) -> String {
        let subject = match problem.path.as_str() {
            "" => String::new(),
            path => format!("`{path}`: "),
        };
        let place = match &problem.place {
            Place::Nowhere => self.origin.clone(),
            Place::Override(argument) => argument.clone(),
            Place::Text(span) => {
                let (line, column, source) = locate(&self.text, span.start);
                let chars = source
                    .get(..column - 1)
                    .map_or(column, |before| before.chars().count() + 1);
                format!("{}:{line}:{chars}", self.origin)
            }
        };
        format!("{place}: {subject}{}", problem.message)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        f.write_str(&self.in_a_line(problem))?;
        match &problem.place {
            Place::Nowhere | Place::Override(_) => Ok(()),
            Place::Text(span) => {
                let (line, column, source) = locate(&self.text, span.start);
                let (column, source) = excerpt(column, source);
                let width = span
                    .end
                    .saturating_sub(span.start)
                    .min(source.len().saturating_sub(column - 1))
                    .max(1);
                // Columns count characters; the caret must stand below them.
                let before: String = source
                    .get(..column - 1)
                    .unwrap_or_default()
                    .chars()
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                let shown = source
                    .get(column - 1..column - 1 + width)
                    .map_or(width, |marked| marked.chars().count());
                let margin = " ".repeat(line.to_string().len());
                let mut block = String::from("\n");
                writeln!(block, "{margin} |")?;
                writeln!(block, "{line} | {source}")?;
                write!(block, "{margin} | {before}{}", "^".repeat(shown.max(1)))?;
                f.write_str(&block)
            }
        }
    }
}

/// Returns the part of a long line around a column, and the column in it.
fn excerpt(column: usize, line: &str) -> (usize, Cow<'_, str>) {
    const BEFORE: usize = 100;
    const BEHIND: usize = 200;
    if line.len() <= BEFORE + BEHIND {
        return (column, Cow::Borrowed(line));
    }
    let at = column - 1;
    let begins = |n: &usize| line.is_char_boundary(*n);
    let from = (0..=at.saturating_sub(BEFORE)).rev().find(begins);
    let from = from.unwrap_or(0);
    let to = (at.saturating_add(BEHIND)..line.len()).find(begins);
    let to = to.unwrap_or(line.len());
    let left = if from > 0 { "…" } else { "" };
    let right = if to < line.len() { "…" } else { "" };
    let part = format!("{left}{}{right}", &line[from..to]);
    (at - from + left.len() + 1, Cow::Owned(part))
}

/// Returns the line number and column, both from 1, and the text of the line.
fn locate(text: &str, offset: usize) -> (usize, usize, &str) {
    let offset = offset.min(text.len());
    let start = text
        .get(..offset)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1);
    let line = text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.find('\n').unwrap_or(rest.len());
    (line, offset - start + 1, rest[..end].trim_end_matches('\r'))
}
