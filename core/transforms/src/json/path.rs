//! Where a value stands inside an object.

use std::fmt;

use mixflow_core::written_as;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

/// Deeper paths are slips.
const MOST_KEYS: usize = 32;

/// The keys on the way to a value; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<String>);

impl JsonPath {
    /// Creates a path of these keys.
    pub(crate) fn new(keys: Vec<String>) -> Result<JsonPath, String> {
        match keys.len() {
            0 => Err("a path has at least one key".to_owned()),
            n if n > MOST_KEYS => Err(format!("a path has at most {MOST_KEYS} keys")),
            _ => Ok(JsonPath(keys)),
        }
    }

    /// Creates a path of one key.
    pub(crate) fn of_key(key: &str) -> JsonPath {
        JsonPath(vec![key.to_owned()])
    }

    /// Reads `cart.amount`; a key with a dot in it stands in double quotes, in
    /// which a quote is doubled: `"a.b"."say ""hi"""`.
    pub(crate) fn parse(text: &str) -> Result<JsonPath, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        loop {
            let (key, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted_key(quoted).ok_or_else(|| {
                    format!("the quotes of `{text}` do not end before a dot or the end")
                })?,
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    (rest[..end].to_owned(), &rest[end..])
                }
            };
            if key.is_empty() && !rest.starts_with('"') {
                return Err(format!("the path `{text}` has an empty key"));
            }
            keys.push(key);
            match after.strip_prefix('.') {
                Some(more) => rest = more,
                None => return JsonPath::new(keys),
            }
        }
    }

    /// Returns the keys, from the outermost to the innermost.
    pub(crate) fn keys(&self) -> &[String] {
        &self.0
    }
}

/// Returns what stands before the closing quote, and what follows.
fn quoted_key(quoted: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        key.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                key.push('"');
                rest = more;
            }
            None if rest.is_empty() || rest.starts_with('.') => return Some((key, rest)),
            None => return None,
        }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, key) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            if key.is_empty() || key.contains(['.', '"']) {
                write!(f, "\"{}\"", key.replace('"', "\"\""))?
            } else {
                f.write_str(key)?
            }
        }
        Ok(())
    }
}

/// A path as it is written in TOML: `"cart.amount"` or `["cart", "amount"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText(pub(crate) JsonPath);

written_as!(PathText, {
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ]
});

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<PathText, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = PathText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as `cart.amount`, or a list of keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathText, E> {
                JsonPath::parse(text).map(PathText).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PathText, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = items.next_element()? {
                    keys.push(key);
                }
                let path = JsonPath::new(keys);
                path.map(PathText).map_err(de::Error::custom)
            }
        }
        from.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_keys_between_dots_or_in_quotes() {
        let keys = |text: &str| JsonPath::parse(text).map(|path| path.0.join("|"));
        assert_eq!(keys("$email"), Ok("$email".to_owned()));
        assert_eq!(keys("cart.amount"), Ok("cart|amount".to_owned()));
        assert_eq!(keys("\"a.b\".c"), Ok("a.b|c".to_owned()));
        assert_eq!(keys("\"\".\"x\"\"y\""), Ok("|x\"y".to_owned()));
        for wrong in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"a\"\""] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
        assert!(keys(&vec!["a"; 33].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same_path(
            keys in prop::collection::vec("[a.\"$ é]{0,4}", 1..4)
        ) {
            let path = JsonPath::new(keys).expect("there is a key");
            prop_assert_eq!(JsonPath::parse(&path.to_string()), Ok(path));
        }
    }
}
