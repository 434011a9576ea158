//! Keeps secrets out of what is said about a pipeline file.
//!
//! A secret is known by the name that it stands under. Where a line cannot be
//! read, nothing of it is shown but a name that everybody may read.

use std::collections::HashSet;

use toml::de::DeTable;

use super::blank::{blank, blank_comment};
use super::illegible;
use super::literals::Literals;
use super::sensitive::{
    is_harmless, is_secret, is_telling_address, is_telling_url, mentions_secret,
};

/// What stands in the place of a secret.
pub(super) const MASK: &str = "…";

/// Texts shorter than this are masked only where they stand in quotes; in
/// plain words they would be found everywhere.
const SHORTEST: usize = 6;

/// What must not be shown of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    literals: Literals,
    /// Where a key ends whose value nobody knows the meaning of, in bytes.
    strange: Vec<usize>,
    /// The text could not be parsed, so that spans are not to be relied on.
    broken: bool,
    /// The words of lines that cannot be read.
    words: HashSet<String>,
}

impl Mask {
    /// Creates a mask that as yet knows nothing but the text.
    pub(super) fn new(text: &str, broken: bool) -> Mask {
        let mut mask = Mask {
            broken,
            ..Mask::default()
        };
        if broken {
            let mut veiled = text.as_bytes().to_vec();
            illegible::veil(&mut veiled);
            mask.words = illegible::hidden_words(text, &veiled).collect();
        }
        mask
    }

    /// Collects what stands under keys such as `secret`, at any depth.
    pub(super) fn collect(&mut self, table: &DeTable<'_>) {
        self.literals.collect(table);
    }

    /// Hides what stands behind a key that nobody knows, which ends at `end`.
    pub(super) fn hide_value(&mut self, end: usize) {
        self.strange.push(end);
    }

    /// Returns whether nothing is shown of the line at `offset` of `text`.
    pub(super) fn is_illegible(&self, text: &str, offset: usize) -> bool {
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        let newline = before.iter().rposition(|byte| *byte == b'\n');
        let line = text.get(newline.map_or(0, |n| n + 1)..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        self.broken && DeTable::parse(line).is_err()
    }

    /// Returns the text of the file without secrets, as long as it was.
    pub(super) fn file(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.literals.blank(&mut bytes);
        if self.broken {
            illegible::veil(&mut bytes);
        } else {
            for line in bytes.split_mut(|byte| *byte == b'\n') {
                blank_comment(line);
            }
        }
        for end in &self.strange {
            let line = bytes.get_mut(*end..).unwrap_or_default();
            let length = line.iter().position(|byte| *byte == b'\n');
            let line = line.split_at_mut(length.unwrap_or(line.len())).0;
            let value = line.iter().position(|byte| *byte == b'=');
            blank(&mut line[value.map_or(0, |n| n + 1)..]);
        }
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Returns a message without secrets.
    pub(super) fn message(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for text in self.literals.texts().filter(|text| !text.is_empty()) {
            message = message.replace(&format!("{text:?}"), &format!("\"{MASK}\""));
            message = message.replace(&format!("`{text}`"), &format!("`{MASK}`"));
            if text.len() >= SHORTEST {
                message = message.replace(text, MASK);
            }
        }
        if self.words.is_empty() {
            return message;
        }
        let is_part = |c: char| c.is_alphanumeric();
        message
            .split_inclusive(|c| !is_part(c))
            .map(|piece| {
                let word = piece.trim_end_matches(|c| !is_part(c));
                if self.words.contains(word) {
                    piece.replacen(word, MASK, 1)
                } else {
                    piece.to_owned()
                }
            })
            .collect()
    }
}

/// Whether a dotted key leads to what may be a secret.
pub(super) fn is_secret_key(key: &str) -> bool {
    key.split('.').any(is_secret)
}

/// Whether what stands between `${` and `}` under a key is the name of a
/// variable, and not what somebody has written in its place.
pub(super) fn is_variable(name: &str, path: &str) -> bool {
    let may_be = |c: char| {
        if is_secret_key(path) {
            c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
        } else {
            c.is_ascii_alphanumeric() || c == '_'
        }
    };
    name.chars().all(may_be)
}

/// Returns a dotted key, or nothing of it if it may be more than that.
pub(super) fn key_alone(key: &str) -> &str {
    let is_name = |name: &str| is_harmless(name) || name.parse::<usize>().is_ok();
    if key.split('.').all(is_name) {
        key
    } else {
        MASK
    }
}

/// Returns an argument such as `--set sink.mdoe=…` without its value.
pub(super) fn without_value(argument: &str) -> String {
    match argument.split_once('=') {
        Some((before, _)) => format!("{before}={MASK}"),
        None => argument.to_owned(),
    }
}

/// Returns an argument such as `--set source.auth.secret=…` without its value,
/// if that may be a secret.
pub(super) fn argument(key: &str, argument: &str) -> String {
    let Some((before, value)) = argument.split_once('=') else {
        return argument.to_owned();
    };
    let is_telling = is_secret_key(key)
        || mentions_secret(value)
        || is_telling_url(value)
        || is_telling_address(key, value)
        // A table, an address or a second argument, in which anything may be
        // misspelt.
        || value.contains(['{', '@', '=']);
    if is_telling {
        format!("{before}={MASK}")
    } else {
        argument.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> Mask {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut mask = Mask::new(text, !errors.is_empty());
        mask.collect(table.get_ref());
        mask
    }

    #[test]
    fn secrets_are_blanked_where_they_stand_and_nothing_else() {
        let text = "[source]\nauth = { username = \"ann\", secret = \"a\\\"b\" }\nwhere = \"x\"\n";
        assert_eq!(
            mask(text).file(text),
            "[source]\nauth = { username = \"ann\", secret = \"****\" }\nwhere = \"x\"\n"
        );
        let text = "auth = { secret = { env = \"NAME\" }, token = [\"t0\"] }";
        assert_eq!(
            mask(text).file(text),
            "auth = { secret = { env = \"NAME\" }, token = [\"**\"] }"
        );
    }

    #[test]
    fn a_transform_s_key_is_blanked_too() {
        let text = "[[transform]]\ntype = \"hash\"\nkey = \"hunter2\"\n";
        assert_eq!(
            mask(text).file(text),
            "[[transform]]\ntype = \"hash\"\nkey = \"*******\"\n"
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_shows_its_name_alone() {
        let text = "where = \"x\"\nauth = { secret = \"abc, token = 'x'\n";
        let shown = mask(text).file(text);
        assert!(!shown.contains("abc"), "{shown}");
        assert!(shown.starts_with("where = \"x\"\nauth "), "{shown}");
        assert_eq!(shown.len(), text.len());
    }

    #[test]
    fn messages_show_no_secret() {
        let mask = mask("auth = \"hunter2 says\"\npassword = \"pw\"");
        assert_eq!(
            mask.message("invalid type: string \"hunter2 says\", hunter2 says; pw `pw` spawn"),
            "invalid type: string \"…\", …; pw `…` spawn"
        );
    }

    #[test]
    fn an_argument_shows_its_key_alone() {
        assert_eq!(
            argument("source.auth.secret", "--set source.auth.secret=abc"),
            "--set source.auth.secret=…"
        );
        assert_eq!(
            argument("sink.mode", "--set sink.mode=x"),
            "--set sink.mode=x"
        );
    }
}
