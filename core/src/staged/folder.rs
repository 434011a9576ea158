//! A folder that is written beside its target.

use std::io;
use std::path::Path;

use tempfile::TempDir;

use super::durable::cannot;
use super::marks::{Mark, SUFFIX, marked, prefix, sweep};
use super::target::folder_of;
use crate::error::Result;

/// A folder that is built beside the target that it, or a file in it, is to
/// become. Dropping it removes it.
#[derive(Debug)]
pub struct StagedFolder {
    folder: TempDir,
    _mark: Mark,
}

impl StagedFolder {
    /// Makes a folder beside `target`, and removes those of runs that died.
    pub fn begin(target: &Path) -> Result<StagedFolder> {
        StagedFolder::with_mode(target, 0o777)
    }

    /// Makes a folder that only this user may look into.
    pub fn private(target: &Path) -> Result<StagedFolder> {
        StagedFolder::with_mode(target, 0o700)
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "modes are Unix's"))]
    fn with_mode(target: &Path, mode: u32) -> Result<StagedFolder> {
        sweep(target);
        let prefix = prefix(target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let (folder, mark) = marked(|| builder.tempdir_in(folder_of(target)), TempDir::path)
            .map_err(cannot(format_args!("write beside `{}`", target.display())))?;
        Ok(StagedFolder {
            folder,
            _mark: mark,
        })
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes what is at the folder's place now, if anything is.
    pub fn remove(self) -> io::Result<()> {
        if self.folder.path().exists() {
            return self.folder.close();
        }
        // It has become the target.
        let _ = self.folder.keep();
        Ok(())
    }
}
