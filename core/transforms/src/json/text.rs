//! The text that a JSON string stands for, and back.

use std::borrow::Cow;
use std::fmt::Write as _;

use mixflow_core::json::unescape;

/// Returns the text of a JSON string; `raw` has its quotes.
///
/// Half of a surrogate pair becomes U+FFFD.
pub(crate) fn decode(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    unescape(inner.unwrap_or(raw))
}

/// Returns a text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => json.extend(['\\', char]),
            char if char < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(char));
            }
            char => json.push(char),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_comes_back(text in "[\\x00-\\x7fé\u{1f600}]{0,12}") {
            let json = quote(&text);
            prop_assert_eq!(decode(&json), text.as_str());
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }
}
