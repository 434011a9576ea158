//! Writes that survive a power cut, and the errors of those that fail.

use std::fs::File;
use std::io;
use std::path::Path;

use super::target::folder_of;
use crate::error::{Error, ErrorKind};

/// Puts a finished file at `target`, where nothing may be yet, and syncs the
/// folder.
///
/// Fails with [`io::ErrorKind::AlreadyExists`] if there is something.
pub fn publish_new(staged: &Path, target: &Path) -> io::Result<()> {
    // A link fails where a rename would overwrite.
    match std::fs::hard_link(staged, target) {
        Ok(()) => std::fs::remove_file(staged)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Some file systems have no links.
        Err(_) if !target.exists() => std::fs::rename(staged, target)?,
        Err(error) => return Err(error),
    }
    sync_folder(folder_of(target))
}

/// Has the file at `from` stand at `to` too, where nothing is: as a link, or as a copy
/// where there can be none, such as on another file system. Its bytes are synced.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Err(error),
        _ => {
            let mut copy = File::create_new(to)?;
            io::copy(&mut File::open(from)?, &mut copy).map(drop)
        }
    })?;
    File::open(to)?.sync_all()
}

/// Makes renames in a folder survive a power cut.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Returns a function that wraps an I/O error: ``cannot {what}``.
///
/// A pipe whose reader went away is [`ErrorKind::Closed`]; a full disk gets a
/// hint.
pub fn cannot(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Error {
    let message = format!("cannot {what}");
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => ErrorKind::Closed,
            _ => ErrorKind::Io,
        };
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let wrapped = Error::new(kind, message).with_source(error);
        if full {
            wrapped.hint("free some disk space; what was there before is unchanged")
        } else {
            wrapped
        }
    }
}
