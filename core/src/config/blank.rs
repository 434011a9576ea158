//! Overwrites what is not to be seen; the rest stays where it is.

/// Overwrites what stands between the quotes of a literal.
pub(super) fn blank_literal(literal: &mut [u8]) {
    match literal {
        [b'"' | b'\'', inside @ .., b'"' | b'\''] => blank(inside),
        whole => blank(whole),
    }
}

/// Overwrites everything but what keeps lines and words apart.
pub(super) fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if !byte.is_ascii_whitespace() {
            *byte = b'*';
        }
    }
}

/// Overwrites the comment at the end of a line: it may have been a value.
pub(super) fn blank_comment(line: &mut [u8]) {
    let mut quote = None;
    let start = line.iter().position(|byte| {
        match (quote, byte) {
            (None, b'#') => return true,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), close) if open == *close => quote = None,
            _ => {}
        }
        false
    });
    if let Some(start) = start {
        blank(&mut line[start + 1..]);
    }
}
