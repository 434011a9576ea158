//! Properties that every reader of JSON reads in the same way.
//!
//! Mixpanel sends what it was sent: objects with a key twice, of which some
//! readers take the first and others the last, and texts that were cut in the
//! middle of an emoji, whose `\ud83d` alone makes DuckDB and `jq` refuse the
//! whole document. Here each key is left once, with its last value in the
//! place of the first, and half of an emoji becomes U+FFFD. Every other byte
//! stays. The slow way, for the few records that need it.

use std::borrow::Cow;
use std::ops::Range;

use mixflow_core::json::{unescape, without_halves};

use mixflow_core::json::scan::{Fault, Key, Scanner};

/// Returns the text of an object, mended; at every level of it.
///
/// Takes no stack, and time in proportion to the text.
pub(crate) fn mended(object: &str) -> Result<String, Fault> {
    let mut edits = Vec::new();
    find(object, &mut edits)?;
    edits.sort_unstable_by_key(|edit| edit.place.start);
    Ok(written(object, &edits))
}

/// A place that changes.
struct Edit {
    place: Range<usize>,
    /// What stands there instead: a part of the same text, or nothing.
    by: Option<Range<usize>>,
}

/// A member of an object that has not ended.
struct Member {
    key: Key,
    value: Range<usize>,
}

/// An object or array that has not ended.
struct Open {
    is_object: bool,
    first: bool,
    /// How many members there are before its own.
    before: usize,
}

/// Finds the keys that stand twice.
fn find(text: &str, edits: &mut Vec<Edit>) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    let mut members: Vec<Member> = Vec::new();
    scanner.enter_object()?;
    let mut open = vec![Open {
        is_object: true,
        first: true,
        before: 0,
    }];
    while let Some(inner) = open.last_mut() {
        let goes_on = if inner.is_object {
            let key = scanner.next_key(&mut inner.first)?;
            members.extend(key.map(|key| Member { key, value: 0..0 }));
            key.is_some()
        } else {
            scanner.next_element(&mut inner.first)?
        };
        if !goes_on {
            if inner.is_object {
                repeated(text, &members[inner.before..], edits);
                members.truncate(inner.before);
            }
            open.pop();
            ended(&open, &mut members, scanner.at);
            continue;
        }
        let is_object = scanner.at_object();
        if let (true, Some(member)) = (inner.is_object, members.last_mut()) {
            member.value.start = scanner.at;
        }
        if is_object || scanner.at_array() {
            scanner.at += 1;
            open.push(Open {
                is_object,
                first: true,
                before: members.len(),
            });
        } else {
            scanner.value()?;
            ended(&open, &mut members, scanner.at);
        }
    }
    scanner.end()
}

/// Notes where the value of a member has ended, if it was one.
fn ended(open: &[Open], members: &mut [Member], at: usize) {
    if let (
        Some(Open {
            is_object: true, ..
        }),
        Some(member),
    ) = (open.last(), members.last_mut())
    {
        member.value.end = at;
    }
}

/// Puts the last value of each key into the place of its first.
fn repeated(text: &str, members: &[Member], edits: &mut Vec<Edit>) {
    if members.len() < 2 {
        return;
    }
    let name = |member: &Member| -> Cow<'_, str> {
        let raw = &text[member.key.start + 1..member.key.text_end];
        if member.key.escaped {
            unescape(raw)
        } else {
            Cow::Borrowed(raw)
        }
    };
    let names: Vec<Cow<'_, str>> = members.iter().map(name).collect();
    let mut order: Vec<usize> = (0..members.len()).collect();
    // Stable, so the members of a name are in their order.
    order.sort_by(|a, b| names[*a].cmp(&names[*b]));
    for same in order.chunk_by(|a, b| names[*a] == names[*b]) {
        let &[first, .., last] = same else { continue };
        edits.push(Edit {
            place: members[first].value.clone(),
            by: Some(members[last].value.clone()),
        });
        for n in &same[1..] {
            // With the comma before it.
            edits.push(Edit {
                place: members[n - 1].value.end..members[*n].value.end,
                by: None,
            });
        }
    }
}

/// Returns the text with what changes; `edits` are in the order of places.
fn written(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut at, mut end) = (0, text.len());
    // Where to go on after what stands in for something, and up to where.
    let mut back = Vec::new();
    loop {
        // What stands in a place that is replaced or goes is passed over.
        let next = edits.partition_point(|edit| edit.place.start < at);
        match edits.get(next).filter(|edit| edit.place.start < end) {
            Some(edit) => {
                out.push_str(&without_halves(&text[at..edit.place.start]));
                at = edit.place.end;
                if let Some(by) = &edit.by {
                    back.push((at, end));
                    (at, end) = (by.start, by.end);
                }
            }
            None => {
                out.push_str(&without_halves(&text[at..end]));
                match back.pop() {
                    Some(place) => (at, end) = place,
                    None => return out,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(text: &str) -> String {
        mended(text).expect("it is an object")
    }

    #[test]
    fn each_key_stays_once_with_the_last_value_in_the_place_of_the_first() {
        for (text, expected) in [
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
            (r#"{"a":1,"b":1,"a":2,"b":2}"#, r#"{"a":2,"b":2}"#),
            (r#"{"":1,"":2}"#, r#"{"":2}"#),
            (
                r#"{ "a" : 1 , "b" : 2 , "a" : 3 }"#,
                r#"{ "a" : 3 , "b" : 2 }"#,
            ),
            (
                r#"{"a":{"b":1,"b":2},"c":[{"b":1,"b":2},[{"b":1,"b":[]}]]}"#,
                r#"{"a":{"b":2},"c":[{"b":2},[{"b":[]}]]}"#,
            ),
            // The value that is taken has a key twice itself, the other goes.
            (
                r#"{"a":{"x":1,"x":2},"a":{"y":1,"z":0,"y":2}}"#,
                r#"{"a":{"y":2,"z":0}}"#,
            ),
            (
                r#"{"a":1,"b":[{"a":1}],"a":{"a":{"a":1,"a":2},"a":3}}"#,
                r#"{"a":{"a":3},"b":[{"a":1}]}"#,
            ),
            (r#"{}"#, r#"{}"#),
        ] {
            assert_eq!(mend(text), expected, "{text}");
        }
    }

    #[test]
    fn names_that_differ_by_escapes_are_the_same() {
        assert_eq!(mend(r#"{"\u0061":1,"a":2}"#), r#"{"\u0061":2}"#);
        assert_eq!(mend(r#"{"a/b":1,"a\/b":2}"#), r#"{"a/b":2}"#);
        assert_eq!(mend(r#"{"😀":1,"\uD83D\ude00":2}"#), r#"{"😀":2}"#);
        // Both stand for U+FFFD once they are mended.
        assert_eq!(mend(r#"{"\ud83d":1,"\ude00":2}"#), r#"{"\ufffd":2}"#);
        assert_eq!(
            mend(r#"{"\\u0061":1,"\u0061":2}"#),
            r#"{"\\u0061":1,"\u0061":2}"#
        );
    }

    #[test]
    fn half_of_an_emoji_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#"{"x":"a\ud83d"}"#, r#"{"x":"a\ufffd"}"#),
            (r#"{"x":"\uDE00\uD83D"}"#, r#"{"x":"\ufffd\ufffd"}"#),
            (
                r#"{"x":"\ud83d\ud83d\ude00"}"#,
                r#"{"x":"\ufffd\ud83d\ude00"}"#,
            ),
            (r#"{"x":"\\ud83d\\\ud83d"}"#, r#"{"x":"\\ud83d\\\ufffd"}"#),
            (r#"{"\ud83d":["\ud83d\n"]}"#, r#"{"\ufffd":["\ufffd\n"]}"#),
            (r#"{"x":"\ud7ff\ue000"}"#, r#"{"x":"\ud7ff\ue000"}"#),
        ] {
            assert_eq!(mend(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_and_number_cost_no_stack_and_little_time() {
        let deep = 100_000;
        let text = format!("{}1{}", r#"{"a":0,"a":"#.repeat(deep), "}".repeat(deep));
        let expected = format!("{}1{}", r#"{"a":"#.repeat(deep), "}".repeat(deep));
        assert_eq!(mend(&text), expected);
        let many: Vec<String> = (0..200_000).map(|n| format!("\"{}\":{n}", n % 3)).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(mend(&text), r#"{"0":199998,"1":199999,"2":199997}"#);
    }
}
