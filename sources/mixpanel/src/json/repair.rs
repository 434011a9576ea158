//! Texts that are JSON but for their bytes, and what is shown of them.

/// Makes UTF-8 of the bytes and escapes control characters inside texts.
pub(crate) fn repair(record: &[u8]) -> String {
    use std::fmt::Write as _;
    let text = String::from_utf8_lossy(record);
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped) = (false, false);
    for char in text.chars() {
        match char {
            '"' if !escaped => in_string = !in_string,
            control if in_string && u32::from(control) < 0x20 => {
                // A backslash before it escaped nothing that JSON has.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
                escaped = false;
                continue;
            }
            _ => {}
        }
        escaped = in_string && char == '\\' && !escaped;
        out.push(char);
    }
    out
}

/// Returns the beginning of a value, for a reason that a person reads.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_no_text_may_have_are_replaced_inside_texts_only() {
        assert_eq!(repair(b"{\"a\":\t\"x\ty\"}"), "{\"a\":\t\"x\\u0009y\"}");
        assert_eq!(
            repair(b"[\"\xff\",\"\\\"\n\"]"),
            "[\"\u{fffd}\",\"\\\"\\u000a\"]"
        );
    }

    #[test]
    fn an_excerpt_is_forty_characters_at_most() {
        assert_eq!(excerpt("é"), "`é`");
        assert_eq!(excerpt(&"é".repeat(41)), format!("`{}…`", "é".repeat(40)));
    }
}
