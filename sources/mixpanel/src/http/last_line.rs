//! What the last line of a body says about the whole of it.

use crate::json::repair::{excerpt, repair};
use mixflow_core::json::scan::{Fault, Scanner};

/// Words of a server that could not go on. A line of text with one of them is
/// no record that somebody has spoilt.
const COMPLAINTS: [&str; 12] = [
    "terminated",
    "error",
    "timeout",
    "timed out",
    "exception",
    "failed",
    "failure",
    "interrupted",
    "exceeded",
    "unavailable",
    "aborted",
    "cancel",
];

/// What the last line of a body says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// It is a whole line, though perhaps no record.
    Whole,
    /// It is not: the body broke off, for this reason.
    Broken(String),
}

impl LastLine {
    /// Judges the last line of an export that is not blank. `ended` tells
    /// whether a line end came after it.
    pub(crate) fn judge(line: &[u8], ended: bool) -> LastLine {
        let text = String::from_utf8_lossy(line);
        let trimmed = text.trim();
        if trimmed.ends_with("terminated early") && trimmed.len() < 64 {
            return LastLine::Broken(format!("it ends with `{trimmed}`"));
        }
        if !trimmed.starts_with(['{', '[']) && complains(trimmed) {
            return LastLine::Broken(format!("it ends with {}", excerpt(trimmed)));
        }
        if is_whole(&text) {
            return judge_json(&text);
        }
        let repaired = repair(line);
        if is_whole(&repaired) {
            return judge_json(&repaired);
        }
        // What is no JSON but goes to its end is a record that cannot be
        // read; asking again would give the same.
        if ended || is_balanced(trimmed.as_bytes()) {
            LastLine::Whole
        } else {
            LastLine::Broken("its last line is cut".to_owned())
        }
    }
}

fn judge_json(text: &str) -> LastLine {
    match error_of(text) {
        Ok(Some(error)) => LastLine::Broken(format!("it ends with an error: {}", excerpt(&error))),
        // Another value than an object is a whole line, and no record.
        Ok(None) | Err(_) => LastLine::Whole,
    }
}

/// Returns the `error` of an object that is no event.
fn error_of(text: &str) -> Result<Option<String>, Fault> {
    let mut scanner = Scanner::new(text);
    let (mut event, mut error) = (false, None);
    scanner.enter_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        let value = scanner.value()?;
        event |= key.is(text, "event");
        if key.is(text, "error") {
            error = Some(text[value.span].to_owned());
        }
    }
    Ok(error.filter(|_| !event))
}

fn is_whole(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().is_ok() && scanner.end().is_ok()
}

fn complains(text: &str) -> bool {
    let beginning: String = text.chars().take(1_000).collect();
    let lower = beginning.to_lowercase();
    COMPLAINTS.iter().any(|word| lower.contains(word))
}

/// Returns whether the braces of what begins as an object close at its end,
/// whatever stands between them.
fn is_balanced(line: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => {
                if depth <= 1 {
                    return depth == 1 && at + 1 == line.len();
                }
                depth -= 1;
            }
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str, ended: bool) -> Result<(), String> {
        match LastLine::judge(line.as_bytes(), ended) {
            LastLine::Whole => Ok(()),
            LastLine::Broken(reason) => Err(reason),
        }
    }

    #[test]
    fn a_line_that_broke_off_is_told_from_one_that_is_no_json() {
        let cut = Err("its last line is cut".to_owned());
        assert_eq!(judged(r#"{"event":"a","n":Na"#, false), cut);
        assert_eq!(judged(r#"{"event":"a}"#, false), cut);
        assert_eq!(judged(r#"{"event":"a\"}"#, false), cut);
        assert_eq!(judged("not js", false), cut);
        for whole in [
            r#"{"event":"a","n":NaN}"#,
            r#"{"event":"a","n":"}","m":[1,,2]}"#,
            "[]",
            "17",
        ] {
            assert_eq!(judged(whole, false), Ok(()), "{whole}");
        }
        // A line end came after it, so nothing of it is missing.
        assert_eq!(judged(r#"{"event": "bad"#, true), Ok(()));
        assert_eq!(judged("not json", true), Ok(()));
    }

    #[test]
    fn what_the_server_complains_of_is_no_record() {
        assert!(judged("export terminated early", true).is_err());
        assert_eq!(
            judged("Query timed out after 300 s", true),
            Err("it ends with `Query timed out after 300 s`".to_owned())
        );
        assert!(judged("\"Internal Error\"", true).is_err());
        assert_eq!(
            judged("{\"error\": \"boom\"}", true),
            Err("it ends with an error: `\"boom\"`".to_owned())
        );
        assert_eq!(judged(r#"{"event":"a","error":"mine"}"#, true), Ok(()));
    }
}
