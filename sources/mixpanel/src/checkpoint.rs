//! Bodies of whole windows, kept until their run has committed.
//!
//! A run that dies leaves them, and the next one that makes the same request
//! within a day need not ask again. Each is a file that is named after a hash
//! of the request; while it is written it has another name and is locked, so
//! that the next run can tell what nobody writes any more.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::body::{Body, Encoding, verified};

/// Bodies older than this are not used again: days go on changing.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

const PART: &str = ".part";

/// The folder of bodies, and those that this run has put or found there.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    ours: Arc<Mutex<Vec<PathBuf>>>,
}

impl Checkpoints {
    /// Opens the folder, private to the user, and removes from it what is too
    /// old and what dead runs had not finished.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Checkpoints> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            if (is_old(&path) || is_dead_part(&path))
                && let Err(error) = fs::remove_file(&path)
            {
                log::warn!("cannot remove `{}`: {error}", path.display());
            }
        }
        Ok(Checkpoints {
            folder,
            ours: Arc::default(),
        })
    }

    /// Returns the place for the body of a request, which `parts` tell apart
    /// from every other request.
    pub(crate) fn at(&self, parts: &[&str]) -> Checkpoint {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let key: String = hash
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Checkpoint {
            all: self.clone(),
            key,
        }
    }

    /// Removes the bodies of this run: their rows are where they should be, or
    /// were refused for what they say.
    pub(crate) fn release(&self) {
        for path in std::mem::take(&mut *self.lock()) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!("cannot remove `{}`: {error}", path.display());
                }
                _ => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_old(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|found| found.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > LIFETIME)
}

fn is_dead_part(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(PART))
        && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// The place for the body of one request.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    all: Checkpoints,
    key: String,
}

/// A body that is being written.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: NamedTempFile,
    checkpoint: Checkpoint,
    /// Tells the next run that this one is alive.
    _mark: File,
}

impl Checkpoint {
    /// Returns the body if an earlier run has left it, checked again from its
    /// first byte to its last: a power cut may have left half of it.
    pub(crate) fn find(&self) -> Option<Body> {
        for encoding in [Encoding::Gzip, Encoding::Identity] {
            let path = self.path(encoding);
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if is_old(&path) {
                continue;
            }
            match verified(file, encoding) {
                Ok(body) => {
                    self.all.lock().push(path);
                    return Some(body);
                }
                Err(reason) => {
                    log::warn!("`{}` is not used: {reason}", path.display());
                    let _ = fs::remove_file(&path);
                }
            }
        }
        None
    }

    /// Begins to write the body.
    pub(crate) fn begin(&self) -> io::Result<Part> {
        let file = tempfile::Builder::new()
            .prefix(&format!("{}.", self.key))
            .suffix(PART)
            .tempfile_in(&self.all.folder)?;
        let mark = file.as_file().try_clone()?;
        mark.lock()?;
        Ok(Part {
            file,
            checkpoint: self.clone(),
            _mark: mark,
        })
    }

    fn path(&self, encoding: Encoding) -> PathBuf {
        let extension = match encoding {
            Encoding::Gzip => "gz",
            Encoding::Identity => "jsonl",
        };
        self.all.folder.join(format!("{}.{extension}", self.key))
    }
}

impl Part {
    /// Gives the body the name under which it is found again.
    pub(crate) fn finish(self, encoding: Encoding) -> io::Result<File> {
        let path = self.checkpoint.path(encoding);
        let file = self.file.persist(&path).map_err(|failed| failed.error)?;
        self.checkpoint.all.lock().push(path);
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use mixflow_core::testing::names_in;

    use super::*;

    const BODY: &[u8] = b"{\"event\":\"a\"}\n";

    fn open(folder: &tempfile::TempDir) -> Checkpoints {
        Checkpoints::open(folder.path().join("spool")).expect("it can be made")
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        names_in(&folder.path().join("spool"))
    }

    fn put(checkpoint: &Checkpoint, body: &[u8]) {
        let mut part = checkpoint.begin().expect("begins");
        part.file.write_all(body).expect("writes");
        part.finish(Encoding::Identity).expect("is named");
    }

    fn found(checkpoint: &Checkpoint) -> Option<Vec<u8>> {
        let mut reader = checkpoint.find()?.into_reader().expect("it is open");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("it was checked");
        Some(bytes)
    }

    #[test]
    fn a_body_is_found_by_its_request_until_it_is_released() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let first = open(&folder);
        let checkpoint = first.at(&["url", "2024-01-01"]);
        assert_eq!(found(&checkpoint), None);
        put(&checkpoint, BODY);
        drop(first);

        let next = open(&folder);
        assert_eq!(found(&next.at(&["url", "2024-01-02"])), None);
        assert_eq!(found(&next.at(&["url2024-", "01-01"])), None);
        assert_eq!(
            found(&next.at(&["url", "2024-01-01"])).as_deref(),
            Some(BODY)
        );
        next.release();
        assert_eq!(names(&folder), Vec::<String>::new());
    }

    #[test]
    fn what_is_old_broken_or_unfinished_is_not_used() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let first = open(&folder);
        let (old, cut, live) = (first.at(&["old"]), first.at(&["cut"]), first.at(&["live"]));
        put(&old, BODY);
        put(&cut, &BODY[..7]);
        let two_days = SystemTime::now() - LIFETIME * 2;
        let file = File::options()
            .write(true)
            .open(old.path(Encoding::Identity))
            .expect("it is there");
        file.set_modified(two_days).expect("allowed");
        let part = live.begin().expect("begins");
        fs::write(folder.path().join("spool/dead.part"), "x").expect("writes");
        assert_eq!(names(&folder).len(), 4);

        let next = open(&folder);
        assert_eq!(names(&folder).len(), 2, "{:?}", names(&folder));
        assert_eq!(found(&next.at(&["old"])), None);
        assert_eq!(found(&next.at(&["cut"])), None);
        drop(part);
        assert_eq!(names(&folder), Vec::<String>::new());
    }
}
