//! Bodies of whole windows, kept until their run has committed.
//!
//! A run that dies leaves them, and the next one that makes the same request
//! within a day need not ask again. Each is a file, and a row of the state says
//! which request it answers and its length and hash. The row is written last,
//! when the file is complete and synced: a file without a row was never
//! finished. The writer holds a lock on its file until then, so that the next
//! run can tell what nobody writes any more.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mixflow_core::clock;
use mixflow_core::text::hex;
use mixflow_state::{Checkpoint as Row, State};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::encoding::Encoding;
use super::sum::{Sum, sum_of};

/// Bytes after which what was written is made durable, while more comes: at the end of
/// 81 MB that took 42 ms, in which nobody had anything to do.
const SYNCED: usize = 16 << 20;

/// Bodies older than this are not used again: days go on changing.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The folder of bodies, and the requests whose bodies this run has put or
/// found there.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    state: Arc<State>,
    ours: Arc<Mutex<Vec<String>>>,
}

impl Checkpoints {
    /// Opens the folder in the state folder, private to the user, and removes
    /// from it what is too old and what dead runs had not finished.
    ///
    /// Fails when the folder or the state cannot be used.
    pub(crate) fn open(state: &Path) -> io::Result<Checkpoints> {
        let folder = state.join("spool");
        mixflow_core::private::create_folder(&folder)?;
        let all = Checkpoints {
            folder,
            state: State::open(state).map_err(io::Error::other)?,
            ours: Arc::default(),
        };
        all.sweep()?;
        Ok(all)
    }

    /// Returns the folder, for bodies that are not to be found again.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_being_written(&entry.path()) {
                // Asked for now: it was entered before the lock was given up.
                let row = self.state.checkpoint(&name).map_err(io::Error::other)?;
                if !row.is_some_and(|row| is_fresh(&row)) {
                    self.remove(&name);
                }
            }
        }
        for row in self.state.checkpoints(None).map_err(io::Error::other)? {
            if !self.folder.join(&row.file).exists() {
                self.remove(&row.file);
            }
        }
        Ok(())
    }

    /// Returns the place for the body of a request, which `parts` tell apart
    /// from every other request.
    pub(crate) fn at(&self, parts: &[&str]) -> Checkpoint {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let key = hex(&hash.finalize()[..16]);
        Checkpoint {
            all: self.clone(),
            key,
        }
    }

    /// Removes the bodies of this run: their rows are where they should be, or
    /// were refused for what they say.
    pub(crate) fn release(&self) {
        for key in std::mem::take(&mut *self.lock()) {
            for row in self.of(&key) {
                self.remove(&row.file);
            }
        }
    }

    /// Returns the bodies of a request, whoever has put them there.
    fn of(&self, key: &str) -> Vec<Row> {
        self.state.checkpoints(Some(key)).unwrap_or_else(|error| {
            log::warn!("cannot look up what earlier runs have left: {error}");
            Vec::new()
        })
    }

    /// Removes a body, the file first: a row without a file is no body.
    fn remove(&self, name: &str) {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove `{}`: {error}", path.display());
            }
            _ => {}
        }
        if let Err(error) = self.state.remove_checkpoint(name) {
            log::warn!("cannot strike out `{}`: {error}", path.display());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a body is of the last day. One from the future has been
/// written by a clock that was wrong, so its age is not known.
fn is_fresh(row: &Row) -> bool {
    let age = SystemTime::from(clock::now()).duration_since(row.written_at);
    age.is_ok_and(|age| age <= LIFETIME)
}

fn is_being_written(path: &Path) -> bool {
    !File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// The place for the body of one request.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    all: Checkpoints,
    key: String,
}

/// A body that an earlier run has left, whose sum was found to be right.
#[derive(Debug)]
pub(crate) struct BodyFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) encoding: Encoding,
    pub(crate) sum: Sum,
    /// When it was asked for.
    pub(crate) asked_at: Timestamp,
}

/// A body that is being written.
#[derive(Debug)]
pub(crate) struct Part {
    file: NamedTempFile,
    checkpoint: Checkpoint,
    /// Bytes that were written since it was made durable.
    unsynced: usize,
    /// Why that failed. The system tells it once, so it is kept for the end.
    failed: Option<io::Error>,
    /// Tells the next run that this one is alive.
    _mark: File,
}

impl Checkpoint {
    /// Returns the body if an earlier run has left it, read again from its
    /// first byte to its last: what is not what was written is not used.
    pub(crate) fn find(&self) -> Option<BodyFile> {
        for row in self.all.of(&self.key) {
            if !is_fresh(&row) {
                continue;
            }
            let path = self.all.folder.join(&row.file);
            match left(&path, &row) {
                Ok(body) => {
                    self.all.lock().push(self.key.clone());
                    return Some(body);
                }
                Err(reason) => {
                    log::warn!("`{}` is not used: {reason}", path.display());
                    self.all.remove(&row.file);
                }
            }
        }
        None
    }

    /// Returns whether an earlier run seems to have left it, which is not looked
    /// at.
    pub(crate) fn is_left(&self) -> bool {
        self.all.of(&self.key).iter().any(is_fresh)
    }

    /// Begins to write the body.
    pub(crate) fn begin(&self) -> io::Result<Part> {
        let file = tempfile::Builder::new()
            .prefix(&format!("{}.", self.key))
            .tempfile_in(&self.all.folder)?;
        let mark = file.as_file().try_clone()?;
        mark.lock()?;
        Ok(Part {
            file,
            checkpoint: self.clone(),
            unsynced: 0,
            failed: None,
            _mark: mark,
        })
    }
}

/// Opens a body and compares it with what is known of it.
fn left(path: &Path, row: &Row) -> Result<BodyFile, String> {
    let encoding = Encoding::of_name(&row.encoding).ok_or("its encoding is not known")?;
    let sum = Sum {
        length: row.length,
        hash: row.hash,
    };
    let asked_at = Timestamp::try_from(row.written_at).map_err(|error| error.to_string())?;
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    match sum_of(&mut file) {
        Ok(found) if found == sum => Ok(BodyFile {
            file,
            path: path.to_owned(),
            encoding,
            sum,
            asked_at,
        }),
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
        self.file.write_all(bytes)?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNCED && self.failed.is_none() {
            self.unsynced = 0;
            self.failed = self.file.as_file().sync_data().err();
        }
        Ok(())
    }

    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives up the file, which nobody would look for.
    pub(crate) fn into_file(self) -> File {
        self.file.into_file()
    }

    /// Makes the body durable and enters it, so that it is found again. A
    /// failure leaves it without a name.
    pub(crate) fn finish(
        mut self,
        encoding: Encoding,
        sum: Sum,
        asked_at: Timestamp,
    ) -> Result<(File, PathBuf), (File, io::Error)> {
        let synced = match self.failed.take() {
            Some(error) => Err(error),
            None => self.file.as_file().sync_all(),
        };
        let entered = synced.and_then(|()| self.enter(encoding, sum, asked_at));
        if let Err(error) = entered {
            return Err((self.file.into_file(), error));
        }
        self.checkpoint.all.lock().push(self.checkpoint.key.clone());
        match self.file.keep() {
            Ok(named) => Ok(named),
            Err(failed) => Err((failed.file.into_file(), failed.error)),
        }
    }

    fn enter(&self, encoding: Encoding, sum: Sum, asked_at: Timestamp) -> io::Result<()> {
        let name = self.file.path().file_name().unwrap_or_default();
        let row = Row {
            file: name.to_string_lossy().into_owned(),
            request: self.checkpoint.key.clone(),
            encoding: encoding.name().to_owned(),
            length: sum.length,
            hash: sum.hash,
            // From when on it may be out of date.
            written_at: asked_at.into(),
            pid: std::process::id(),
        };
        let all = &self.checkpoint.all;
        all.state.add_checkpoint(&row).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use mixflow_core::testing::names_in;

    use super::*;
    use crate::http::body::Body;

    const BODY: &[u8] = b"{\"event\":\"a\"}\n";

    fn open(folder: &tempfile::TempDir) -> Checkpoints {
        Checkpoints::open(folder.path()).expect("it can be made")
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        names_in(&folder.path().join("spool"))
    }

    fn put(checkpoint: &Checkpoint, body: &[u8]) {
        let mut part = checkpoint.begin().expect("begins");
        part.write_all(body).expect("writes");
        let named = part.finish(Encoding::Identity, sum(body), clock::now());
        assert!(named.is_ok());
    }

    fn sum(mut body: &[u8]) -> Sum {
        sum_of(&mut body).expect("memory can be read")
    }

    fn row_of(checkpoint: &Checkpoint) -> Row {
        let mut rows = checkpoint.all.of(&checkpoint.key);
        rows.pop().expect("it was put there")
    }

    fn file_of(checkpoint: &Checkpoint) -> PathBuf {
        checkpoint.all.folder.join(row_of(checkpoint).file)
    }

    fn found(checkpoint: &Checkpoint) -> Option<Vec<u8>> {
        let mut reader = Body::of_file(checkpoint.find()?)
            .into_reader()
            .expect("it is open");
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
        let now = SystemTime::from(clock::now());
        for (request, time) in [
            ("old", now - LIFETIME * 2),
            // A clock that was wrong: nobody knows when it was written.
            ("new", now + Duration::from_secs(3600)),
        ] {
            let checkpoint = first.at(&[request]);
            put(&checkpoint, BODY);
            let row = Row {
                written_at: time,
                ..row_of(&checkpoint)
            };
            let changed = first.state.add_checkpoint(&row);
            changed.expect("there is room");
            assert_eq!(found(&checkpoint), None, "{request}");
        }
        let part = first.at(&["live"]).begin().expect("begins");
        fs::write(folder.path().join("spool/dead"), "x").expect("writes");
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
        // Nor what an older version has left, of which nothing is known.
        let checkpoint = open(&folder).at(&["day"]);
        let old = folder
            .path()
            .join("spool")
            .join(format!("{}.jsonl", checkpoint.key));
        fs::write(old, BODY).expect("writes");
        assert_eq!(found(&checkpoint), None);
    }

    #[test]
    fn what_could_not_be_made_durable_on_the_way_has_no_name_at_the_end() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let checkpoint = open(&folder).at(&["day"]);
        let mut part = checkpoint.begin().expect("begins");
        part.write_all(BODY).expect("writes");
        part.failed = Some(io::Error::other("the disk broke"));
        let refused = part.finish(Encoding::Identity, sum(BODY), clock::now());
        assert!(refused.is_err_and(|(_, error)| error.to_string() == "the disk broke"));
        assert_eq!(found(&checkpoint), None);
    }

    #[test]
    fn a_large_body_is_found_whole() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let checkpoint = open(&folder).at(&["day"]);
        let body = BODY.repeat(3 * SYNCED / BODY.len());
        let mut part = checkpoint.begin().expect("begins");
        for piece in body.chunks(1 << 20) {
            part.write_all(piece).expect("writes");
        }
        assert!(part.unsynced < SYNCED);
        let named = part.finish(Encoding::Identity, sum(&body), clock::now());
        assert!(named.is_ok());
        assert_eq!(found(&checkpoint), Some(body));
    }

    #[test]
    fn a_file_without_a_row_and_a_row_without_a_file_are_cleaned_up() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let all = open(&folder);
        let (whole, lost) = (all.at(&["whole"]), all.at(&["lost"]));
        for checkpoint in [&whole, &lost] {
            put(checkpoint, BODY);
        }
        // A crash after the sync and before the row.
        fs::copy(file_of(&whole), folder.path().join("spool/torn")).expect("there is room");
        fs::remove_file(file_of(&lost)).expect("it is there");
        assert_eq!(found(&lost), None);
        put(&lost, BODY);
        fs::remove_file(file_of(&lost)).expect("it is there");

        let next = open(&folder);
        let rows = next.state.checkpoints(None).expect("it can be read");
        assert_eq!(rows.len(), 1);
        assert_eq!(names(&folder), [rows[0].file.clone()]);
        assert_eq!(found(&next.at(&["whole"])).as_deref(), Some(BODY));
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
