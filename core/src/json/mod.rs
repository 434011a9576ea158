//! JSON as it is read here: checked, found in place, and never a tree.
//!
//! - [`scan`]: the scanner, which reads a text once.
//! - [`keys`]: whether an object may have a key twice.
//!
//! What stands here itself is what escapes stand for, and JSON that stays as it was
//! written.
//!
//! Here, below everybody, since sources, transforms and sinks know nothing of
//! each other and all of them meet texts that were cut in the middle of an
//! emoji: `"\ud83d"` is valid JSON for which there is no text.

pub mod keys;
pub mod scan;

use std::borrow::Cow;

/// Returns the text that the inside of a JSON string stands for.
///
/// `raw` is valid, and has no quotes. Half of a surrogate pair, which no Rust
/// text can hold, becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(mut backslash) = memchr::memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        text.push_str(&rest[..backslash]);
        let (char, length) = escape(&rest[backslash..]);
        text.push(char);
        rest = rest.get(backslash + length..).unwrap_or_default();
        match memchr::memchr(b'\\', rest.as_bytes()) {
            Some(at) => backslash = at,
            None => break,
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Returns the character of the escape that `text` begins with, and its length.
fn escape(text: &str) -> (char, usize) {
    let char = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(text),
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (char, 2)
}

/// Reads `\uXXXX`, or two of them that are one character, and the length.
fn unicode(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        text.get(at..at + 6)
            .and_then(|escape| escape.strip_prefix("\\u"))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let first = unit(0).unwrap_or(0xFFFD);
    if let 0xD800..=0xDBFF = first
        && let Some(second @ 0xDC00..=0xDFFF) = unit(6)
    {
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        let char = char::from_u32(code);
        return (char.unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    let char = char::from_u32(first);
    (char.unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// Which half of an emoji, or of any other character that UTF-16 has two units
/// for, an escape is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The one that comes first.
    First,
    /// The one that comes second.
    Second,
}

/// Says which half is escaped at `at`, if one is.
#[inline]
pub fn half(json: &[u8], at: usize) -> Option<Half> {
    match json.get(at..at + 6)? {
        [b'\\', b'u', b'd' | b'D', digit, third, fourth]
            if third.is_ascii_hexdigit() && fourth.is_ascii_hexdigit() =>
        {
            match digit.to_ascii_lowercase() {
                b'8' | b'9' | b'a' | b'b' => Some(Half::First),
                b'c'..=b'f' => Some(Half::Second),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Finds the escapes in JSON that are half of a character without its other
/// half: where each begins. They are six bytes long.
pub fn lone_halves(json: &[u8]) -> impl Iterator<Item = usize> + '_ {
    // Escapes are read one after the other, so that `\\ud800`, a backslash
    // and five letters, is not taken for one. Most texts have no `\u`.
    let mut at = match memchr::memmem::find(json, b"\\u") {
        Some(_) => 0,
        None => json.len(),
    };
    std::iter::from_fn(move || {
        loop {
            let here = at + memchr::memchr(b'\\', json.get(at..)?)?;
            match half(json, here) {
                None => at = here + 2,
                Some(Half::First) if half(json, here + 6) == Some(Half::Second) => at = here + 12,
                Some(_) => {
                    at = here + 6;
                    return Some(here);
                }
            }
        }
    })
}

/// Returns JSON with U+FFFD, escaped, for each of its [lone halves](lone_halves);
/// every other byte stays.
pub fn without_halves(json: &str) -> Cow<'_, str> {
    let mut halves = lone_halves(json.as_bytes()).peekable();
    if halves.peek().is_none() {
        return Cow::Borrowed(json);
    }
    let mut whole = String::with_capacity(json.len());
    let mut from = 0;
    for at in halves {
        whole.push_str(&json[from..at]);
        whole.push_str("\\ufffd");
        from = at + 6;
    }
    whole.push_str(&json[from..]);
    Cow::Owned(whole)
}

/// Copies JSON to the end of `out`, with a space for each line end.
///
/// A line end can only stand between the tokens of JSON (a page of profiles
/// may be pretty-printed), where a space means the same.
pub fn copy_on_one_line(json: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(json);
    let copy = &mut out[start..];
    if memchr::memchr2(b'\n', b'\r', copy).is_some() {
        for byte in copy {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_read_and_lone_halves_replaced() {
        assert_eq!(unescape(r#"a\"\\\/\b\f\n\r\t"#), "a\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(unescape(r"\u6771\u4eac"), "東京");
        assert_eq!(unescape(r"\ud83d\ude00!"), "😀!");
        assert_eq!(unescape(r"\u0000"), "\0");
        assert!(matches!(unescape("plain"), Cow::Borrowed("plain")));
        for (raw, text) in [
            (r"\ud83d", "\u{fffd}"),
            (r"a\ude00b", "a\u{fffd}b"),
            (r"\ude00\ud83d\u0041", "\u{fffd}\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83dA", "\u{fffd}A"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\u0041\ud83d", "A\u{fffd}"),
        ] {
            assert_eq!(unescape(raw), text, "{raw}");
        }
    }

    #[test]
    fn halves_that_stand_alone_are_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\uDE00\uD83D""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d\\\ud83d""#, r#""\\ud83d\\\ufffd""#),
            (r#""\ud7ff\ue000""#, r#""\ud7ff\ue000""#),
            (r#""\ud83d"#, r#""\ufffd"#),
            (r"\", r"\"),
        ] {
            assert_eq!(without_halves(json), expected, "{json}");
            let stays = matches!(without_halves(json), Cow::Borrowed(_));
            assert_eq!(stays, json == expected, "{json}");
        }
    }

    #[test]
    fn json_on_one_line_keeps_its_other_bytes() {
        let mut out = b"x".to_vec();
        copy_on_one_line(b"{\r\n\"a\":\t1}", &mut out);
        assert_eq!(out, b"x{  \"a\":\t1}");
    }

    proptest! {
        #[test]
        fn texts_are_read_as_serde_json_reads_them(text in "[\\x00-\\x7fé\u{1f600}]{0,12}") {
            let quoted = serde_json::to_string(&text).expect("it is JSON");
            prop_assert_eq!(unescape(&quoted[1..quoted.len() - 1]), text.as_str());
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(unescape(&escaped), text.as_str());
        }

        /// What was valid JSON is JSON that serde reads, too.
        #[test]
        fn nothing_is_left_that_a_strict_reader_refuses(
            parts in prop::collection::vec(
                prop::sample::select(vec!["\\ud83d", "\\uDE00", "\\\\", "\\n", "a", "u", "d83d", "\\u00e9"]),
                0..8,
            )
        ) {
            let json = format!("\"{}\"", parts.concat());
            let whole = without_halves(&json);
            let read: String = serde_json::from_str(&whole).expect("it is JSON");
            prop_assert_eq!(unescape(&json[1..json.len() - 1]), read);
        }
    }
}
