//! Looks at what a test has left in a folder.

use std::path::{Path, PathBuf};

/// Returns the names of everything in `folder`, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.expect("it can be read").file_name();
            name.into_string().expect("names in tests are UTF-8")
        })
        .collect();
    names.sort();
    names
}

/// Returns the library of the crate that a test belongs to, as cargo built it.
///
/// `name` is the crate's, with underscores. For integration tests of a package
/// whose `crate-type` has `cdylib`.
pub fn built_library(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test runs from a file");
    let folder = test.parent().expect("a file is in a folder");
    let (before, after) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    folder.join(format!("{before}{name}{after}"))
}
