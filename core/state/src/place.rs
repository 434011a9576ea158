//! Where the database is, and which file that is.

use std::fs;
use std::path::{Path, PathBuf};

/// The database, in the state folder.
pub(crate) const DATABASE: &str = "state.db";

/// A file, whatever its name is: its device and number.
pub(crate) type Identity = (u64, u64);

/// Returns the name of a file that SQLite puts beside the database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    // An open file cannot be moved away there.
    fs::metadata(path).ok().map(|_| (0, 0))
}
