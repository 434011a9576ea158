//! What a terminal is shown: text that moves no cursor and turns no line around.

use std::borrow::Cow;
use std::io::{self, Write};

/// Returns a text without what a terminal would take for an order.
///
/// Line ends and tabs stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    rewritten(text, |c| c.escape_default().to_string())
}

/// Returns JSON as [`plain`] does: the same values, written otherwise.
pub(crate) fn plain_json(text: &str) -> Cow<'_, str> {
    rewritten(text, |c| format!("\\u{:04x}", u32::from(c)))
}

fn rewritten(text: &str, write_out: fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_order(c) {
            true => shown.push_str(&write_out(c)),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Returns a text as [`plain`] does, on one line.
pub(crate) fn plain_line(text: &str) -> Cow<'_, str> {
    match plain(text) {
        text if !text.contains(['\n', '\t']) => text,
        text => Cow::Owned(text.replace('\n', "\\n").replace('\t', "\\t")),
    }
}

/// Whether a terminal may act on a character instead of showing it: C0, DEL,
/// C1, and what changes the direction of what follows.
fn is_order(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Passes on to a terminal what [`plain_json`] leaves of a stream: also of one
/// that is no JSON.
pub(crate) struct Screen<W> {
    inner: W,
    /// The beginning of a character whose rest has not come yet.
    rest: Vec<u8>,
}

impl<W: Write> Screen<W> {
    pub(crate) fn new(inner: W) -> Screen<W> {
        Screen {
            inner,
            rest: Vec::new(),
        }
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let mut shown = String::new();
        let mut whole = 0;
        for chunk in self.rest.utf8_chunks() {
            let invalid = chunk.invalid();
            whole += chunk.valid().len();
            shown.push_str(&plain_json(chunk.valid()));
            // At the end it may be the beginning of a character.
            if whole + invalid.len() == self.rest.len() && invalid.len() < 4 {
                break;
            }
            whole += invalid.len();
            shown.push('\u{fffd}');
        }
        self.rest.drain(..whole);
        self.inner.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
