//! No two modules of a crate use each other, not even by way of others.
//!
//! `cargo test -p mixflow-tests --test modules` says which do. What a module
//! uses is read from its `use` lines and from paths that begin with `crate::` or
//! `super::`; tests are left out, and so are re-exports, which use nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose modules are looked at.
const CRATES: [&str; 19] = [
    "core",
    "core/arrow",
    "core/objects",
    "core/state",
    "core/transforms",
    "sources/archive",
    "sources/mixpanel",
    "sources/synthetic",
    "sinks/abi",
    "sinks/adbc",
    "sinks/delta",
    "sinks/duckdb",
    "sinks/dynamic",
    "sinks/example",
    "sinks/exec",
    "sinks/jsonl",
    "sinks/parquet",
    "cli",
    "cli/library",
];

/// A module by its path from the crate's root: `["engine", "books"]`.
type Module = Vec<String>;

#[test]
fn no_modules_use_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut circles = Vec::new();
    for name in CRATES {
        let uses = uses(&root.join(name).join("src"));
        assert!(!uses.is_empty(), "{name} has no modules");
        circles.extend(circles_of(&uses).into_iter().map(|circle| {
            let paths = circle.iter().map(|module| module.join("::"));
            format!("{name}: {}", paths.collect::<Vec<_>>().join(", "))
        }));
    }
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let uses = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b"), module("d")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("a")])),
        (module("d"), BTreeSet::new()),
    ]);
    assert_eq!(circles_of(&uses), [[module("a"), module("b"), module("c")]]);
    assert_eq!(
        paths_of(
            "use crate::a::{B, c::{self, D}};\nlet x = crate::e::f(super::g);",
            &[]
        ),
        [
            "crate::a::B",
            "crate::a::c",
            "crate::a::c::D",
            "crate::e::f",
            "super::g"
        ]
    );
}

/// Returns the modules of a crate, each with those that it uses.
fn uses(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut files = BTreeMap::new();
    collect(src, &mut Vec::new(), &mut files);
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let used = |module: &Module, file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        // What stands below belongs to the tests.
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        let below = children(module, &modules);
        paths_of(&code, &below)
            .iter()
            .filter_map(|path| resolved(path, module, &modules))
            .filter(|other| other != module)
            .collect::<BTreeSet<_>>()
    };
    files
        .iter()
        .map(|(module, file)| (module.clone(), used(module, file)))
        .collect()
}

fn collect(folder: &Path, above: &mut Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.contains("test") || name == "conformance" {
            continue;
        }
        if path.is_dir() {
            above.push(name);
            collect(&path, above, files);
            above.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut module = above.clone();
            if !["lib", "main", "mod"].contains(&name.as_str()) {
                module.push(name);
            }
            files.insert(module, path);
        }
    }
}

/// Returns the names of the modules directly below one, as paths begin with them.
fn children(module: &Module, modules: &BTreeSet<Module>) -> Vec<String> {
    let below = modules
        .iter()
        .filter(|other| other.len() == module.len() + 1 && other.starts_with(module));
    below
        .filter_map(|other| Some(format!("{}::", other.last()?)))
        .collect()
}

/// Returns every path that begins with `crate::`, `super::` or one of `below`,
/// those in braces one by one.
fn paths_of(code: &str, below: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    let roots = ["crate::", "super::"]
        .into_iter()
        .chain(below.iter().map(String::as_str));
    for line in code.split(';') {
        let code = line.trim_start();
        let is_export = code.starts_with("pub") && code.contains(" use ");
        for root in roots.clone() {
            for (at, _) in line.match_indices(root).filter(|_| !is_export) {
                let before = line[..at].chars().next_back();
                if !before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                    spread("", &line[at..], &mut paths);
                }
            }
        }
    }
    paths
}

/// Adds the paths of a use tree, and returns what comes after it.
fn spread<'t>(before: &str, tree: &'t str, paths: &mut Vec<String>) -> &'t str {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = tree.find(|c| !is_path(c)).unwrap_or(tree.len());
    let path = format!("{before}{}", &tree[..end]);
    let mut rest = &tree[end..];
    if !path.ends_with("::") || !rest.starts_with('{') {
        paths.push(
            path.trim_end_matches("::self")
                .trim_end_matches("::")
                .to_owned(),
        );
        return rest;
    }
    while rest.starts_with(['{', ',']) {
        rest = rest[1..].trim_start();
        if !rest.starts_with('}') {
            rest = spread(&path, rest, paths).trim_start();
        }
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

/// Returns the module that a path leads into: the longest that there is.
fn resolved(path: &str, from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at = from.clone();
    for (n, part) in path.split("::").enumerate() {
        match part {
            "crate" if n == 0 => at.clear(),
            "super" => drop(at.pop()),
            part => {
                at.push(part.to_owned());
                if !modules.contains(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    modules.contains(&at).then_some(at)
}

/// Returns the sets of modules that use each other, directly or not.
fn circles_of(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = uses
        .keys()
        .map(|module| (module, reached_from(module, uses)))
        .collect();
    let both = |one: &Module, other: &Module| {
        reached[one].contains(other) && reached.get(other).is_some_and(|of| of.contains(one))
    };
    let circles: BTreeSet<Vec<Module>> = uses
        .keys()
        .filter(|module| both(module, module))
        .map(|module| {
            uses.keys()
                .filter(|other| both(module, other))
                .cloned()
                .collect()
        })
        .collect();
    circles.into_iter().collect()
}

fn reached_from<'u>(
    module: &Module,
    uses: &'u BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'u Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = uses.get(module).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(uses.get(module).into_iter().flatten());
        }
    }
    reached
}
