//! The lines of the shell: keys, history, completion.

use std::borrow::Cow;
use std::path::PathBuf;

use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::sql::{Kind, pieces, statements};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History as _};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::dots::{Dot, NAMES};
use super::names::Names;
use crate::screen::plain_line;

const PROMPT: &str = "mixflow> ";

/// Words that are worth completing.
const KEYWORDS: [&str; 26] = [
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "CASE",
    "COUNT",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXPLAIN",
    "FROM",
    "GROUP BY",
    "HAVING",
    "INTERVAL",
    "IS NOT NULL",
    "JOIN",
    "LIMIT",
    "ORDER BY",
    "SELECT",
    "SUMMARIZE",
    "THEN",
    "WHEN",
    "WHERE",
    "WITH",
];

/// What was typed.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C.
    Dropped,
    /// Ctrl-D.
    End,
}

pub(super) struct Lines {
    editor: Editor<Typing, FileHistory>,
    history: Option<PathBuf>,
}

impl Lines {
    /// Takes the terminal, and what was typed at other times.
    pub(super) fn new(names: Names, history: Option<PathBuf>, color: bool) -> Result<Lines> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .build();
        let mut editor = Editor::with_config(config).map_err(unusable)?;
        editor.set_helper(Some(Typing { names, color }));
        if let Some(history) = &history {
            // There is none yet.
            let _ = editor.load_history(history);
        }
        Ok(Lines { editor, history })
    }

    /// Reads until a query or an order is whole.
    pub(super) fn next(&mut self) -> Result<Line> {
        match self.editor.readline(PROMPT) {
            Ok(text) => {
                self.remember(&text);
                Ok(Line::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(unusable(error)),
        }
    }

    /// Keeps a line for the next time; that it cannot be kept is no failure of it.
    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let added = self.editor.add_history_entry(text);
        if let (Ok(true), Some(history)) = (added, &self.history) {
            if let Some(folder) = history.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            if let Err(error) = self.editor.history_mut().save(history) {
                log::info!("cannot keep the history of queries: {error}");
            }
        }
    }
}

fn unusable(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Io, "cannot read from the terminal").with_source(error)
}

/// What happens while a line is typed.
struct Typing {
    names: Names,
    color: bool,
}

impl Helper for Typing {}
impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        match self.color {
            true => Cow::Owned(format!("\u{1b}[1;36m{prompt}\u{1b}[0m")),
            false => Cow::Borrowed(prompt),
        }
    }
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let is_whole = text.trim().is_empty() || Dot::of(text).is_some() || {
            let (whole, rest) = statements(text);
            // After the last `;` there may be a comment.
            let code = |kind: Kind| kind != Kind::Comment;
            !whole.is_empty() && !pieces(rest).iter().any(|piece| code(piece.kind))
        };
        Ok(match is_whole {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        if before.starts_with('.') && !before.contains(char::is_whitespace) {
            let dots = NAMES.iter().filter(|name| name.starts_with(before));
            return Ok((0, dots.map(|name| (*name).to_owned()).collect()));
        }
        let open = pieces(before).into_iter().next_back();
        if let Some(open) = open.filter(|piece| piece.kind == Kind::Text && !piece.is_whole) {
            let start = open.range.start + 1;
            return Ok((start, self.properties(&before[start..])));
        }
        let of_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c| !of_word(c));
        let start = start.map_or(0, |n| {
            n + before[n..].chars().next().map_or(1, char::len_utf8)
        });
        Ok((start, self.words(&before[start..])))
    }
}

impl Typing {
    /// Completes a property, which DuckDB takes for a path if it begins with `$`.
    fn properties(&self, typed: &str) -> Vec<String> {
        let bare = typed.strip_prefix('/').unwrap_or(typed);
        self.names.with(|known| {
            let fitting = known
                .properties
                .iter()
                .filter(|name| name.starts_with(bare));
            let written = fitting.map(|name| match name.starts_with('$') {
                true => format!("/{name}"),
                false => name.clone(),
            });
            // What moves the cursor is no name that anybody wants.
            let shown = written.filter(|name| !name.contains('\'') && plain_line(name) == *name);
            shown.collect()
        })
    }

    /// Completes tables, columns and words of SQL.
    fn words(&self, typed: &str) -> Vec<String> {
        let small = typed.to_lowercase();
        let fits = |name: &str| name.to_lowercase().starts_with(&small);
        let mut words = self.names.with(|known| {
            let names = known.names.iter().filter(|name| fits(name));
            names.cloned().collect::<Vec<_>>()
        });
        if !typed.is_empty() {
            let keywords = KEYWORDS.iter().filter(|word| fits(word));
            words.extend(keywords.map(|word| (*word).to_owned()));
        }
        words
    }
}
