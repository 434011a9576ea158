//! Changes values inside a JSON text and leaves every other byte alone.

use std::ops::Range;

use super::tree::{Node, Paths, members};
use crate::error::Result;

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// It stays as it is.
    Keep,
    /// It is replaced by this JSON text.
    Replace(String),
    /// It goes, and its key.
    Remove,
}

impl Paths {
    /// Asks `edit` what becomes of the value at each path, and returns the new
    /// text; `None` if nothing changes.
    ///
    /// Of duplicate keys each is asked about. What stands inside a value that
    /// is replaced or removed is not.
    pub(crate) fn edit(
        &self,
        json: &str,
        mut edit: impl FnMut(usize, &str) -> Edit,
    ) -> Result<Option<String>> {
        let mut cuts = Cuts {
            base: json.as_ptr() as usize,
            list: Vec::new(),
        };
        object(self.root(), json, &mut edit, &mut cuts)?;
        Ok((!cuts.list.is_empty()).then(|| cuts.apply(json)))
    }
}

/// The places that change, in their order.
struct Cuts {
    /// The address of the text's first byte; what is found are parts of it.
    base: usize,
    list: Vec<(Range<usize>, String)>,
}

impl Cuts {
    fn place(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.base;
        start..start + part.len()
    }

    fn apply(self, json: &str) -> String {
        let mut text = String::with_capacity(json.len() + 64);
        let mut from = 0;
        for (range, replacement) in self.list {
            text.push_str(&json[from..range.start]);
            text.push_str(&replacement);
            from = range.end;
        }
        text.push_str(&json[from..]);
        text
    }
}

fn object(
    node: &Node,
    json: &str,
    edit: &mut impl FnMut(usize, &str) -> Edit,
    cuts: &mut Cuts,
) -> Result<()> {
    // The end of the member before, and where a run of removed members at the
    // very beginning starts: its comma is the one behind it.
    let mut before: Option<usize> = None;
    let mut leading: Option<usize> = None;
    members(json, |key, value| {
        let (start, place) = (cuts.place(key).start, cuts.place(value));
        let child = node.child(key);
        let change = child
            .and_then(|child| child.ends.first())
            .map_or(Edit::Keep, |end| edit(*end, value));
        if change == Edit::Remove {
            match (before, leading) {
                (Some(before), None) => cuts.list.push((before..place.end, String::new())),
                (_, None) => leading = Some(start),
                (_, Some(_)) => {}
            }
            if leading.is_some() {
                before = Some(place.end);
                return Ok(());
            }
        } else if let Some(from) = leading.take() {
            cuts.list.push((from..start, String::new()));
        }
        before = Some(place.end);
        match (change, child) {
            (Edit::Replace(text), _) => cuts.list.push((place, text)),
            (Edit::Keep, Some(child)) if !child.is_leaf() => object(child, value, edit, cuts)?,
            _ => {}
        }
        Ok(())
    })?;
    if let (Some(from), Some(end)) = (leading, before) {
        cuts.list.push((from..end, String::new()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::JsonPath;
    use super::*;

    fn edited(paths: &[&str], json: &str, to: Edit) -> String {
        let mut tree = Paths::default();
        for path in paths {
            tree.add(&JsonPath::parse(path).expect("a path"));
        }
        let edited = tree.edit(json, |_, _| to.clone()).expect("it is JSON");
        edited.unwrap_or_else(|| "as it was".to_owned())
    }

    #[test]
    fn a_value_is_replaced_and_nothing_else_moves() {
        let to = || Edit::Replace("\"x\"".to_owned());
        assert_eq!(
            edited(
                &["b", "c.d"],
                r#" { "a":1.50 ,"b" : [2], "c":{"d" :{} },"b":3 } "#,
                to()
            ),
            r#" { "a":1.50 ,"b" : "x", "c":{"d" :"x" },"b":"x" } "#
        );
        assert_eq!(edited(&["b"], r#"{"a":1}"#, to()), "as it was");
        assert_eq!(edited(&["a.b"], r#"{"a":[{"b":1}]}"#, to()), "as it was");
    }

    #[test]
    fn a_removed_value_goes_with_its_key_and_one_comma() {
        let json = r#"{ "a":1 , "b":2 , "c":3 }"#;
        for (paths, left) in [
            (&["a"][..], r#"{ "b":2 , "c":3 }"#),
            (&["b"], r#"{ "a":1 , "c":3 }"#),
            (&["c"], r#"{ "a":1 , "b":2 }"#),
            (&["a", "b"], r#"{ "c":3 }"#),
            (&["b", "c"], r#"{ "a":1 }"#),
            (&["a", "c"], r#"{ "b":2 }"#),
            (&["a", "b", "c"], "{  }"),
            (&["x"], "as it was"),
        ] {
            assert_eq!(edited(paths, json, Edit::Remove), left, "{paths:?}");
        }
        assert_eq!(
            edited(&["a.b"], r#"{"a":{"b":1},"a":{"c":2,"b":3}}"#, Edit::Remove),
            r#"{"a":{},"a":{"c":2}}"#
        );
    }
}
