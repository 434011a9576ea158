//! Lets the binary find the DuckDB that it was linked with: beside it, as it is
//! installed, or where it was when it was built. A `bundled` build has DuckDB
//! inside and needs nothing.

#[path = "../sinks/duckdb/prebuilt.rs"]
mod prebuilt;

fn main() {
    println!("cargo:rerun-if-env-changed=MIXFLOW_DIST");
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if linux && std::env::var_os("MIXFLOW_DIST").is_some() {
        // What is given away knows nothing of the machine that has built it.
        for place in ["$ORIGIN", "$ORIGIN/../lib/mixflow"] {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
        }
    } else if let Some(folder) = prebuilt::folder() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
        // For the programs of others, whose build scripts find it as
        // `DEP_MIXFLOW_DUCKDB`.
        println!("cargo:duckdb={}", folder.display());
    }
}
