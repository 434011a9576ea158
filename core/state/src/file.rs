//! The database as a file: how it is made and opened.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mixflow_core::private;
use rusqlite::{Connection, OpenFlags};

use crate::damage::set_aside;
use crate::failure::Failure;
use crate::gaps::note_what_is_missing;
use crate::import::take_in;
use crate::migrate::{Version, migrate, version};
use crate::place::{DATABASE, Identity, beside, identity};
use crate::turn::Turn;

/// How long another process's transaction is waited for; ours take less than
/// a millisecond.
const BUSY: Duration = Duration::from_secs(3);

/// A database that is open, as the file that it was then.
#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) conn: Connection,
    path: PathBuf,
    identity: Option<Identity>,
    may_write: bool,
}

/// Opens the database of a folder, and makes it if it is not there.
///
/// What a person should know goes to `warnings`. A folder that cannot be
/// written gives a database that can be read, if there is one.
pub(crate) fn open(
    folder: &Path,
    vfs: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Db, Failure> {
    // One that is there may be anybody's, such as `/tmp`; the file is private.
    if !folder.exists() {
        private::create_folder(folder)?;
    }
    let path = folder.join(DATABASE);
    let turn = match Turn::take(folder) {
        Ok(turn) => turn,
        Err(Failure::Io(_)) if path.exists() => return open_to_read(&path),
        Err(failure) => return Err(failure),
    };
    let opened = match open_in(&turn, &path, vfs, warnings) {
        Err(failure) if failure.is_damage() => {
            let damaged = set_aside(&turn, &path, None)?;
            warnings.extend(damaged.map(|name| told(folder, &name, &failure)));
            open_in(&turn, &path, vfs, warnings)?
        }
        opened => opened?,
    };
    Ok(opened)
}

/// Says which file was set aside, and why.
pub(crate) fn told(folder: &Path, name: &str, failure: &Failure) -> String {
    format!(
        "the state in `{}` is damaged ({failure}), so a new one begins; the old one is `{name}`",
        folder.display()
    )
}

fn open_in(
    _turn: &Turn,
    path: &Path,
    vfs: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Db, Failure> {
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(BUSY)?;
    let mut may_share = !is_shared_between_machines(path);
    let found = match version(&conn) {
        Err(failure) if failure.is_of_file_system() => {
            // A write-ahead log that was left where memory could be shared is
            // read without it by whoever is alone.
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            may_share = false;
            version(&conn)?
        }
        found => found?,
    };
    match found {
        Version::Newer => return Err(Failure::Newer(path.to_owned())),
        Version::Foreign => return Err(Failure::Foreign(path.to_owned())),
        Version::New | Version::Known(_) => {}
    }
    choose_journal(&conn, may_share)?;
    migrate(&mut conn, found)?;
    note_what_is_missing(&mut conn, path, found == Version::New)?;
    warnings.extend(take_in(&mut conn, path)?);
    Ok(Db {
        conn,
        identity: identity(path),
        path: path.to_owned(),
        may_write: true,
    })
}

/// Makes an empty file for its owner alone, if there is none: SQLite would let
/// the others read it. Those that it puts beside it are as private.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // One that is there is not opened: closing it would give up the locks that
    // this process has on it, as POSIX wants.
    match private::file(options.write(true).create_new(true)).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Chooses a write-ahead log where processes may share memory.
///
/// With it a transaction needs no sync: a process that dies loses nothing, and
/// a power cut loses whole transactions, the last ones, of which only the
/// history needs the last (see [`Db::durably`]). Without it each is synced, as
/// anything less may tear the file.
fn choose_journal(conn: &Connection, may_share: bool) -> Result<(), Failure> {
    let ask = |mode: &str| {
        let asked =
            conn.pragma_update_and_check(None, "journal_mode", mode, |row| row.get::<_, String>(0));
        asked.map_err(Failure::from)
    };
    if may_share {
        match ask("WAL") {
            Ok(mode) if mode == "wal" => {
                conn.pragma_update(None, "synchronous", "NORMAL")?;
                return Ok(());
            }
            Err(failure) if !failure.is_of_file_system() => return Err(failure),
            _ => {}
        }
    }
    ask("TRUNCATE")?;
    conn.pragma_update(None, "locking_mode", "NORMAL")?;
    // The lock is given up with the next access.
    version(conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

/// Whether other machines may see the file, whose memory is not shared.
#[cfg(target_os = "linux")]
fn is_shared_between_machines(path: &Path) -> bool {
    /// NFS, SMB (three of them), FUSE, 9P, Ceph, Lustre: `statfs(2)`.
    const NETWORKS: [u32; 8] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x0bd0_0bd0,
    ];
    rustix::fs::statfs(path).is_ok_and(|found| NETWORKS.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_shared_between_machines(_path: &Path) -> bool {
    false
}

/// Opens a database in a folder that cannot be written.
pub(crate) fn open_to_read(path: &Path) -> Result<Db, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ready = |conn: Connection| -> Result<Db, Failure> {
        match version(&conn)? {
            Version::Newer => Err(Failure::Newer(path.to_owned())),
            // Also one that lacks the tables of later versions.
            Version::Known(_) => Ok(Db {
                conn,
                path: path.to_owned(),
                identity: identity(path),
                may_write: false,
            }),
            Version::New | Version::Foreign => Err(Failure::Foreign(path.to_owned())),
        }
    };
    let opened = Connection::open_with_flags(path, flags);
    match opened.map_err(Failure::from).and_then(&ready) {
        // Nobody has it open, and nothing waits in a log: then it can be read
        // without one.
        Err(failure) if failure.is_of_file_system() && !beside(path, "-wal").exists() => {
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            ready(Connection::open_with_flags(immutable(path), flags)?)
        }
        opened => opened,
    }
}

fn immutable(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("file:{text}?immutable=1")
}

impl Db {
    /// Whether the file is still the one that others find by its name.
    pub(crate) fn is_in_place(&self) -> bool {
        self.identity.is_some() && self.identity == identity(&self.path)
    }

    /// Whether the folder can be written.
    pub(crate) fn may_write(&self) -> bool {
        self.may_write
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Does something that a power cut must not undo once it is done.
    pub(crate) fn durably<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let usual: i64 = self
            .conn
            .pragma_query_value(None, "synchronous", |row| row.get(0))?;
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        let done = work(&mut self.conn);
        self.conn.pragma_update(None, "synchronous", usual)?;
        done
    }
}
