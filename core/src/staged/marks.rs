//! How the next run knows what a run that died has staged.

use std::fs::File;
use std::io;
use std::path::Path;

use super::target::folder_of;
use crate::sink::Removed;

/// What the names of staged files and folders end in.
pub(super) const SUFFIX: &str = ".tmp";

/// Returns what the names of what is staged for `target` begin with.
pub(super) fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    format!(".{}.", name.to_string_lossy())
}

/// A lock on something staged, by which others see that its run is alive. The
/// system unlocks it when the process ends, however it does.
#[derive(Debug)]
pub(super) struct Mark {
    _file: Option<File>,
}

/// Makes something staged and marks it.
///
/// Between the two, another run may take it for one that was left behind and
/// remove it; then it is made anew. Where nothing can be locked it stays
/// without a mark, and nobody removes it either.
pub(super) fn marked<T>(
    make: impl Fn() -> io::Result<T>,
    path: fn(&T) -> &Path,
) -> io::Result<(T, Mark)> {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        let made = make()?;
        let file = File::open(path(&made)).ok();
        let locked = file.filter(|file| file.try_lock().is_ok());
        if locked.is_some() && path(&made).exists() {
            return Ok((made, Mark { _file: locked }));
        }
    }
    Ok((make()?, Mark { _file: None }))
}

/// Removes what runs that died have staged beside `target`, and returns how much
/// that was. Beginning a file or a folder does it, too.
pub fn sweep(target: &Path) -> Removed {
    let prefix = prefix(target);
    let mut removed_all = Removed::default();
    let Ok(entries) = std::fs::read_dir(folder_of(target)) else {
        return removed_all;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let staged = name
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix) && name.ends_with(SUFFIX));
        // A symbolic link is none of ours.
        let Some(kind) = entry.file_type().ok().filter(|_| staged) else {
            continue;
        };
        let path = entry.path();
        let dead = (kind.is_file() || kind.is_dir())
            && File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if !dead {
            continue;
        }
        let size = size_of(&path);
        let removed = if kind.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        match removed {
            Ok(()) => {
                log::info!("removed `{}`, left by a run that died", path.display());
                removed_all.add(size);
            }
            Err(error) => log::warn!("cannot remove `{}`: {error}", path.display()),
        }
    }
    removed_all
}

/// Returns the files at `path` and below, and their bytes.
fn size_of(path: &Path) -> Removed {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Removed {
            files: 1,
            bytes: std::fs::metadata(path).map_or(0, |about| about.len()),
        };
    };
    let mut all = Removed::default();
    for entry in entries.flatten() {
        all.add(size_of(&entry.path()));
    }
    all
}
