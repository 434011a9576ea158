//! The outer form of SQL: what is text in it, where statements end, which
//! parameters it has, and how names and texts are written in it.

use std::ops::Range;

/// What a piece of SQL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words, numbers and signs.
    Code,
    /// A text in `'`, or between `$$`.
    Text,
    /// A name in `"`.
    Name,
    /// A comment.
    Comment,
    /// `$name`.
    Parameter,
}

/// A piece of SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    /// Where it is, its quotes included.
    pub range: Range<usize>,
    /// Whether its end is there: of a text that goes on, say, it is not.
    pub is_whole: bool,
}

/// Takes SQL apart. Any text has pieces; together they are all of it.
///
/// ```
/// use mixflow_sink_duckdb::sql::{Kind, pieces};
///
/// let kinds: Vec<Kind> = pieces("SELECT 'a;b', $day").iter().map(|piece| piece.kind).collect();
/// assert_eq!(kinds, [Kind::Code, Kind::Text, Kind::Code, Kind::Parameter]);
/// ```
pub fn pieces(sql: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let (kind, len, is_whole) = next(sql, at);
        let range = at..at + len;
        at = range.end;
        match pieces.last_mut() {
            Some(last) if kind == Kind::Code && last.kind == Kind::Code => last.range.end = at,
            _ => pieces.push(Piece {
                kind,
                range,
                is_whole,
            }),
        }
    }
    pieces
}

/// Returns the statements of a text that end with `;`, without it, and what is
/// left after the last of them.
///
/// ```
/// use mixflow_sink_duckdb::sql::statements;
///
/// let (whole, rest) = statements("SELECT ';'; FROM t; SELECT");
/// assert_eq!(whole, ["SELECT ';'", "FROM t"]);
/// assert_eq!(rest, "SELECT");
/// ```
pub fn statements(sql: &str) -> (Vec<&str>, &str) {
    let mut whole = Vec::new();
    let mut begins = 0;
    for piece in pieces(sql) {
        if piece.kind != Kind::Code {
            continue;
        }
        for (n, _) in sql[piece.range.clone()].match_indices(';') {
            let end = piece.range.start + n;
            whole.push(sql[begins..end].trim());
            begins = end + 1;
        }
    }
    whole.retain(|statement| !statement.is_empty());
    (whole, sql[begins..].trim())
}

/// Returns the names of the parameters, each once, in their order.
pub fn parameters(sql: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for piece in pieces(sql) {
        let name = &sql[piece.range];
        if piece.kind == Kind::Parameter && !names.contains(&&name[1..]) {
            names.push(&name[1..]);
        }
    }
    names
}

/// Returns an identifier that SQL reads as exactly this name.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns a text that SQL reads as exactly this one.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns the SQL with the text of `value` for each parameter.
pub fn with_values<'v>(sql: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut filled = String::with_capacity(sql.len());
    for piece in pieces(sql) {
        let text = &sql[piece.range];
        // Only a parameter surely begins with a character of one byte.
        let name = (piece.kind == Kind::Parameter).then(|| &text[1..]);
        match name.and_then(&value) {
            Some(value) => filled.push_str(&literal(value)),
            None => filled.push_str(text),
        }
    }
    filled
}

/// Returns what begins at `at`, how long it is, and whether it is whole.
fn next(sql: &str, at: usize) -> (Kind, usize, bool) {
    let rest = &sql[at..];
    let before = sql[..at].chars().next_back();
    let in_word = before.is_some_and(is_of_word);
    let mut chars = rest.chars();
    match chars.next() {
        Some('\'') => {
            let escapes = before.is_some_and(|c| matches!(c, 'e' | 'E'))
                && !sql[..at - 1].chars().next_back().is_some_and(is_of_word);
            in_quotes(rest, '\'', escapes, Kind::Text)
        }
        Some('"') => in_quotes(rest, '"', false, Kind::Name),
        Some('-') if rest.starts_with("--") => match rest.find('\n') {
            Some(end) => (Kind::Comment, end + 1, true),
            None => (Kind::Comment, rest.len(), true),
        },
        Some('/') if rest.starts_with("/*") => comment(rest),
        Some('$') if !in_word => dollar(rest),
        Some(c) => (Kind::Code, c.len_utf8(), true),
        None => (Kind::Code, 0, true),
    }
}

/// Measures what stands between quotes; two of them are one in it.
fn in_quotes(rest: &str, quote: char, escapes: bool, kind: Kind) -> (Kind, usize, bool) {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((n, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return (kind, n + 1, true),
            }
        }
    }
    (kind, rest.len(), false)
}

/// Measures a comment, which may have others in it.
fn comment(rest: &str) -> (Kind, usize, bool) {
    let mut depth = 0;
    let mut at = 0;
    while let Some(n) = rest[at..].find(['*', '/']) {
        at += n;
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return (Kind::Comment, at, true);
            }
        } else {
            at += 1;
        }
    }
    (Kind::Comment, rest.len(), false)
}

/// Measures `$name`, and a text between `$tag$`.
fn dollar(rest: &str) -> (Kind, usize, bool) {
    let word = rest[1..].find(|c| !is_of_word(c)).unwrap_or(rest.len() - 1);
    let tag = &rest[..=word];
    if rest[1 + word..].starts_with('$') {
        let tag = &rest[..word + 2];
        return match rest[tag.len()..].find(tag) {
            Some(n) => (Kind::Text, n + 2 * tag.len(), true),
            None => (Kind::Text, rest.len(), false),
        };
    }
    match tag[1..].chars().next() {
        Some(c) if !c.is_ascii_digit() => (Kind::Parameter, tag.len(), true),
        _ => (Kind::Code, 1, true),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
