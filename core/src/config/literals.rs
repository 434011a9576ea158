//! The literals of a document that must not be shown, and where they stand.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::blank::blank_literal;
use super::sensitive::{
    has_secret_in_it, is_harmless, is_plain, is_secret, is_telling_address, is_telling_url,
};

/// Literals that must not be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    texts: Vec<String>,
    /// Where they stand in the text, in bytes.
    spans: Vec<Range<usize>>,
}

impl Literals {
    /// Collects what stands under keys such as `secret`, at any depth.
    pub(super) fn collect(&mut self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let name = key.get_ref();
            if has_secret_in_it(name) {
                self.take_key(key);
            }
            let is_telling = match value.get_ref() {
                DeValue::String(text) => is_telling_address(name, text) || is_swollen(name, text),
                _ => false,
            };
            if is_telling || is_secret(name) {
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
            DeValue::String(text) if is_telling_url(text) => self.take(value),
            _ => {}
        }
    }

    fn take_key(&mut self, key: &Spanned<Cow<'_, str>>) {
        self.texts.push(key.get_ref().to_string());
        self.spans.push(key.span());
    }

    fn take(&mut self, value: &Spanned<DeValue<'_>>) {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Boolean(_) => return,
            DeValue::Array(items) => return items.iter().for_each(|item| self.take(item)),
            DeValue::Table(table) => {
                for (key, value) in table.iter() {
                    if is_no_option(key.get_ref()) {
                        self.take_key(key);
                    }
                    // These say where a secret is, or whose it is.
                    let name = key.get_ref().as_ref();
                    let text = value.get_ref().as_str().unwrap_or_default();
                    if !matches!(name, "username" | "env" | "file") || is_swollen(name, text) {
                        self.take(value);
                    }
                }
                return;
            }
        };
        self.texts.push(text);
        self.spans.push(value.span());
    }

    /// Overwrites the literals that were collected.
    pub(super) fn blank(&self, bytes: &mut [u8]) {
        for span in &self.spans {
            // An override's place is behind the end.
            if let Some(literal) = bytes.get_mut(span.clone()) {
                blank_literal(literal);
            }
        }
    }

    /// Returns their texts, of which some may be empty.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }
}

/// Whether what is a name has more in it, as where a quote is missing at its
/// end and the next one comes only later.
fn is_swollen(key: &str, text: &str) -> bool {
    matches!(key, "type" | "username" | "env") && text.contains(['=', '"', '\'', ' '])
}

/// Whether a name is too odd for that of an option, even a misspelt one.
fn is_no_option(name: &str) -> bool {
    const LONGEST: usize = 9;
    !is_harmless(name) && (name.len() > LONGEST || !is_plain(name))
}
