//! Keys with the tables that they are in: `sink.mode`.

/// Returns the key of what is called `key` in the table at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, "") => path.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}
