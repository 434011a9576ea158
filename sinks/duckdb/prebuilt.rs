// Where the prebuilt DuckDB is; for the build scripts that link it.

use std::path::{Path, PathBuf};

/// The DuckDB that `libduckdb.sh` gets.
const VERSION: &str = "2.0.0";

/// The names of the library on the systems that there are.
const NAMES: [&str; 4] = [
    "libduckdb.so",
    "libduckdb.dylib",
    "duckdb.lib",
    "libduckdb_static.a",
];

/// Returns the folder with the library, if there is one: the one that
/// `DUCKDB_LIB_DIR` names, else where `make setup` of any clone has put it.
pub(crate) fn folder() -> Option<PathBuf> {
    for name in ["DUCKDB_LIB_DIR", "MIXFLOW_CACHE", "HOME"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("MIXFLOW_CACHE")
        .or_else(|| variable("HOME").map(|home| home.join(".cache/mixflow")))
        .map(|cache| cache.join(format!("libduckdb-{VERSION}")));
    let given = variable("DUCKDB_LIB_DIR");
    let has_library = |dir: &Path| NAMES.iter().any(|name| dir.join(name).exists());
    let found = given
        .into_iter()
        .chain(cache)
        .find(|dir| has_library(dir))?;
    std::fs::canonicalize(found).ok()
}
