//! What a JSON text is.

use std::borrow::Cow;

use super::text::decode;

/// A JSON value by its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JsonValue<'j> {
    Null,
    Bool(bool),
    /// The digits, as they were written.
    Number(&'j str),
    Text(Cow<'j, str>),
    /// An array, as it was written.
    Array(&'j str),
    /// An object, as it was written.
    Object(&'j str),
}

impl<'j> JsonValue<'j> {
    /// Looks at the text of one value, without space around it.
    pub(crate) fn of(json: &'j str) -> JsonValue<'j> {
        match json.as_bytes().first() {
            Some(b'"') => JsonValue::Text(decode(json)),
            Some(b'{') => JsonValue::Object(json),
            Some(b'[') => JsonValue::Array(json),
            Some(b't') => JsonValue::Bool(true),
            Some(b'f') => JsonValue::Bool(false),
            Some(b'n') | None => JsonValue::Null,
            Some(_) => JsonValue::Number(json),
        }
    }

    /// Returns the digits, if it is a number.
    pub(crate) fn number(&self) -> Option<&'j str> {
        match self {
            JsonValue::Number(digits) => Some(digits),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            JsonValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns what people call a value of this type.
    pub(crate) fn described(&self) -> &'static str {
        match self {
            JsonValue::Null => "null",
            JsonValue::Bool(_) => "a bool",
            JsonValue::Number(_) => "a number",
            JsonValue::Text(_) => "a text",
            JsonValue::Array(_) => "an array",
            JsonValue::Object(_) => "an object",
        }
    }
}
