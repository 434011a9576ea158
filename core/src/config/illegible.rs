//! What may be shown of a file that cannot be parsed.
//!
//! A value may stand anywhere in it: behind a quote that is missing, or on a
//! line of its own. So a line is shown only if it can be read by itself.

use toml::de::DeTable;

use super::blank::{blank, blank_comment};
use super::literals::Literals;
use super::sensitive::is_harmless;

/// Shorter words than this are not looked for in messages.
const SHORTEST: usize = 3;

/// Overwrites everything but names and values that everybody may read.
pub(super) fn veil(text: &mut [u8]) {
    for line in text.split_mut(|byte| *byte == b'\n') {
        veil_line(line);
    }
}

fn veil_line(line: &mut [u8]) {
    let text = String::from_utf8_lossy(line).into_owned();
    let Ok(table) = DeTable::parse(&text) else {
        return blank(&mut line[leading_name(&text)..]);
    };
    blank_comment(line);
    let mut literals = Literals::default();
    literals.collect(table.get_ref());
    literals.blank(line);
    // What a name stands for is not known where the tables are not.
    if let Some((name, _)) = text.split_once('=')
        && !is_harmless(name.trim())
    {
        blank(&mut line[name.len() + 1..]);
    }
}

/// Returns where the name ends that a line begins with, if everybody may read
/// it; otherwise 0.
fn leading_name(line: &str) -> usize {
    let begin = line
        .find(|c: char| !c.is_whitespace() && c != '[')
        .unwrap_or(line.len());
    let length = line[begin..]
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        .unwrap_or(line.len() - begin);
    let name = &line[begin..begin + length];
    if name.split('.').all(is_harmless) {
        begin + length
    } else {
        0
    }
}

/// Returns the words of `text` that are overwritten in `veiled`.
pub(super) fn hidden_words<'t>(
    text: &'t str,
    veiled: &'t [u8],
) -> impl Iterator<Item = String> + use<'t> {
    let mut at = 0;
    text.split_inclusive(|c: char| !c.is_alphanumeric())
        .filter_map(move |piece| {
            let start = at;
            at += piece.len();
            let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
            let is_hidden = veiled.get(start) != text.as_bytes().get(start);
            let is_telling = word.len() >= SHORTEST && !is_harmless(word);
            (is_hidden && is_telling).then(|| word.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veiled(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        veil(&mut bytes);
        String::from_utf8(bytes).expect("whole characters are overwritten")
    }

    #[test]
    fn only_a_line_that_can_be_read_is_shown() {
        assert_eq!(
            veiled("[source]\nregion = \"us\" # old\nwhere = \"a; 'b'\n"),
            "[source]\nregion = \"us\" # ***\nwhere * *** ***\n"
        );
        assert_eq!(veiled("hunter22\" }\r\n"), "********* *\r\n");
        assert_eq!(veiled("secret \"é\"\n"), "secret ****\n");
        assert_eq!(veiled("secrethunter"), "************");
    }

    #[test]
    fn a_name_that_is_not_known_shows_no_value() {
        assert_eq!(
            veiled("[source.auth]\nret = \"s\"\nsecret = \"s\"\ntype = 1\n"),
            "[source.auth]\nret = ***\nsecret = \"*\"\ntype = 1\n"
        );
    }

    #[test]
    fn words_that_are_not_shown_are_known() {
        let text = "a = 1\nsecret = \"hun ter22\nwhere = 2\n";
        let veiled = veiled(text);
        let words: Vec<String> = hidden_words(text, veiled.as_bytes()).collect();
        assert_eq!(words, ["hun", "ter22"]);
    }
}
