//! A validating JSON scanner that finds values without building them.
//!
//! The hot path of the decoder, and of what looks into JSON columns. It reads a record
//! once, checks the whole grammar of RFC 8259 (nothing invalid may enter a JSON
//! column), and gives the byte ranges of members. It keeps no tree and does not
//! recurse, so a record nested 100,000 deep costs 100,000 bits, and four bytes for
//! each object where keys are noted, not a stack.

use std::ops::Range;

use wide::u8x16;

use super::keys::Keys;
use super::{Half, half, unescape};

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which it shows.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// What kind of value stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String {
        /// Whether a backslash is in it.
        escaped: bool,
    },
    /// Digits.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
}

/// A value: its kind and the bytes that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Where it stands, with its quotes or brackets.
    pub span: Range<usize>,
}

/// A key: the bytes between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where the opening quote stands.
    pub start: usize,
    /// Where the closing quote stands.
    pub text_end: usize,
    /// Whether a backslash is in it.
    pub escaped: bool,
}

impl Key {
    /// Returns whether the key, its escapes read, is `name`.
    ///
    /// In place, so that a name that is known when this is compiled is compared as a
    /// word or two.
    #[inline(always)]
    pub fn is(self, text: &str, name: &str) -> bool {
        if self.escaped {
            return self.is_unescaped(text, name);
        }
        text.as_bytes().get(self.start + 1..self.text_end) == Some(name.as_bytes())
    }

    #[cold]
    fn is_unescaped(self, text: &str, name: &str) -> bool {
        unescape(&text[self.start + 1..self.text_end]) == name
    }
}

/// Reads JSON from a text, front to back.
///
/// Whatever fails says where and why; what was read until then is lost.
pub struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// The byte that is read next.
    pub at: usize,
    /// Where keys are noted, if somebody asks whether one stands twice.
    keys: Option<&'a mut Keys>,
    /// Whether half of an emoji was escaped without its other half.
    pub has_half: bool,
}

impl<'a> Scanner<'a> {
    /// Creates a scanner at the beginning of a text.
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            text,
            bytes: text.as_bytes(),
            at: 0,
            keys: None,
            has_half: false,
        }
    }

    /// Creates a scanner that notes the keys of every object.
    pub fn noting(text: &'a str, keys: &'a mut Keys) -> Scanner<'a> {
        keys.start_over();
        Scanner {
            keys: Some(keys),
            ..Scanner::new(text)
        }
    }

    /// Returns whether what was read is to be mended: certainly if it has half
    /// of an emoji, perhaps if it seems to have a key twice.
    pub fn is_to_be_mended(&self) -> bool {
        let keys = self.keys.as_deref();
        self.has_half || keys.is_some_and(Keys::may_be_repeated)
    }

    /// Reads `{`, or says that this is not an object.
    pub fn enter_object(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        self.expect(b'{', "expected an object")?;
        self.entered_object();
        Ok(())
    }

    #[inline]
    fn entered_object(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.enter();
        }
    }

    /// Reads `[`, or says that this is not an array.
    pub fn enter_array(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        self.expect(b'[', "expected an array")
    }

    /// Reads up to the next key and its colon; `None` at the object's end.
    ///
    /// `first` says whether a comma is not due yet.
    ///
    /// In place, as are [`value`](Scanner::value) and what both call for nearly all
    /// members: as the result of a call, a key or value goes through memory, and
    /// reading it there at once was a third of the decoder's time.
    #[inline(always)]
    pub fn next_key(&mut self, first: &mut bool) -> Result<Option<Key>, Fault> {
        // Mixpanel writes no white space, so this is nearly always what comes.
        if !*first && matches!(self.bytes.get(self.at..self.at + 2), Some(b",\"")) {
            self.at += 1;
        } else if !self.reach_key(first)? {
            return Ok(None);
        }
        let start = self.at;
        let escaped = self.string()?;
        let text_end = self.at - 1;
        if let Some(keys) = &mut self.keys {
            if escaped {
                keys.note_escaped(&self.text[start + 1..text_end])
            } else {
                keys.note(self.bytes, start + 1, text_end)
            }
        }
        self.skip_whitespace();
        self.expect(b':', "expected `:`")?;
        Ok(Some(Key {
            start,
            text_end,
            escaped,
        }))
    }

    /// Reads up to the quote that a key begins with; `false` at the object's end.
    #[inline(never)]
    fn reach_key(&mut self, first: &mut bool) -> Result<bool, Fault> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                if let Some(keys) = &mut self.keys {
                    keys.leave();
                }
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.skip_whitespace();
            }
            _ if *first => {}
            _ => return Err(self.fault("expected `,` or `}`")),
        }
        *first = false;
        if self.peek() == Some(b'"') {
            Ok(true)
        } else {
            Err(self.fault("expected a key"))
        }
    }

    /// Reads up to the next element; `false` at the array's end.
    pub fn next_element(&mut self, first: &mut bool) -> Result<bool, Fault> {
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
    #[inline]
    pub fn at_object(&mut self) -> bool {
        self.skip_whitespace();
        self.peek() == Some(b'{')
    }

    /// Returns whether an array comes next.
    pub fn at_array(&mut self) -> bool {
        self.skip_whitespace();
        self.peek() == Some(b'[')
    }

    /// Reads a whole value.
    #[inline(always)]
    pub fn value(&mut self) -> Result<Value, Fault> {
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
    #[inline]
    pub fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.fault("expected the end of the record"))
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn fault(&self, reason: &'static str) -> Fault {
        Fault {
            at: self.at,
            reason,
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.fault(reason)),
        }
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_all_whitespace();
        }
    }

    #[cold]
    fn skip_all_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a string from its opening quote; returns whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        self.at += plain_prefix(&self.bytes[self.at..]);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// Reads a string from its first escape.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<bool, Fault> {
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
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.fault("`\\u` without four hex digits"));
                }
                match half(self.bytes, self.at) {
                    None => self.at += 6,
                    // Its digits are hex, so these 12 bytes are a character.
                    Some(Half::First) if half(self.bytes, self.at + 6) == Some(Half::Second) => {
                        self.at += 12;
                    }
                    Some(_) => {
                        self.has_half = true;
                        self.at += 6;
                    }
                }
                Ok(())
            }
            _ => Err(self.fault("an escape that JSON does not have")),
        }
    }

    #[inline(always)]
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
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.fault("expected a value"))
        }
    }

    #[inline(always)]
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

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(self.fault("expected a digit"))
        }
    }

    /// Reads an object or array with all that is in it, without recursion.
    #[inline(never)]
    fn nested(&mut self) -> Result<(), Fault> {
        let mut stack = Stack::default();
        let mut first = true;
        let is_object = self.peek() == Some(b'{');
        self.at += 1;
        stack.push(is_object);
        if is_object {
            self.entered_object();
        }
        while let Some(in_object) = stack.top() {
            let open = if in_object {
                self.next_key(&mut first)?.is_some()
            } else {
                self.next_element(&mut first)?
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
                    if opening == b'{' {
                        self.entered_object();
                    }
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

/// So many bytes are looked at in one go.
const CHUNK: usize = 16;

/// Returns how many bytes come before a quote, a backslash or a control byte.
///
/// Sixteen at a time: strings are most of a record, most of them are shorter than
/// that, and byte by byte this loop was over half of the decoder's time.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut chunks = bytes.chunks_exact(CHUNK);
    for chunk in chunks.by_ref() {
        let mask = specials(chunk.try_into().expect("chunks are of this length"));
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += CHUNK;
    }
    // The end of the record.
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let rest = chunks.remainder();
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// Returns a bit for each quote, backslash and control byte.
#[inline]
fn specials(chunk: [u8; CHUNK]) -> u32 {
    let bytes = u8x16::new(chunk);
    let equal = |byte| bytes.simd_eq(u8x16::splat(byte));
    let control = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
    (equal(b'"') | equal(b'\\') | control).to_bitmask()
}

#[cfg(test)]
mod tests;
