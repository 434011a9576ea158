//! Changes values inside a JSON text and leaves every other byte alone.

use std::ops::Range;

use mixflow_core::error::Result;

use super::tree::{Node, Paths, elements, members};

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

/// Lists inside lists that are looked into for objects. Each is read once more
/// than the one around it.
const MOST_LISTS: usize = 8;

impl Paths {
    /// Asks `edit` what becomes of the value at each path, and returns the new
    /// text; `None` if nothing changes.
    ///
    /// Of duplicate keys each is asked about. What stands inside a value that
    /// is replaced or removed is not.
    pub(crate) fn edit(
        &self,
        json: &str,
        edit: impl FnMut(usize, &str) -> Edit,
    ) -> Result<Option<String>> {
        self.walk(json, edit, None)
    }

    /// Does the same, and leads paths into lists: `items.sku` is in each object
    /// of the list `items`.
    ///
    /// Gives the number of a path to `missed` for each value on its way that is
    /// not null and has no keys.
    pub(crate) fn edit_in_lists(
        &self,
        json: &str,
        edit: impl FnMut(usize, &str) -> Edit,
        mut missed: impl FnMut(usize),
    ) -> Result<Option<String>> {
        self.walk(json, edit, Some(&mut missed))
    }

    fn walk(
        &self,
        json: &str,
        edit: impl FnMut(usize, &str) -> Edit,
        missed: Option<&mut dyn FnMut(usize)>,
    ) -> Result<Option<String>> {
        let mut walk = Walk {
            edit,
            missed,
            cuts: Cuts {
                base: json.as_ptr() as usize,
                list: Vec::new(),
            },
        };
        walk.object(self.root(), json)?;
        let cuts = walk.cuts;
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

/// A walk through one text.
struct Walk<'w, F> {
    edit: F,
    /// There if paths lead into lists.
    missed: Option<&'w mut dyn FnMut(usize)>,
    cuts: Cuts,
}

impl<F: FnMut(usize, &str) -> Edit> Walk<'_, F> {
    fn object(&mut self, node: &Node, json: &str) -> Result<()> {
        // The end of the member before, and where a run of removed members at the
        // very beginning starts: its comma is the one behind it.
        let mut before: Option<usize> = None;
        let mut leading: Option<usize> = None;
        members(json, |key, value| {
            let (start, place) = (self.cuts.place(key).start, self.cuts.place(value));
            let child = node.child(key);
            let change = child
                .and_then(|child| child.ends.first())
                .map_or(Edit::Keep, |end| (self.edit)(*end, value));
            if change == Edit::Remove {
                match (before, leading) {
                    (Some(before), None) => self.cuts.list.push((before..place.end, String::new())),
                    (_, None) => leading = Some(start),
                    (_, Some(_)) => {}
                }
                if leading.is_some() {
                    before = Some(place.end);
                    return Ok(());
                }
            } else if let Some(from) = leading.take() {
                self.cuts.list.push((from..start, String::new()));
            }
            before = Some(place.end);
            match (change, child) {
                (Edit::Replace(text), _) => self.cuts.list.push((place, text)),
                (Edit::Keep, Some(child)) if !child.is_leaf() => self.inside(child, value, 0)?,
                _ => {}
            }
            Ok(())
        })?;
        if let (Some(from), Some(end)) = (leading, before) {
            self.cuts.list.push((from..end, String::new()));
        }
        Ok(())
    }

    /// Goes on inside the value of a key on the way.
    fn inside(&mut self, node: &Node, json: &str, lists: usize) -> Result<()> {
        let Some(missed) = &mut self.missed else {
            return self.object(node, json);
        };
        match json.as_bytes().first() {
            Some(b'{') => self.object(node, json),
            Some(b'[') if lists < MOST_LISTS => {
                elements(json, |element| self.inside(node, element, lists + 1))
            }
            Some(b'n') => Ok(()),
            _ => {
                node.ends().for_each(missed);
                Ok(())
            }
        }
    }
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

    /// What comes of hiding the values at paths that lead into lists, and the
    /// paths that missed some.
    fn hidden(paths: &[&str], json: &str) -> (String, Vec<usize>) {
        let mut tree = Paths::default();
        for path in paths {
            tree.add(&JsonPath::parse(path).expect("a path"));
        }
        let mut missed = Vec::new();
        let edit = |_, _: &str| Edit::Replace("0".to_owned());
        let edited = tree.edit_in_lists(json, edit, |path| missed.push(path));
        let edited = edited.expect("it is JSON");
        (edited.unwrap_or_else(|| json.to_owned()), missed)
    }

    #[test]
    fn paths_lead_into_lists_of_objects() {
        let json = r#"{"a":[{"b":1,"x":[2]}, [{"b":[3]}],{"c":{"b":4}}], "b":5,"a":{"b":6}}"#;
        let (edited, missed) = hidden(&["a.b", "a.c.b"], json);
        assert_eq!(
            edited,
            r#"{"a":[{"b":0,"x":[2]}, [{"b":0}],{"c":{"b":0}}], "b":5,"a":{"b":0}}"#
        );
        assert_eq!(missed, Vec::<usize>::new());
        assert_eq!(hidden(&["b"], r#"[{"b":1}]"#).0, r#"[{"b":1}]"#);
    }

    #[test]
    fn values_that_paths_do_not_reach_are_told() {
        let (edited, missed) = hidden(
            &["a.b", "a.c", "d.e"],
            r#"{"a":["x",{"b":1},null,7],"d":"{\"e\":1}"}"#,
        );
        assert_eq!(edited, r#"{"a":["x",{"b":0},null,7],"d":"{\"e\":1}"}"#);
        assert_eq!(missed, [0, 1, 0, 1, 2]);
        // Nothing is there, so nothing is missed.
        for json in ["{}", r#"{"a":null}"#, r#"{"a":{}}"#, r#"{"a":[]}"#] {
            assert_eq!(hidden(&["a.b"], json), (json.to_owned(), Vec::new()));
        }
        // Lists without end cost neither stack nor time.
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(hidden(&["a.b"], &deep), (deep.clone(), vec![0]));
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
