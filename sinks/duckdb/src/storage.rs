//! Which versions of DuckDB open a file that is made here.

use std::path::Path;

use duckdb::Config;

/// DuckDB's setting for files that it makes; on those that are there it does
/// nothing.
pub(crate) const SETTING: &str = "storage_compatibility_version";

/// The oldest DuckDB that is to open a new file: the first one with zstd for
/// texts, and what dbt, DBeaver and notebooks have or exceed. DuckDB 2.0 left to
/// itself makes files that no DuckDB 1.x opens; a million events take the same
/// space either way.
const DEFAULT: &str = "v1.2.0";

/// The newest there is.
const LATEST: &str = "latest";

/// The storage version of a file that is made new, by DuckDB's name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageVersion(String);

impl Default for StorageVersion {
    fn default() -> StorageVersion {
        StorageVersion(DEFAULT.to_owned())
    }
}

impl StorageVersion {
    /// Checks that DuckDB knows the name. Makes no I/O.
    pub(crate) fn new(name: &str) -> Result<StorageVersion, String> {
        match Config::default().with(SETTING, name) {
            Ok(_) => Ok(StorageVersion(name.to_owned())),
            Err(_) => Err(format!(
                "`{name}` is no version that this DuckDB knows; write one as `{DEFAULT}` or `v1.4.0`, or `{LATEST}`"
            )),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Says that a file which is there has another version, if it has; `newest` is
    /// the newest that this DuckDB knows.
    pub(crate) fn difference(&self, path: &Path, of_file: &str, newest: &str) -> Option<String> {
        let wanted = if self.0 == LATEST { newest } else { &self.0 };
        (format_of(of_file) != format_of(wanted)).then(|| {
            format!(
                "`storage_version = \"{}\"` was ignored: `{}` was made with {}, which stays",
                self.0,
                path.display(),
                of_file.trim_end_matches('+')
            )
        })
    }
}

/// Returns what tells the format of a version from others: patches change
/// nothing of it, and until DuckDB 1.2 there was one.
fn format_of(version: &str) -> (u32, u32) {
    let digits = version.trim_start_matches('v').trim_end_matches('+');
    let mut parts = digits.split('.').map(|part| part.parse().unwrap_or(0));
    let format = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if format < (1, 2) { (1, 0) } else { format }
}
