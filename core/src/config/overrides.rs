//! Values from outside a pipeline file, such as those of `--set`.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mask;
use super::sensitive::is_plain;

/// A value that replaces one of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key with its tables: `sink.mode`, `transform.0.keep`.
    pub key: String,
    /// The value.
    pub value: OverrideValue,
    /// The argument as it was written, for problems.
    pub argument: String,
}

impl Override {
    /// Creates an override of whatever the file says.
    pub fn set(key: impl Into<String>, value: OverrideValue, argument: String) -> Override {
        Override {
            key: key.into(),
            value,
            argument,
        }
    }

    /// Reads what `flag` was given, such as `sink.mode=replace`.
    ///
    /// An error shows nothing of what may be a secret.
    pub fn from_argument(flag: &str, text: &str) -> Result<Override, String> {
        let right = format!("write it as `{flag} sink.mode=replace`");
        let Some((key, value)) = text.split_once('=') else {
            let shown = mask::key_alone(text);
            return Err(format!("`{flag} {shown}` has no `=`: {right}"));
        };
        let (key, value) = (key.trim(), value.trim());
        let is_secret = mask::is_secret_key(key);
        let may_be = |c: char| is_plain(c.encode_utf8(&mut [0; 4])) || "$ -.".contains(c);
        if !key.chars().all(may_be) || (is_secret && key.contains(['$', ' ', '-'])) {
            return Err(format!("the key of `{flag} …=…` is none: {right}"));
        }
        if is_secret && value.is_empty() {
            return Err(format!(
                "`{flag} {key}=` has no value: {right}, without spaces"
            ));
        }
        let value = OverrideValue::Guess(value.to_owned());
        Ok(Override::set(key, value, format!("{flag} {text}")))
    }

    /// Creates a value for a key that the file does not have.
    pub fn if_missing(key: impl Into<String>, value: OverrideValue, argument: String) -> Override {
        Override::set(key, OverrideValue::IfMissing(Box::new(value)), argument)
    }
}

/// What an override sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideValue {
    /// A TOML value if it is one, otherwise a text: what `--set` takes.
    Guess(String),
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A table.
    Table(Vec<(String, OverrideValue)>),
    /// Nothing: the key goes.
    Nothing,
    /// A value for a key that the file does not have.
    IfMissing(Box<OverrideValue>),
}

impl OverrideValue {
    /// Returns the dotted keys that it has values for; an empty one if it is no table.
    pub(super) fn keys(&self) -> Vec<String> {
        match self {
            OverrideValue::IfMissing(value) => value.keys(),
            OverrideValue::Table(members) => {
                let within = |(key, value): &(String, OverrideValue)| {
                    let mut keys = value.keys();
                    for inner in &mut keys {
                        let dot = if inner.is_empty() { "" } else { "." };
                        *inner = format!("{key}{dot}{inner}");
                    }
                    keys
                };
                members.iter().flat_map(within).collect()
            }
            _ => vec![String::new()],
        }
    }

    fn parse(&self, span: &Range<usize>) -> Spanned<DeValue<'_>> {
        let text = |text| DeValue::String(Cow::Borrowed(text));
        let value = match self {
            OverrideValue::Guess(guess) => match DeValue::parse(guess) {
                Ok(value) => relocate(value.into_inner(), span),
                Err(_) => text(guess),
            },
            OverrideValue::Text(exact) => text(exact),
            OverrideValue::List(items) => DeValue::Array(
                items
                    .iter()
                    .map(|item| Spanned::new(span.clone(), text(item)))
                    .collect(),
            ),
            OverrideValue::Table(members) => DeValue::Table(
                members
                    .iter()
                    .map(|(key, value)| {
                        let key = Spanned::new(span.clone(), Cow::Borrowed(key.as_str()));
                        (key, value.parse(span))
                    })
                    .collect(),
            ),
            OverrideValue::Nothing => DeValue::Table(DeTable::new()),
            OverrideValue::IfMissing(value) => return value.parse(span),
        };
        Spanned::new(span.clone(), value)
    }
}

/// Sets what `key` names, and makes the tables on its way. Returns whether it
/// has: one for a missing key leaves what is there.
pub(super) fn set<'t>(
    root: &mut DeTable<'t>,
    key: &'t str,
    value: &'t OverrideValue,
    span: &Range<usize>,
) -> Result<bool, String> {
    let mut segments: Vec<&str> = key.split('.').collect();
    let last = segments.pop().unwrap_or_default();
    if last.is_empty() || segments.iter().any(|segment| segment.is_empty()) {
        return Err("a key looks like `sink.mode`".to_owned());
    }
    let mut table = root;
    let mut segments = segments.into_iter().peekable();
    while let Some(segment) = segments.next() {
        let name = Spanned::new(span.clone(), Cow::Borrowed(segment));
        let entry = table
            .entry(name)
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        table = match entry.get_mut() {
            DeValue::Table(inner) => inner,
            DeValue::Array(items) => {
                let next = segments.peek().copied().unwrap_or(last);
                let number = next.parse::<usize>().ok();
                // Of one there is no need to say which.
                let n = match (number, items.len()) {
                    (Some(n), _) => {
                        segments.next();
                        n
                    }
                    (None, 1) => 0,
                    (None, many) => return Err(which(segment, next, many)),
                };
                match items.get_mut(n).map(Spanned::get_mut) {
                    Some(DeValue::Table(inner)) => inner,
                    _ => return Err(format!("`{segment}` has no table number `{n}`")),
                }
            }
            _ => return Err(format!("`{segment}` is not a table")),
        };
    }
    if matches!(value, OverrideValue::IfMissing(_)) && table.contains_key(last) {
        return Ok(false);
    }
    // Removed first: an insert would keep the old key and with it its place.
    table.remove(last);
    if *value == OverrideValue::Nothing {
        return Ok(true);
    }
    table.insert(
        Spanned::new(span.clone(), Cow::Borrowed(last)),
        value.parse(span),
    );
    Ok(true)
}

/// Says that of several tables one is to be chosen.
fn which(name: &str, key: &str, many: usize) -> String {
    match many {
        0 => format!("there is no `[[{name}]]`"),
        _ => format!("there are {many} of `[[{name}]]`: say which, such as `{name}.0.{key}`"),
    }
}

/// Puts the values inside an override at the override's place.
fn relocate<'t>(value: DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    let at = |value: Spanned<DeValue<'t>>| {
        Spanned::new(span.clone(), relocate(value.into_inner(), span))
    };
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(at).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), at(value)))
                .collect(),
        ),
        plain => plain,
    }
}
