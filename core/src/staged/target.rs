//! Where a file is to be.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The place of a file, with symbolic links resolved.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
}

impl Target {
    /// Looks at a place where a file is to be. Changes nothing.
    pub(super) fn look(path: &Path) -> Result<Target> {
        let refuse = |why: String| {
            Error::new(
                ErrorKind::Destination,
                format!("cannot write `{}`", path.display()),
            )
            .because(why)
        };
        let (path, found) = resolve(path).map_err(|error| refuse(error.to_string()))?;
        match found {
            Some(found) if found.is_dir() => {
                return Err(
                    refuse("it is a folder".to_owned()).hint("name a file in it, or another path")
                );
            }
            Some(found) if !found.is_file() => {
                return Err(refuse("it is not a regular file".to_owned()).hint(
                    "name a file; standard output is what `jsonl` without a `path` writes to",
                ));
            }
            Some(_) => return Ok(Target { path, exists: true }),
            None => {}
        }
        check_folder(&path)?;
        Ok(Target {
            path,
            exists: false,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        folder_of(&self.path)
    }
}

/// Follows symbolic links, so that the link stays and its target is replaced.
fn resolve(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            let real = std::fs::canonicalize(path)?;
            let found = std::fs::metadata(&real)?;
            Ok((real, Some(found)))
        }
        Ok(found) => Ok((path.to_owned(), Some(found))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(error),
    }
}

/// Returns the folder that a path stands in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Checks that the folder is there in which `path` is to be made.
///
/// Fails with [`ErrorKind::Destination`]; the hint says how to make it.
pub fn check_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Destination,
        format!("cannot create `{}`", path.display()),
    )
    .because(format!("the folder `{}` does not exist", folder.display()))
    .hint(format!("create it: mkdir -p {}", folder.display())))
}
