//! Finds the DuckDB to link, and says what to do when there is none, before the
//! linker says `cannot find -lduckdb`.

mod prebuilt;

fn main() {
    if std::env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let folder = prebuilt::folder().expect(
        "there is no DuckDB library to link.\n\
         Run `make setup` to get a prebuilt one in seconds (Linux x86-64), or build\n\
         with `--features bundled`, which compiles DuckDB for about an hour of CPU time.",
    );
    println!("cargo:rustc-link-search=native={}", folder.display());
}
