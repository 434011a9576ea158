//! One database for each file, however often this process opens it.
//!
//! DuckDB's lock on a file is the process's. Two databases on one file in one
//! process would not know of each other, and the one that closes last would
//! overwrite what the other has committed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use duckdb::Connection;
use mixflow_core::{Error, ErrorKind, Result};

use crate::open::{self, Access, Opened, check_new};
use crate::rows;
use crate::storage::StorageVersion;

/// Why a file that somebody uses is found.
const STAYS: &str = "it is open until its last user is gone";

/// What this process has open.
static OPEN: Mutex<BTreeMap<FileId, Open>> = Mutex::new(BTreeMap::new());

struct Open {
    /// What connections are made of.
    opened: Opened,
    access: Access,
    users: usize,
    /// Whether somebody is in a transaction that writes.
    writing: bool,
}

/// A connection to a database file.
///
/// The file is closed when the last one of the process is dropped; nobody in
/// this process can open it anew before that is done.
#[derive(Debug)]
pub(crate) struct Database {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    file: FileId,
    access: Access,
    has_turn: bool,
}

impl Database {
    /// Opens the file at `path`, or joins whoever in this process has it open. Where
    /// there is none, it is made if `access` writes.
    ///
    /// Fails as DuckDB does, and with [`ErrorKind::Locked`] if this
    /// process has it open for reading and now wants to write.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Database> {
        let mut open = open_files();
        let there = FileId::of(path).ok();
        if let Some(file) = there
            && let Some(found) = open.get_mut(&file)
        {
            return found.join(file, path, access);
        }
        if access.writes() {
            check_new(path)?;
        }
        Database::first(&mut open, path, access, open::open(path, access)?)
    }

    /// Makes the file at `path`, where there is none, for a run.
    pub(crate) fn create(path: &Path, version: &StorageVersion) -> Result<Database> {
        check_new(path)?;
        let opened = open::create(path, version)?;
        Database::first(&mut open_files(), path, Access::Run, opened)
    }

    /// Returns the first connection to what was opened.
    fn first(
        open: &mut BTreeMap<FileId, Open>,
        path: &Path,
        access: Access,
        opened: Opened,
    ) -> Result<Database> {
        let connection = opened.connect()?;
        if access.writes() {
            rows::register(&connection)?;
        }
        let file = FileId::of(path).map_err(|error| unlooked(path, error))?;
        let entry = Open {
            opened,
            access,
            users: 1,
            writing: false,
        };
        open.insert(file.clone(), entry);
        Ok(Database::new(connection, file, access))
    }

    fn new(connection: Connection, file: FileId, access: Access) -> Database {
        Database {
            connection: Some(connection),
            file,
            access,
            has_turn: false,
        }
    }

    /// Returns another connection to it.
    pub(crate) fn try_clone(&self) -> Result<Database> {
        let mut open = open_files();
        let entry = open.get_mut(&self.file);
        let entry = entry.expect(STAYS);
        let connection = entry.opened.connect()?;
        entry.users += 1;
        Ok(Database::new(connection, self.file.clone(), self.access))
    }

    /// Returns how whoever came first has opened it.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Returns whether nobody else in this process uses it.
    pub(crate) fn is_alone(&self) -> bool {
        open_files()
            .get(&self.file)
            .is_none_or(|entry| entry.users == 1)
    }

    /// Returns the rows of a row group that is written to it.
    pub(crate) fn row_group(&self) -> u64 {
        let open = open_files();
        let entry = open.get(&self.file).expect(STAYS);
        entry.opened.row_group()
    }

    /// Checks that this process can write to the file once this connection is
    /// gone.
    pub(crate) fn check_writable(&self, path: &Path) -> Result<()> {
        if self.access.writes() || self.is_alone() {
            Ok(())
        } else {
            Err(open_for_reading(path))
        }
    }

    /// Returns whether the file at `path` is the one that was opened.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        FileId::of(path).is_ok_and(|file| file == self.file)
    }

    /// Takes the turn to write, until it is dropped.
    ///
    /// Two transactions at once would both make the table `_metadata`, and the
    /// second one would fail at its commit. Fails with
    /// [`Error::is_busy`](mixflow_core::Error::is_busy) if another one goes on.
    pub(crate) fn take_turn(&mut self, path: &Path) -> Result<()> {
        let mut open = open_files();
        if let Some(entry) = open.get_mut(&self.file) {
            if entry.writing {
                return Err(unshared(path, "another run of this process writes to it").busy());
            }
            entry.writing = true;
            self.has_turn = true;
        }
        Ok(())
    }
}

impl Open {
    fn join(&mut self, file: FileId, path: &Path, access: Access) -> Result<Database> {
        if !self.access.allows(access) {
            return Err(open_for_reading(path));
        }
        let connection = self.opened.connect()?;
        self.users += 1;
        Ok(Database::new(connection, file, self.access))
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("only dropping it takes the connection")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Held until the file is closed: whoever opens it then opens it anew.
        let mut open = open_files();
        drop(self.connection.take());
        let Some(entry) = open.get_mut(&self.file) else {
            return;
        };
        if self.has_turn {
            entry.writing = false;
        }
        entry.users -= 1;
        if entry.users == 0 {
            open.remove(&self.file);
        }
    }
}

fn open_files() -> MutexGuard<'static, BTreeMap<FileId, Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_for_reading(path: &Path) -> Error {
    unshared(path, "this process has it open for reading")
        .hint("close it there first, or open it for writing there as well")
}

fn unshared(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Locked,
        format!("cannot open `{}`", path.display()),
    )
    .because(why)
}

fn unlooked(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot open `{}`", path.display())).with_source(error)
}

/// A file, whatever way its path is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    #[cfg(not(unix))]
    path: std::path::PathBuf,
}

impl FileId {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<FileId> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path)?;
        Ok(FileId {
            device_and_inode: (found.dev(), found.ino()),
        })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<FileId> {
        std::fs::canonicalize(path).map(|path| FileId { path })
    }
}
