//! A bucket, as an archive has it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use mixflow_core::source::Remote;

/// A bucket, and where what is read of it may lie meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) remote: Arc<dyn Remote>,
    /// A folder for files without a name; the system's if it is none.
    pub(crate) scratch: Option<PathBuf>,
}

impl Bucket {
    /// Returns a file without a name.
    pub(crate) fn unnamed(&self) -> std::io::Result<File> {
        match self.scratch.as_deref().filter(|folder| folder.is_dir()) {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }
}
