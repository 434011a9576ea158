//! Lets the binary find the DuckDB that it was linked with, wherever it is
//! run from. A `bundled` build has DuckDB inside and needs nothing.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_none()
        && let Ok(dir) = std::env::var("DUCKDB_LIB_DIR")
        && let Ok(dir) = std::fs::canonicalize(dir)
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
    }
}
