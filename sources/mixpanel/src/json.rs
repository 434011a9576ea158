//! A validating JSON scanner that finds values without building them.
//!
//! The hot path of the decoder. It reads a record once, checks the whole
//! grammar of RFC 8259 (nothing invalid may enter a JSON column), and gives
//! the byte ranges of members. It keeps no tree and does not recurse, so a
//! record nested 100,000 deep costs 100,000 bits, not a stack.

use std::ops::Range;

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) reason: &'static str,
}

/// What kind of value stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String { escaped: bool },
    Number,
    Bool,
    Null,
}

/// A value: its kind and the bytes that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
}

/// A key: the bytes between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Where the opening quote stands.
    pub(crate) start: usize,
    pub(crate) text_end: usize,
    pub(crate) escaped: bool,
}

impl Key {
    /// Returns whether the key, its escapes read, is `name`.
    pub(crate) fn is(self, text: &str, name: &str) -> bool {
        let raw = &text[self.start + 1..self.text_end];
        match self.escaped {
            false => raw == name,
            true => unescape(raw) == name,
        }
    }
}

/// Reads JSON from a text, front to back.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// Reads `{`, or says that this is not an object.
    pub(crate) fn enter_object(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        self.expect(b'{', "expected an object")
    }

    /// Reads `[`, or says that this is not an array.
    pub(crate) fn enter_array(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        self.expect(b'[', "expected an array")
    }

    /// Reads up to the next key and its colon; `None` at the object's end.
    ///
    /// `first` says whether a comma is not due yet.
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<Option<Key>, Fault> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_whitespace();
            }
            _ if *first => {}
            _ => return Err(self.fault("expected `,` or `}`")),
        }
        *first = false;
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key"));
        }
        let escaped = self.string()?;
        let text_end = self.at - 1;
        self.skip_whitespace();
        self.expect(b':', "expected `:`")?;
        Ok(Some(Key {
            start,
            text_end,
            escaped,
        }))
    }

    /// Reads up to the next element; `false` at the array's end.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Fault> {
        self.skip_whitespace();
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_whitespace();
                if self.peek() == Some(b']') {
                    return Err(self.fault("expected a value"));
                }
            }
            _ if *first => {}
            _ => return Err(self.fault("expected `,` or `]`")),
        }
        *first = false;
        Ok(true)
    }

    /// Returns whether an object comes next.
    pub(crate) fn at_object(&mut self) -> bool {
        self.skip_whitespace();
        self.peek() == Some(b'{')
    }

    /// Returns whether an array comes next.
    pub(crate) fn at_array(&mut self) -> bool {
        self.skip_whitespace();
        self.peek() == Some(b'[')
    }

    /// Reads a whole value.
    pub(crate) fn value(&mut self) -> Result<Value, Fault> {
        self.skip_whitespace();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => Kind::String {
                escaped: self.string()?,
            },
            Some(b'{') => {
                self.nested()?;
                Kind::Object
            }
            Some(b'[') => {
                self.nested()?;
                Kind::Array
            }
            _ => self.scalar()?,
        };
        Ok(Value {
            kind,
            span: start..self.at,
        })
    }

    /// Says whether only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(self.fault("expected the end of the record")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, reason: &'static str) -> Fault {
        Fault {
            at: self.at,
            reason,
        }
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.fault(reason)),
        }
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a string from its opening quote; returns whether it has escapes.
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("a control character in a text")),
                None => return Err(self.fault("a text without its end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                match digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    true => {
                        self.at += 6;
                        Ok(())
                    }
                    false => Err(self.fault("`\\u` without four hex digits")),
                }
            }
            _ => Err(self.fault("an escape that JSON does not have")),
        }
    }

    fn scalar(&mut self) -> Result<Kind, Fault> {
        let (word, kind) = match self.peek() {
            Some(b't') => ("true", Kind::Bool),
            Some(b'f') => ("false", Kind::Bool),
            Some(b'n') => ("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                return Ok(Kind::Number);
            }
            None => return Err(self.fault("the record breaks off")),
            Some(_) => return Err(self.fault("expected a value")),
        };
        match self.bytes[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(kind)
            }
            false => Err(self.fault("expected a value")),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => Err(self.fault("expected a digit")),
        }
    }

    /// Reads an object or array with all that is in it, without recursion.
    fn nested(&mut self) -> Result<(), Fault> {
        let mut stack = Stack::default();
        let mut first = true;
        stack.push(self.peek() == Some(b'{'));
        self.at += 1;
        while let Some(in_object) = stack.top() {
            let open = match in_object {
                true => self.next_key(&mut first)?.is_some(),
                false => self.next_element(&mut first)?,
            };
            if !open {
                stack.pop();
                first = false;
                continue;
            }
            self.skip_whitespace();
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(opening @ (b'{' | b'[')) => {
                    stack.push(opening == b'{');
                    self.at += 1;
                    first = true;
                }
                _ => {
                    self.scalar()?;
                }
            }
        }
        Ok(())
    }
}

/// The containers around a place: a bit each, in a word until there are 64.
#[derive(Default)]
struct Stack {
    bits: u64,
    depth: u32,
    outer: Vec<u64>,
}

impl Stack {
    fn push(&mut self, is_object: bool) {
        if self.depth == 64 {
            self.outer.push(self.bits);
            self.depth = 0;
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth == 0
            && let Some(bits) = self.outer.pop()
        {
            self.bits = bits;
            self.depth = 64;
        }
    }
}

/// Returns how many bytes come before a quote, a backslash or a control byte.
///
/// Eight bytes at a time: strings are most of a record, and byte by byte this
/// loop was over half of the decoder's time.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks are 8 bytes"));
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quote | backslash | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    at + bytes[at..]
        .iter()
        .position(special)
        .unwrap_or(bytes.len() - at)
}

/// Returns the text that a string's inside stands for.
///
/// `raw` is valid. A lone surrogate, which no Rust text can hold, becomes
/// U+FFFD; senders cut strings at 255 bytes, so it does occur.
pub(crate) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..backslash]);
        let escape = rest.as_bytes().get(backslash + 1).copied().unwrap_or(b'\\');
        let mut used = backslash + 2;
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (char, length) = unicode(&rest[backslash..]);
                used = backslash + length;
                char
            }
            other => char::from(other),
        });
        rest = rest.get(used..).unwrap_or_default();
    }
    out.push_str(rest);
    out
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
        return (char::from_u32(code).unwrap_or('\u{FFFD}'), 12);
    }
    (char::from_u32(first).unwrap_or('\u{FFFD}'), 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Result<Value, Fault> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value)
    }

    #[test]
    fn values_have_their_kind_and_place() {
        assert_eq!(
            scan(" {\"a\": [1, {}]} "),
            Ok(Value {
                kind: Kind::Object,
                span: 1..15
            })
        );
        assert_eq!(
            scan("\"a\\n\"").map(|v| v.kind),
            Ok(Kind::String { escaped: true })
        );
        assert_eq!(scan("-1.5E+7").map(|v| v.kind), Ok(Kind::Number));
        assert_eq!(scan("null").map(|v| v.kind), Ok(Kind::Null));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "[,1]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "NaN",
            "Infinity",
            "-Infinity",
            "tru",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\u{1}\"",
            "\"\n\"",
            "1 2",
            "{} x",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "'a'",
        ] {
            assert!(scan(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let depth = 100_000;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(scan(&deep).is_ok());
        assert!(scan(&deep[..deep.len() - 1]).is_err());
        let mixed = format!("{}1{}", "{\"a\":[".repeat(100), "]}".repeat(100));
        assert!(scan(&mixed).is_ok());
        assert!(scan(&mixed.replacen("]}", "}]", 1)).is_err());
    }

    #[test]
    fn escapes_are_read_and_lone_surrogates_replaced() {
        assert_eq!(unescape(r#"a\"\\\/\b\f\n\r\t"#), "a\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(unescape(r"\u6771\u4eac"), "東京");
        assert_eq!(unescape(r"\ud83d\ude00!"), "😀!");
        assert_eq!(unescape(r"\ud83d"), "\u{FFFD}");
        assert_eq!(unescape(r"\ude00\ud83d\u0041"), "\u{FFFD}\u{FFFD}A");
        assert_eq!(unescape(r"\u0000"), "\0");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_texts(value in json(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value).expect("it is JSON"),
                false => value.to_string(),
            };
            prop_assert!(scan(&text).is_ok(), "{text}");
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_texts(
            value in json(), at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f
        ) {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
                prop_assert_eq!(scan(&text).is_ok(), theirs, "{}", text);
            }
        }

        #[test]
        fn strings_unescape_as_serde_json_reads_them(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).expect("it is JSON");
            prop_assert_eq!(unescape(&quoted[1..quoted.len() - 1]), text);
        }

        #[test]
        fn plain_prefix_is_what_a_simple_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let simple = bytes
                .iter()
                .position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
                .unwrap_or(bytes.len());
            prop_assert_eq!(plain_prefix(&bytes), simple);
        }
    }
}
