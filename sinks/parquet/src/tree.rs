//! What stands in a folder of Parquet files.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind, Result};

/// The folder of what is ours and no row.
pub(crate) const OURS: &str = "_mixflow";

/// The ledger in it.
pub(crate) const LEDGER: &str = "ledger.json";

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Relative to the folder.
    pub(crate) path: PathBuf,
    /// The day of `date=2024-01-31/`, if it stands in such a folder.
    pub(crate) day: Option<Date>,
}

impl Found {
    /// Whether readers take it for a part of the table.
    pub(crate) fn is_table(&self) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".parquet") && !name.starts_with(['.', '_']))
    }

    /// Whether it is the ledger, which each run writes anew.
    pub(crate) fn is_ledger(&self) -> bool {
        self.path == Path::new(OURS).join(LEDGER)
    }
}

/// Lists the files of a folder, sorted.
///
/// Fails with [`ErrorKind::Destination`] if there is anything that cannot be
/// ours: a run swaps the whole folder, so a path that was meant otherwise
/// (`/home/ann`) must not be taken.
pub(crate) fn list(root: &Path) -> Result<Vec<Found>> {
    if !root.is_dir() {
        return Err(Error::new(
            ErrorKind::Destination,
            format!("cannot write the folder `{}`", root.display()),
        )
        .because("there is something that is not a folder")
        .hint("choose another path; one that ends in `.parquet` is a file"));
    }
    let mut found = Vec::new();
    for name in names(root)? {
        let path = root.join(&name);
        if is_file(&path) && is_ours(&name) {
            found.push(Found {
                path: PathBuf::from(name),
                day: None,
            });
        } else if real_folder(&path) && name == OURS {
            let is_ours = |name: &str| name == LEDGER || name.starts_with('.');
            add_folder(&mut found, root, &name, None, is_ours)?;
        } else if let Some(day) = real_folder(&path).then(|| day(&name)).flatten() {
            add_folder(&mut found, root, &name, Some(day), is_ours)?;
        } else {
            return Err(foreign(root, Path::new(&name)));
        }
    }
    Ok(found)
}

/// Adds the files of a folder in the folder.
fn add_folder(
    found: &mut Vec<Found>,
    root: &Path,
    name: &str,
    day: Option<Date>,
    is_ours: fn(&str) -> bool,
) -> Result<()> {
    let folder = root.join(name);
    for inner in names(&folder)? {
        let path = Path::new(name).join(&inner);
        if !is_file(&root.join(&path)) || !is_ours(&inner) {
            return Err(foreign(root, &path));
        }
        found.push(Found { path, day });
    }
    Ok(())
}

/// Returns the day of a folder's name, `date=2024-01-31`.
pub(crate) fn day(name: &str) -> Option<Date> {
    name.strip_prefix("date=")?.parse().ok()
}

/// Whether a file may stand in a folder of Parquet files. Readers skip names
/// that begin with `.` or `_`.
pub(crate) fn is_ours(name: &str) -> bool {
    name.ends_with(".parquet") || name.starts_with(['.', '_'])
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

fn real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let what = format!("read the folder `{}`", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot(&what))? {
        let name = entry.map_err(cannot(&what))?.file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => return Err(foreign(folder, Path::new(&name))),
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn foreign(root: &Path, path: &Path) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot write the folder `{}`", root.display()),
    )
    .because(format!(
        "`{}` in it is neither a Parquet file nor a folder such as `date=2024-01-31`",
        path.display()
    ))
    .hint("choose a folder for these rows alone")
}
