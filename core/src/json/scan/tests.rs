//! The scanner, against what `serde_json` writes.

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
        let text = if pretty {
            serde_json::to_string_pretty(&value).expect("it is JSON")
        } else {
            value.to_string()
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
    fn plain_prefix_is_what_a_simple_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let simple = bytes
            .iter()
            .position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
            .unwrap_or(bytes.len());
        prop_assert_eq!(plain_prefix(&bytes), simple);
    }
}
