//! The folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mixflow_core::error::Result;
use mixflow_core::private;
use mixflow_core::staged::cannot;
use mixflow_core::unit::{DataKind, Dataset};

/// A folder of whole bodies. Making one is no I/O.
#[derive(Clone, Debug)]
pub struct Archive {
    path: PathBuf,
}

impl Archive {
    /// Creates the archive that is, or will be, the folder at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Archive {
        Archive { path: path.into() }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder for the bodies of `dataset`, and tries whether it can be
    /// written.
    ///
    /// Fails if not: to be called before anything is fetched.
    pub fn prepare(&self, dataset: &Dataset) -> Result<()> {
        let tried = self.make(&[]).and_then(|()| {
            let folder = self.folder(dataset);
            self.make(&[&folder])?;
            tempfile::Builder::new()
                .prefix(".try.")
                .tempfile_in(folder)
                .map(drop)
        });
        let path = self.path.display();
        tried.map_err(cannot(format!("keep bodies in the archive `{path}`")))
    }

    /// Returns the folder for the bodies of `dataset`, below which there is one
    /// for each day.
    pub(crate) fn folder(&self, dataset: &Dataset) -> PathBuf {
        let Dataset { project, kind, .. } = dataset;
        self.folder_of(project, kind)
    }

    pub(crate) fn folder_of(&self, project: &str, kind: &DataKind) -> PathBuf {
        self.path
            .join(as_a_name(project))
            .join(as_a_name(kind.as_str()))
    }

    /// Makes folders of the archive, for its owner alone.
    ///
    /// Those above a day's folder are made private, too, but for the archive's
    /// own where it is there already: that may be anybody's.
    pub(crate) fn make(&self, folders: &[&Path]) -> io::Result<()> {
        if !self.path.exists() {
            private::create_folder(&self.path)?;
        }
        for folder in folders {
            let above = folder.ancestors().take_while(|above| *above != self.path);
            let mut above: Vec<&Path> = above.collect();
            above.reverse();
            for folder in above {
                private::create_folder(folder)?;
            }
        }
        Ok(())
    }

    /// Removes the folder of a day, and those above it, if nothing is in them.
    pub(crate) fn remove_if_empty(&self, folder: &Path) {
        for folder in folder.ancestors().take_while(|above| *above != self.path) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

/// Returns a text as the name of a folder.
fn as_a_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name = text.chars().map(|c| if fits(c) { c } else { '_' });
    match text {
        "" => "project".to_owned(),
        _ => name.collect(),
    }
}
