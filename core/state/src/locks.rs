//! Locks of destinations: locked files, one for each thing that a destination
//! may be known by.
//!
//! They are in a folder that every process of a user finds, whatever its
//! environment says, and in the state folder, which containers may share that
//! share nothing else. The system unlocks them for a process that dies. The
//! destination itself is never opened for it: to close one of DuckDB's files
//! would give up the locks that DuckDB has on it in this process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mixflow_core::destination::Destination;
use mixflow_core::private;

use crate::identity::marks;
use crate::place::identity;

/// How often what a destination is may change while it is being locked.
const CHANGES: usize = 10;

/// Lock files older than this that nobody holds are removed.
const LEFT: Duration = Duration::from_secs(24 * 3_600);

/// Where the lock files of destinations are.
#[derive(Debug)]
pub struct Locks {
    folders: Vec<PathBuf>,
}

/// A destination that is locked, until this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    files: Vec<(File, PathBuf)>,
}

/// What came of trying to lock a destination.
#[derive(Debug)]
pub enum Tried {
    /// It is locked.
    Held(Held),
    /// Somebody else has it, who left this word.
    Taken(String),
    /// There is nothing to lock, or no place to do it.
    Nowhere,
}

impl Locks {
    /// Returns the locks of this user and those of a state folder, as far as
    /// the folders can be used.
    ///
    /// With them comes what a person should know: that the folder of all is
    /// somebody else's.
    pub fn open(state: Option<&Path>) -> (Locks, Option<String>) {
        let (common, warning) = match common() {
            Some(Ok(folder)) => (Some(folder), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let state = state.map(|state| state.join("locks"));
        let state = state.filter(|folder| {
            let made = private::create_folder(folder);
            if let Err(error) = &made {
                log::warn!("cannot lock in `{}`: {error}", folder.display());
            }
            made.is_ok()
        });
        let folders: Vec<PathBuf> = common.into_iter().chain(state).collect();
        for folder in &folders {
            sweep(folder);
        }
        (Locks { folders }, warning)
    }

    #[cfg(test)]
    pub(crate) fn of(folders: Vec<PathBuf>) -> Locks {
        Locks { folders }
    }

    /// Tries to lock a destination, and leaves `word` for those who come next.
    ///
    /// All of what it may be known by is locked, or nothing. Does not wait.
    pub fn try_lock(&self, destination: &Destination, word: &str) -> Tried {
        for _ in 0..CHANGES {
            let marks = marks(destination);
            let mut held = Held::default();
            // In the same order everywhere: of two who want the same two, one
            // has both.
            for path in self.paths(&marks) {
                match lock(&path) {
                    Ok(Ok(file)) => held.files.push((file, path)),
                    Ok(Err(word)) => return Tried::Taken(word),
                    Err(error) => log::warn!("cannot lock `{}`: {error}", path.display()),
                }
            }
            if held.files.is_empty() {
                return Tried::Nowhere;
            }
            // Whoever had it until now may have swapped the file.
            if marks == self::marks(destination) {
                held.leave(word);
                return Tried::Held(held);
            }
        }
        Tried::Taken(String::new())
    }

    fn paths(&self, marks: &[String]) -> Vec<PathBuf> {
        let folders = self.folders.iter();
        let paths = folders.flat_map(|folder| marks.iter().map(move |mark| folder.join(mark)));
        paths.collect()
    }
}

impl Held {
    fn leave(&mut self, word: &str) {
        for (file, path) in &mut self.files {
            if let Err(error) = write(file, word) {
                log::warn!("cannot write `{}`: {error}", path.display());
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (file, path) in self.files.drain(..) {
            // While it is locked: whoever has opened it sees that it is gone.
            let _ = fs::remove_file(path);
            drop(file);
        }
    }
}

/// Removes what runs have left that were killed long ago.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|found| found.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        if age.is_some_and(|age| age > LEFT)
            && let Ok(Ok(file)) = lock(&entry.path())
        {
            let _ = fs::remove_file(entry.path());
            drop(file);
        }
    }
}

/// Locks a file; the inner error is the word of the one who has it.
fn lock(path: &Path) -> io::Result<Result<File, String>> {
    loop {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Ok(file)),
            // Its holder has removed it meanwhile.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut word = String::new();
                let _ = file.read_to_string(&mut word);
                return Ok(Err(word));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn write(file: &mut File, word: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(word.as_bytes())?;
    file.set_len(word.len() as u64)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    private::file(&mut options).open(path)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let open = file.metadata().map(|found| (found.dev(), found.ino()));
    open.is_ok_and(|open| identity(path) == Some(open))
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    // An open file cannot be removed there.
    identity(path).is_some()
}

/// Returns the folder of locks that every process of this user finds.
#[cfg(unix)]
fn common() -> Option<Result<PathBuf, String>> {
    let user = rustix::process::geteuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/mixflow-{user}"));
    let locks = folder.join("locks");
    let made = own(&folder, user).and_then(|()| own(&locks, user));
    Some(made.map(|()| locks).map_err(|error| {
        let folder = folder.display();
        format!("`{folder}` is not used to lock destinations: {error}")
    }))
}

#[cfg(not(unix))]
fn common() -> Option<Result<PathBuf, String>> {
    None
}

/// Makes a folder that nobody but its owner may use, or checks that it is one.
#[cfg(unix)]
pub(crate) fn own(path: &Path, user: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if found.uid() != user {
        return Err(io::Error::other("it is somebody else's"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
