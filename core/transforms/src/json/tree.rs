//! Several paths that are looked for in one walk.

use std::collections::BTreeMap;

use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::json::scan::{Fault, Scanner};

use super::keys::Keys;
use super::path::JsonPath;
use super::text::decode;

/// Paths, each with the number that it was added as.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    root: Node,
    count: usize,
}

/// A key on the way, or at the end of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    keys: BTreeMap<String, Node>,
    /// The paths that end here.
    pub(super) ends: Vec<usize>,
}

impl Paths {
    /// Adds a path and returns its number, counted from 0.
    pub(crate) fn add(&mut self, path: &JsonPath) -> usize {
        let mut node = &mut self.root;
        for key in path.keys() {
            node = node.keys.entry(key.clone()).or_default();
        }
        node.ends.push(self.count);
        self.count += 1;
        self.count - 1
    }

    /// Returns the number of a path whose value is the one at `path`, or stands
    /// around it or inside it.
    pub(crate) fn overlap(&self, path: &JsonPath) -> Option<usize> {
        let mut node = &self.root;
        for key in path.keys() {
            node = node.keys.get(key)?;
            if let Some(end) = node.ends.first() {
                return Some(*end);
            }
        }
        node.ends().next()
    }

    /// Returns the number of paths.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// Puts the JSON text of each path's value into `found`, which has a place
    /// for each path.
    ///
    /// A text that is not an object has no values; one that is not JSON is an
    /// error.
    pub(crate) fn find<'j>(&self, json: &'j str, found: &mut [Option<&'j str>]) -> Result<()> {
        found.fill(None);
        self.root.find(json, found)
    }
}

/// The keys that a [`Finder`] remembers. Who makes keys of identifiers has
/// millions.
const MOST_KNOWN: usize = 1_000;

/// Finds the values of paths in texts that look like each other.
pub(crate) struct Finder<'p> {
    paths: &'p Paths,
    keys: Keys,
    /// What stands behind each key at the root.
    nodes: Vec<Option<&'p Node>>,
}

impl<'p> Finder<'p> {
    pub(crate) fn new(paths: &'p Paths) -> Finder<'p> {
        Finder {
            paths,
            keys: Keys::default(),
            nodes: Vec::new(),
        }
    }

    /// Does what [`Paths::find`] does.
    pub(crate) fn find<'j>(&mut self, json: &'j str, found: &mut [Option<&'j str>]) -> Result<()> {
        found.fill(None);
        let mut before = None;
        members(json, |key, value| match self.node(key, &mut before) {
            Some(node) => node.take(value, found),
            None => Ok(()),
        })
    }

    /// Returns what stands behind a key at the root, which comes after `before`.
    fn node(&mut self, key: &str, before: &mut Option<usize>) -> Option<&'p Node> {
        let known = self.keys.len();
        let place = self.keys.place_of(key, *before, |_| known < MOST_KNOWN);
        let Some(place) = place else {
            return self.paths.root.child(key);
        };
        if place == self.nodes.len() {
            self.nodes.push(self.paths.root.child(key));
        }
        *before = Some(place);
        self.nodes[place]
    }
}

impl Node {
    fn find<'j>(&self, json: &'j str, found: &mut [Option<&'j str>]) -> Result<()> {
        members(json, |key, value| match self.child(key) {
            Some(node) => node.take(value, found),
            None => Ok(()),
        })
    }

    /// Puts the value behind this key, and what is wanted of it, into `found`.
    fn take<'j>(&self, value: &'j str, found: &mut [Option<&'j str>]) -> Result<()> {
        // Of duplicate keys the last one counts, with all that is in it.
        self.forget(found);
        for end in &self.ends {
            found[*end] = Some(value);
        }
        if self.is_leaf() {
            Ok(())
        } else {
            self.find(value, found)
        }
    }

    fn forget(&self, found: &mut [Option<&str>]) {
        for end in &self.ends {
            found[*end] = None;
        }
        for node in self.keys.values() {
            node.forget(found);
        }
    }

    /// Returns the node behind a key; `raw` has its quotes.
    pub(super) fn child(&self, raw: &str) -> Option<&Node> {
        self.keys.get(&*decode(raw))
    }

    /// Returns the paths that end here or further in.
    pub(super) fn ends(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        let further = self.keys.values().flat_map(Node::ends);
        Box::new(self.ends.iter().copied().chain(further))
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Gives each key and value of an object to `visit`, as they stand in `json`.
///
/// A value that is not an object has none. One that is not JSON is an error, whatever
/// `visit` says.
pub(crate) fn members<'j>(
    json: &'j str,
    mut visit: impl FnMut(&'j str, &'j str) -> Result<()>,
) -> Result<()> {
    let mut scanner = Scanner::new(json);
    if !scanner.at_object() {
        return Ok(());
    }
    scanner.enter_object().map_err(not_json)?;
    let (mut first, mut visited) = (true, Ok(()));
    while let Some(key) = scanner.next_key(&mut first).map_err(not_json)? {
        let value = scanner.value().map_err(not_json)?;
        if visited.is_ok() {
            visited = visit(&json[key.start..=key.text_end], &json[value.span]);
        }
    }
    scanner.end().map_err(not_json)?;
    visited
}

/// Gives each element of an array to `visit`, as it stands in `json`.
pub(super) fn elements<'j>(
    json: &'j str,
    mut visit: impl FnMut(&'j str) -> Result<()>,
) -> Result<()> {
    let mut scanner = Scanner::new(json);
    scanner.enter_array().map_err(not_json)?;
    let (mut first, mut visited) = (true, Ok(()));
    while scanner.next_element(&mut first).map_err(not_json)? {
        let value = scanner.value().map_err(not_json)?;
        if visited.is_ok() {
            visited = visit(&json[value.span]);
        }
    }
    scanner.end().map_err(not_json)?;
    visited
}

fn not_json(fault: Fault) -> Error {
    // A place, and nothing of the text.
    Error::new(ErrorKind::Data, "a value is not JSON")
        .because(format!("{} at byte {}", fault.reason, fault.at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn find(paths: &[&str], json: &str) -> Vec<String> {
        let mut tree = Paths::default();
        for path in paths {
            tree.add(&JsonPath::parse(path).expect("a path"));
        }
        let mut found = vec![None; tree.count()];
        let mut finder = Finder::new(&tree);
        // Whatever it remembers of others.
        for other in [r#"{"z":0,"b":{},"a":1}"#, json, r#"{"a":1,"q":[]}"#, json] {
            finder.find(other, &mut found).expect("it is JSON");
        }
        let mut again = vec![None; tree.count()];
        tree.find(json, &mut again).expect("it is JSON");
        assert_eq!(found, again);
        let found = found.into_iter();
        found.map(|value| value.unwrap_or("-").to_owned()).collect()
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let json = r#"{ "a" : 1.50 , "b":{"c":[1, 2],"d":null}, "$x": "y" }"#;
        assert_eq!(
            find(&["a", "b.c", "b", "b.d", "b.e", "a.c", "$x", "a"], json),
            [
                "1.50",
                "[1, 2]",
                r#"{"c":[1, 2],"d":null}"#,
                "null",
                "-",
                "-",
                "\"y\"",
                "1.50"
            ]
        );
    }

    #[test]
    fn the_last_of_duplicate_keys_counts_with_all_that_is_in_it() {
        assert_eq!(find(&["a"], r#"{"a":1,"a":2}"#), ["2"]);
        assert_eq!(find(&["a.b"], r#"{"a":{"b":1},"a":{}}"#), ["-"]);
        assert_eq!(find(&["a.b"], r#"{"a":{"b":1},"a":3}"#), ["-"]);
    }

    #[test]
    fn keys_are_compared_as_texts() {
        assert_eq!(find(&["é"], r#"{"\u00e9":1}"#), ["1"]);
        // Half of an emoji is no text; the key is passed over, not an error.
        assert_eq!(find(&["a"], r#"{"\ud83d":"\udead","a":1}"#), ["1"]);
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        let json = format!(r#"{{"x":{},"a":1}}"#, deep(1_000_000));
        assert_eq!(find(&["a"], &json), ["1"]);
        let json = format!(
            r#"{}{{"a":1}}{}"#,
            r#"{"x":"#.repeat(100_000),
            "}".repeat(100_000)
        );
        assert_eq!(find(&["x.x.x.a"], &json), ["-"]);
    }

    /// What `serde_json` finds.
    struct Entries<'j>(Vec<(&'j str, &'j str)>);

    impl<'de> serde::Deserialize<'de> for Entries<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Map;
            impl<'de> serde::de::Visitor<'de> for Map {
                type Value = Entries<'de>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Entries<'de>, A::Error> {
                    let mut entries = Vec::new();
                    while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                        entries.push((key.get(), value.get()));
                    }
                    Ok(Entries(entries))
                }
            }
            deserializer.deserialize_map(Map)
        }
    }

    proptest! {
        /// Also where a byte of it is another one.
        #[test]
        fn members_are_what_serde_json_finds(
            json in r#" ?\{ ?("[a-b\\"é]{0,2}" ?: ?(-?[0-2]{1,2}(\.[0-2])?|"(\\[nu"]|[0-9a-cé"]){0,9}"|true|null|\[1,\{"x":\[\]\}\]|\{\}) ?,? ?){0,4}\} ?"#,
            at in any::<prop::sample::Index>(),
            other in prop::option::of(r#"[ -~\n\u{1}]"#),
        ) {
            let mut json = json;
            if let Some(other) = other {
                let place = at.index(json.len());
                if json.is_char_boundary(place) && json.is_char_boundary(place + 1) {
                    json.replace_range(place..place + 1, &other);
                }
            }
            let mut found = Vec::new();
            let is_object = json.trim_start().starts_with('{');
            let read = members(&json, |key, value| {
                found.push((key, value));
                Ok(())
            });
            match serde_json::from_str::<Entries>(&json) {
                Ok(Entries(entries)) => {
                    prop_assert!(read.is_ok());
                    prop_assert_eq!(found, entries);
                }
                Err(_) => prop_assert_eq!(read.is_err(), is_object),
            }
        }
    }

    #[test]
    fn what_is_no_object_has_nothing_and_what_is_no_json_is_an_error() {
        assert_eq!(find(&["a"], "[1]"), ["-"]);
        assert_eq!(find(&["a"], "null"), ["-"]);
        let mut paths = Paths::default();
        paths.add(&JsonPath::parse("a").expect("a path"));
        for wrong in [
            "{",
            r#"{"a":1"#,
            r#"{"a":01}"#,
            r#"{"a":1} x"#,
            r#"{"hunter2":x}"#,
        ] {
            let error = paths.find(wrong, &mut [None]).expect_err("it is not JSON");
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
