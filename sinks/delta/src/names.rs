//! What files of ours are called.

/// The folder of marks. Readers and Delta's own vacuum skip it.
pub(crate) const MARKS: &str = "_mixflow/";

/// What the names of files with rows begin with.
pub(crate) const FILES: &str = "mixflow-";

/// Returns whether a file in the folder of a table is one that we have written.
pub(crate) fn is_ours(path: &str) -> bool {
    let name = match path.split_once('/') {
        Some((day, name)) if day.starts_with("date=") => name,
        Some(_) => return false,
        None => path,
    };
    name.starts_with(FILES) && name.ends_with(".parquet")
}
