//! What serde says of a pipeline file, in the words of its author.

use super::sensitive::{is_harmless, is_secret};
use crate::suggest::{did_you_mean, nearest};

/// Words of serde and of Rust, and what TOML's users call these things.
const PLAIN_WORDS: [(&str, &str); 11] = [
    ("expected a nonzero u32", "expected a whole number from 1"),
    ("expected a nonzero usize", "expected a whole number from 1"),
    ("expected usize", "expected a whole number from 0"),
    ("expected u64", "expected a whole number from 0"),
    ("expected u32", "expected a whole number from 0"),
    ("expected i64", "expected a whole number"),
    ("expected a boolean", "expected `true` or `false`"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a table"),
    ("floating point", "number"),
    (": sequence", ": list"),
];

/// Adds "did you mean" to serde's message about an unknown name, and says
/// the rest in plain words.
pub fn explain(message: &str) -> String {
    explained(message).0
}

/// As [`explain`]; also whether nobody knows what the name stands for, or it
/// may be that of a secret.
pub(super) fn explained(message: &str) -> (String, bool) {
    let mut message = message.to_owned();
    for (theirs, plain) in PLAIN_WORDS {
        message = message.replace(theirs, plain);
    }
    let message = message.as_str();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match quoted.next() {
        Some(name) if unknown => {
            let known: Vec<&str> = quoted.collect();
            let meant = nearest(name, &known).unwrap_or(name);
            let is_strange = is_secret(meant)
                || meant.contains("url")
                || !(known.contains(&meant) || is_harmless(meant));
            (
                format!("{message}{}", did_you_mean(name, &known)),
                is_strange,
            )
        }
        _ => (message.to_owned(), false),
    }
}
