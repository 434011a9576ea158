//! The text that a JSON string stands for, and back.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns the text of a JSON string; `raw` has its quotes.
///
/// Half of a surrogate pair becomes U+FFFD: Mixpanel sends `"\ud83d"`, from
/// texts that were cut, which is valid JSON for which there is no text.
pub(super) fn decode(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let inner = inner.unwrap_or(raw);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (char, after) = escape(&rest[at + 1..]);
        text.push(char);
        rest = after;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Returns the character of an escape, and what follows.
fn escape(escape: &str) -> (char, &str) {
    let mut chars = escape.chars();
    let Some(first) = chars.next() else {
        return (char::REPLACEMENT_CHARACTER, "");
    };
    let char = match first {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return code(chars.as_str()),
        other => other,
    };
    (char, chars.as_str())
}

/// Returns the character of the digits behind `\u`, and what follows.
fn code(digits: &str) -> (char, &str) {
    let Some((unit, rest)) = unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, digits);
    };
    if let Some(low) = rest.strip_prefix("\\u")
        && let Some((low, after)) = self::unit(low)
        && let Some(Ok(char)) = char::decode_utf16([unit, low]).next()
        && char.len_utf16() == 2
    {
        return (char, after);
    }
    let char = char::from_u32(u32::from(unit));
    (char.unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

fn unit(digits: &str) -> Option<(u16, &str)> {
    let (four, rest) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(four, 16).ok()?, rest))
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

    #[test]
    fn half_of_a_pair_becomes_the_replacement_character() {
        for (raw, text) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\ude00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83dA""#, "\u{fffd}A"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\u0041\ud83d""#, "A\u{fffd}"),
        ] {
            assert_eq!(decode(raw), text, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_serde_can_read_is_read_the_same(text in "[\\x00-\\x7fé\u{1f600}]{0,12}") {
            let json = serde_json::to_string(&text).expect("a text");
            prop_assert_eq!(decode(&json), text.as_str());
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            let escaped = format!("\"{escaped}\"");
            prop_assert_eq!(decode(&escaped), text.as_str());
            prop_assert_eq!(serde_json::from_str::<String>(&quote(&text)).expect("JSON"), text);
        }
    }
}
