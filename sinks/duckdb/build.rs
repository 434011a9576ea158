//! Says what to do when there is no DuckDB to link, before the linker says
//! `cannot find -lduckdb`.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let found = std::env::var_os("DUCKDB_LIB_DIR").is_some_and(|dir| {
        let dir = std::path::PathBuf::from(dir);
        [
            "libduckdb.so",
            "libduckdb.dylib",
            "duckdb.lib",
            "libduckdb_static.a",
        ]
        .iter()
        .any(|name| dir.join(name).exists())
    });
    assert!(
        found,
        "there is no DuckDB library to link.\n\
         Run `make setup` to get a prebuilt one in seconds (Linux x86-64), or build\n\
         with `--features bundled`, which compiles DuckDB for about an hour of CPU time."
    );
}
