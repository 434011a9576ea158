//! Bodies of whole windows, kept until their run has committed.
//!
//! A run that dies leaves them, and the next one that makes the same request
//! within a day need not ask again. Each is a file that is named after a hash
//! of the request and the length and hash of the body, so that a file and what
//! it should be appear together. While it is written it has another name and is
//! locked, so that the next run can tell what nobody writes any more.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::body::{Body, Encoding, Sum, sum_of};

/// Bodies older than this are not used again: days go on changing.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

const PART: &str = ".part";

/// The folder of bodies, and the requests whose bodies this run has put or
/// found there.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    ours: Arc<Mutex<Vec<String>>>,
}

impl Checkpoints {
    /// Opens the folder, private to the user, and removes from it what is too
    /// old and what dead runs had not finished.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Checkpoints> {
        mixflow_core::private::create_folder(&folder)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            let is_useless = match is_part(&path) {
                true => is_dead(&path),
                false => !is_fresh(&path),
            };
            if is_useless {
                remove(&path);
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
        for key in std::mem::take(&mut *self.lock()) {
            for path in self.of(&key) {
                remove(&path);
            }
        }
    }

    /// Returns the bodies of a request, whoever has put them there.
    fn of(&self, key: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| name.starts_with(key))
            })
            .map(|entry| entry.path())
            .filter(|path| !is_part(path))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a file is of the last day. One from the future has been
/// written by a clock that was wrong, so its age is not known.
fn is_fresh(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|found| found.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age <= LIFETIME)
}

fn is_part(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(PART))
}

fn is_dead(part: &Path) -> bool {
    File::open(part).is_ok_and(|file| file.try_lock().is_ok())
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("cannot remove `{}`: {error}", path.display());
        }
        _ => {}
    }
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
    file: NamedTempFile,
    checkpoint: Checkpoint,
    /// Tells the next run that this one is alive.
    _mark: File,
}

impl Checkpoint {
    /// Returns the body if an earlier run has left it, read again from its
    /// first byte to its last: what is not what was written is not used.
    pub(crate) fn find(&self) -> Option<Body> {
        for path in self.all.of(&self.key) {
            if !is_fresh(&path) {
                continue;
            }
            match left(&path) {
                Ok(body) => {
                    self.all.lock().push(self.key.clone());
                    return Some(body);
                }
                Err(reason) => {
                    log::warn!("`{}` is not used: {reason}", path.display());
                    remove(&path);
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

    fn path(&self, encoding: Encoding, sum: Sum) -> PathBuf {
        let extension = match encoding {
            Encoding::Gzip => "gz",
            Encoding::Identity => "jsonl",
        };
        let Sum { length, hash } = sum;
        let name = format!("{}.{length}.{hash:032x}.{extension}", self.key);
        self.all.folder.join(name)
    }
}

/// Opens a body and compares it with what its name says of it.
fn left(path: &Path) -> Result<Body, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let parts: Vec<&str> = name.unwrap_or_default().split('.').collect();
    let [_, length, hash, extension] = parts[..] else {
        return Err("its name does not say what it should be".to_owned());
    };
    let encoding = match extension {
        "gz" => Encoding::Gzip,
        _ => Encoding::Identity,
    };
    let sum = Sum {
        length: length.parse().map_err(|_| "its name has no length")?,
        hash: u128::from_str_radix(hash, 16).map_err(|_| "its name has no hash")?,
    };
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    match sum_of(&mut file) {
        Ok(found) if found == sum => Ok(Body::left(file, encoding, sum)),
        Ok(found) if found.length != sum.length => Err(format!(
            "it has {} bytes where {} were written",
            found.length, sum.length
        )),
        Ok(_) => Err("it has other bytes than were written".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Part {
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives up the name, under which nobody would look for it.
    pub(crate) fn into_file(self) -> File {
        self.file.into_file()
    }

    /// Makes the body durable and gives it the name under which it is found
    /// again. A failure leaves it without a name.
    pub(crate) fn finish(self, encoding: Encoding, sum: Sum) -> Result<File, (File, io::Error)> {
        if let Err(error) = self.file.as_file().sync_all() {
            return Err((self.file.into_file(), error));
        }
        let path = self.checkpoint.path(encoding, sum);
        match self.file.persist(&path) {
            Ok(file) => {
                self.checkpoint.all.lock().push(self.checkpoint.key.clone());
                Ok(file)
            }
            Err(failed) => Err((failed.file.into_file(), failed.error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

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
        part.write_all(body).expect("writes");
        let named = part.finish(Encoding::Identity, sum(body));
        assert!(named.is_ok());
    }

    fn sum(mut body: &[u8]) -> Sum {
        sum_of(&mut body).expect("memory can be read")
    }

    fn file_of(checkpoint: &Checkpoint) -> PathBuf {
        let mut paths = checkpoint.all.of(&checkpoint.key);
        paths.pop().expect("it was put there")
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
    fn what_is_not_of_the_last_day_or_unfinished_is_not_used() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let first = open(&folder);
        let now = SystemTime::now();
        for (request, time) in [
            ("old", now - LIFETIME * 2),
            // A clock that was wrong: nobody knows when it was written.
            ("new", now + Duration::from_secs(3600)),
        ] {
            let checkpoint = first.at(&[request]);
            put(&checkpoint, BODY);
            let file = File::options().write(true).open(file_of(&checkpoint));
            let touched = file.and_then(|file| file.set_modified(time));
            touched.expect("allowed");
            assert_eq!(found(&checkpoint), None, "{request}");
        }
        let part = first.at(&["live"]).begin().expect("begins");
        fs::write(folder.path().join("spool/dead.part"), "x").expect("writes");
        assert_eq!(names(&folder).len(), 4);

        open(&folder);
        assert_eq!(names(&folder).len(), 1, "{:?}", names(&folder));
        drop(part);
        assert_eq!(names(&folder), Vec::<String>::new());
    }

    /// Each of these is a whole last line, and no other check would see it.
    #[test]
    fn a_body_that_is_not_what_was_written_is_not_used() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let body = BODY.repeat(3);
        let flipped: Vec<u8> = body
            .iter()
            .map(|byte| byte ^ u8::from(*byte == b'a'))
            .collect();
        for damaged in [&b""[..], BODY, &BODY.repeat(4), &flipped] {
            let all = open(&folder);
            let checkpoint = all.at(&["day"]);
            put(&checkpoint, &body);
            fs::write(file_of(&checkpoint), damaged).expect("writes");
            assert_eq!(found(&checkpoint), None, "{damaged:?}");
            assert_eq!(names(&folder), Vec::<String>::new());
        }
        // Nor what an older version has left, which says nothing of itself.
        let checkpoint = open(&folder).at(&["day"]);
        let old = folder
            .path()
            .join("spool")
            .join(format!("{}.jsonl", checkpoint.key));
        fs::write(old, BODY).expect("writes");
        assert_eq!(found(&checkpoint), None);
    }

    #[cfg(unix)]
    #[test]
    fn bodies_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temp folder");
        let spool = folder.path().join("spool");
        fs::create_dir(&spool).expect("it can be made");
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o755)).expect("allowed");
        let checkpoint = open(&folder).at(&["day"]);
        let part = checkpoint.begin().expect("begins");
        let mode = |path: &Path| {
            fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
        };
        assert_eq!(mode(&spool) & 0o777, 0o700);
        assert_eq!(mode(part.file.path()) & 0o777, 0o600);
        drop(part);
        put(&checkpoint, BODY);
        assert_eq!(mode(&file_of(&checkpoint)) & 0o777, 0o600);
    }
}
