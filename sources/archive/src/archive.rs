//! The folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mixflow_core::error::Result;
use mixflow_core::private;
use mixflow_core::source::{ArchivePlace, Remote};
use mixflow_core::staged::cannot;
use mixflow_core::unit::{DataKind, Dataset};

use crate::remote::Bucket;

/// A folder of whole bodies, here or in a bucket. Making one is no I/O.
#[derive(Clone, Debug)]
pub struct Archive {
    path: PathBuf,
    bucket: Option<Bucket>,
}

impl Archive {
    /// Creates the archive that is, or will be, the folder at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Archive {
        Archive {
            path: path.into(),
            bucket: None,
        }
    }

    /// Creates the archive that is, or will be, in a bucket, whose address is `path`.
    pub fn in_bucket(path: impl Into<PathBuf>, remote: Arc<dyn Remote>) -> Archive {
        let bucket = Bucket {
            remote,
            scratch: None,
        };
        Archive {
            path: path.into(),
            bucket: Some(bucket),
        }
    }

    /// Creates the archive at a place that a pipeline names.
    pub fn of(place: &ArchivePlace) -> Archive {
        match &place.remote {
            Some(remote) => Archive::in_bucket(&place.path, Arc::clone(remote)),
            None => Archive::at(&place.path),
        }
    }

    /// Has what is read of a bucket lie in files without a name in `folder` meanwhile.
    #[must_use]
    pub fn with_scratch(mut self, folder: Option<&Path>) -> Archive {
        if let Some(bucket) = &mut self.bucket {
            bucket.scratch = folder.map(Path::to_owned);
        }
        self
    }

    /// Returns the folder, or its address in a bucket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// Returns whether there is an archive, be it an empty folder.
    pub fn is_there(&self) -> Result<bool> {
        match &self.bucket {
            Some(bucket) => Ok(!bucket.remote.list("")?.is_empty()),
            None => Ok(self.path.exists()),
        }
    }

    /// Returns the name in its bucket of what is at `path`.
    pub(crate) fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.path).unwrap_or(path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/")
    }

    /// Makes the folder for the bodies of `dataset`, and tries whether it can be
    /// written.
    ///
    /// Fails if not: to be called before anything is fetched.
    pub fn prepare(&self, dataset: &Dataset) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            let folder = self.name(&self.folder(dataset));
            let tried = format!("{folder}/.try.{:016x}", random());
            let put = bucket.remote.put(&tried, b"");
            let put = put.and_then(|()| bucket.remote.delete(&tried));
            let path = self.path.display();
            return put.map_err(|error| {
                error.context(format!("cannot keep bodies in the archive `{path}`"))
            });
        }
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

/// Returns a number that nobody else has just now.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
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
