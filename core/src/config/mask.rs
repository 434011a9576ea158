//! Keeps secrets out of what is said about a pipeline file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What stands in the place of a secret.
const MASK: &str = "…";

/// Texts shorter than this are masked only where they stand in quotes; in
/// plain words they would be found everywhere.
const SHORTEST: usize = 6;

/// What must not be shown of a document.
#[derive(Debug, Default)]
pub(super) struct Mask {
    texts: Vec<String>,
    /// Where they stand in the text, in bytes.
    spans: Vec<std::ops::Range<usize>>,
    /// The text could not be parsed, so that spans are not to be relied on.
    broken: bool,
}

impl Mask {
    /// Says that the text has syntax errors.
    pub(super) fn broken(&mut self) {
        self.broken = true;
    }

    /// Collects what stands under keys such as `secret`, at any depth.
    pub(super) fn collect(&mut self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            if is_secret(key.get_ref()) {
                self.take(value);
            } else {
                self.look_into(value);
            }
        }
    }

    fn look_into(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(inner) => self.collect(inner),
            // Such as the tables of `[[transform]]`.
            DeValue::Array(items) => items.iter().for_each(|item| self.look_into(item)),
            _ => {}
        }
    }

    fn take(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(text) => {
                self.texts.push(text.to_string());
                self.spans.push(value.span());
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.take(item)),
            DeValue::Table(table) => {
                for (key, value) in table.iter() {
                    // These say where a secret is, or whose it is.
                    if !matches!(key.get_ref().as_ref(), "username" | "env" | "file") {
                        self.take(value);
                    }
                }
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// Returns the text of the file without secrets, as long as it was.
    pub(super) fn file(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for span in &self.spans {
            // An override's place is behind the end.
            if let Some(literal) = bytes.get_mut(span.clone()) {
                blank(literal);
            }
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        match self.broken {
            true => text.split_inclusive('\n').map(blank_line).collect(),
            false => text,
        }
    }

    /// Returns a message without secrets.
    pub(super) fn message(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for text in self.texts.iter().filter(|text| !text.is_empty()) {
            message = message.replace(&format!("{text:?}"), &format!("\"{MASK}\""));
            message = message.replace(&format!("`{text}`"), &format!("`{MASK}`"));
            if text.len() >= SHORTEST {
                message = message.replace(text.as_str(), MASK);
            }
        }
        message
    }
}

/// Returns an argument such as `--set source.auth.secret=…` without its value.
pub(super) fn argument(key: &str, argument: &str) -> String {
    match argument.split_once('=') {
        Some((before, _)) if key.split('.').any(is_secret) => format!("{before}={MASK}"),
        _ => argument.to_owned(),
    }
}

/// Whether what stands under a key of this name may be a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // `key` is that of the transform `hash`.
    matches!(key.as_str(), "auth" | "key")
        || ["secret", "token", "password"]
            .iter()
            .any(|word| key.contains(word))
}

/// Overwrites what stands between the quotes of a literal.
fn blank(literal: &mut [u8]) {
    let last = literal.len().saturating_sub(1);
    for (n, byte) in literal.iter_mut().enumerate() {
        let quote = (n == 0 || n == last) && matches!(byte, b'"' | b'\'');
        if !quote && *byte != b'\n' {
            *byte = b'*';
        }
    }
}

/// Overwrites every literal of a line that mentions secrets, also one that
/// does not end.
fn blank_line(line: &str) -> String {
    if !line
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(is_secret)
    {
        return line.to_owned();
    }
    let mut quote = None;
    line.chars()
        .map(|char| match (quote, char) {
            (None, '"' | '\'') => {
                quote = Some(char);
                char
            }
            (Some(open), _) if open == char => {
                quote = None;
                char
            }
            (Some(_), '\n') | (None, _) => char,
            (Some(_), _) => '*',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> Mask {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut mask = Mask::default();
        if !errors.is_empty() {
            mask.broken();
        }
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
    fn a_file_that_cannot_be_parsed_shows_no_literal_beside_a_secret() {
        let text = "auth = { secret = \"abc, token = 'x'\nwhere = \"x\" y\n";
        let shown = mask(text).file(text);
        assert!(!shown.contains("abc"), "{shown}");
        assert!(shown.contains("where = \"x\""), "{shown}");
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
