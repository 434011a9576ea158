//! Looks at what a test has left in a folder.

use std::path::Path;

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
