//! JSON taken apart without changing a byte of it.
//!
//! People send numbers that do not fit 64 bits, strings with lone surrogates
//! and the same key twice. `serde_json::Value` refuses or merges those, so
//! objects are split into raw text here, member by member.

use std::ops::Range;

use serde::Deserializer as _;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// One member of an object as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The key with its quotes and escapes.
    pub(super) raw_key: &'a str,
    /// The value's text without surrounding white space.
    pub(super) value: &'a str,
}

impl Member<'_> {
    /// Tells whether the key, once unescaped, is `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        let inner = &self.raw_key[1..self.raw_key.len() - 1];
        if inner.contains('\\') {
            string(self.raw_key).is_some_and(|key| key == name)
        } else {
            inner == name
        }
    }
}

/// Splits the text of an object into its members, in order.
pub(super) fn members(text: &str) -> Result<Vec<Member<'_>>, String> {
    let mut rest = skip_space(text)
        .strip_prefix('{')
        .ok_or("expected an object")?;
    let mut found = Vec::new();
    if let Some(after) = skip_space(rest).strip_prefix('}') {
        return nothing_after(after).map(|()| found);
    }
    loop {
        let (raw_key, after) = value(rest)?;
        if !raw_key.starts_with('"') {
            return Err(format!("expected a key, found `{raw_key}`"));
        }
        let after = skip_space(after)
            .strip_prefix(':')
            .ok_or_else(|| format!("expected `:` after the key {raw_key}"))?;
        let (value, after) = value(after)?;
        found.push(Member { raw_key, value });
        let after = skip_space(after);
        if let Some(after) = after.strip_prefix(',') {
            rest = after;
        } else {
            let after = after.strip_prefix('}').ok_or("expected `,` or `}`")?;
            return nothing_after(after).map(|()| found);
        }
    }
}

/// Returns the text of the last member called `name`, as JSON parsers do.
pub(super) fn last<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    let found = members.iter().rev().find(|member| member.is(name));
    found.map(|member| member.value)
}

/// Unescapes the text of a JSON string, with U+FFFD for each lone surrogate.
pub(super) fn string(raw: &str) -> Option<String> {
    let mut parser = serde_json::Deserializer::from_str(raw);
    let bytes = parser.deserialize_bytes(Wtf8).ok()?;
    parser.end().ok()?;
    Some(without_surrogates(bytes))
}

/// Returns a string's characters, nothing for `null`, other values as written.
pub(super) fn text_of(raw: &str) -> String {
    match string(raw) {
        Some(text) => text,
        None if raw == "null" => String::new(),
        None => raw.to_owned(),
    }
}

/// Returns a value as every reader of JSON reads it: of the members of a name
/// one, with the last value in the place of the first, and U+FFFD for each
/// lone surrogate; without white space.
pub(super) fn mended(raw: &str) -> String {
    match raw.as_bytes().first() {
        Some(b'{') => {
            let mut kept: Vec<(String, &str, &str)> = Vec::new();
            for Member { raw_key, value } in members(raw).expect("an object") {
                let name = text_of(raw_key);
                match kept.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, _, last)) => *last = value,
                    None => kept.push((name, raw_key, value)),
                }
            }
            let members = kept.iter();
            let members =
                members.map(|(_, key, value)| format!("{}:{}", mended(key), mended(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).expect("an array");
            let items: Vec<String> = items.iter().map(|item| mended(item.get())).collect();
            format!("[{}]", items.join(","))
        }
        Some(b'"') => without_lone_escapes(raw),
        _ => raw.to_owned(),
    }
}

/// Returns JSON without white space between its tokens.
pub(super) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = json.to_owned();
    kept.retain(|char| {
        let keep = in_string || !char.is_ascii_whitespace();
        if char == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && char == '\\' && !escaped;
        keep
    });
    kept
}

/// Rewrites the escapes of a string that stand for half a character.
fn without_lone_escapes(raw: &str) -> String {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::new();
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            // The character behind a backslash belongs to it.
            _ if next == '\\' => 2,
            _ => next.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Reads the value of a `time` property, in microseconds since 1970.
///
/// It is a number or a string with a number in it; `time_in_ms` says that it
/// counts milliseconds and not seconds. So does any from 10^12 on, which as
/// seconds would be after the year 30,000.
pub(super) fn micros(raw: &str, time_in_ms: bool) -> Option<i64> {
    let text = string(raw).unwrap_or_else(|| raw.to_owned());
    let text = text.trim();
    let is_long = text.parse::<f64>().is_ok_and(|value| value.abs() >= 1e12);
    let scale = if time_in_ms || is_long {
        1_000
    } else {
        1_000_000
    };
    // The years 1 to 9999, which is what all readers of rows can say.
    let in_range =
        |micros: &i64| (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(micros);
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(scale).filter(in_range);
    }
    // Rust also reads `inf` and `nan`, which JSON does not know.
    let shaped = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !text.bytes().all(shaped) {
        return None;
    }
    let scaled = text.parse::<f64>().ok()? * scale as f64;
    let micros = (scaled.abs() < 9e18).then(|| scaled.round() as i64);
    micros.filter(in_range)
}

/// Returns the byte range of `part`, which must be a slice of `whole`.
pub(super) fn range_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn value(text: &str) -> Result<(&str, &str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let raw = match values.next() {
        Some(Ok(raw)) => raw.get(),
        Some(Err(error)) => return Err(error.to_string()),
        None => return Err("the text ends in the middle of an object".to_owned()),
    };
    let end = values.byte_offset();
    Ok((raw, &text[end..]))
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

fn nothing_after(text: &str) -> Result<(), String> {
    match skip_space(text) {
        "" => Ok(()),
        _ => Err("unexpected text after the object".to_owned()),
    }
}

/// Asks `serde_json` for bytes, which lets it pass lone surrogates through.
struct Wtf8;

impl Visitor<'_> for Wtf8 {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

fn without_surrogates(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let mut clean = Vec::new();
            let mut rest = error.as_bytes();
            while let Some((&first, tail)) = rest.split_first() {
                // A surrogate is ED A0..BF 80..BF; valid text has ED 80..9F.
                if first == 0xED && tail.first().is_some_and(|&next| next >= 0xA0) {
                    clean.extend_from_slice("\u{FFFD}".as_bytes());
                    rest = tail.get(2..).unwrap_or_default();
                } else {
                    clean.push(first);
                    rest = tail;
                }
            }
            String::from_utf8_lossy(&clean).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_text_and_order() {
        let found = members(r#" {"b" : 1.10, "a":{"x":[1, 2]} ,"b":"\ud83d"} "#).unwrap();
        let texts: Vec<_> = found.iter().map(|m| (m.raw_key, m.value)).collect();
        let expected = [
            (r#""b""#, "1.10"),
            (r#""a""#, r#"{"x":[1, 2]}"#),
            (r#""b""#, r#""\ud83d""#),
        ];
        assert_eq!(texts, expected);
        assert_eq!(last(&found, "b"), Some(r#""\ud83d""#));
    }

    #[test]
    fn hostile_numbers_and_depth_are_passed_through() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let text = format!(r#"{{"n":123456789012345678901234567890,"e":1e999,"d":{deep}}}"#);
        assert_eq!(members(&text).unwrap()[2].value, deep);
    }

    #[test]
    fn broken_objects_are_errors() {
        for text in [
            "",
            "[]",
            "{",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1} x"#,
            "{1:2}",
        ] {
            assert!(members(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_lone_surrogate_becomes_one_replacement_character() {
        assert_eq!(string(r#""a\ud83dz""#).as_deref(), Some("a\u{FFFD}z"));
        assert_eq!(string(r#""\ud83d\ude00""#).as_deref(), Some("😀"));
        assert_eq!(string("12"), None);
    }

    #[test]
    fn what_readers_read_differently_is_mended() {
        let raw = r#"{"b": "\\ud83d\ud83d\ude00\ud83d", "a":1, "\u0062":[{"x":1,"x":2} ]}"#;
        assert_eq!(mended(raw), r#"{"b":[{"x":2}],"a":1}"#);
        let cut = r#""\\ud83d\ud83d\ude00\ud83d""#;
        assert_eq!(mended(cut), r#""\\ud83d\ud83d\ude00\ufffd""#);
        assert_eq!(
            compact("{\"a \\\" b\" : [ 1 ,\n2 ]}"),
            "{\"a \\\" b\":[1,2]}"
        );
    }

    #[test]
    fn escaped_keys_are_recognised() {
        let found = members(r#"{"\u0074ime":5}"#).unwrap();
        assert_eq!(last(&found, "time"), Some("5"));
    }

    #[test]
    fn times_are_numbers_or_text() {
        assert_eq!(micros("1705276123", false), Some(1_705_276_123_000_000));
        assert_eq!(micros("1705276123.25", false), Some(1_705_276_123_250_000));
        assert_eq!(
            micros(r#""1705276123""#, false),
            Some(1_705_276_123_000_000)
        );
        assert_eq!(micros("1705276123250", true), Some(1_705_276_123_250_000));
        assert_eq!(micros("1.7e9", false), Some(1_700_000_000_000_000));
        assert_eq!(micros("1705276123250", false), Some(1_705_276_123_250_000));
        for bad in ["null", "\"\"", "\"nan\"", "\"inf\"", "true", "{}", "1e300"] {
            assert_eq!(micros(bad, false), None, "{bad}");
        }
    }
}
