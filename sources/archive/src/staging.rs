//! Files on their way to their names.
//!
//! What a run that died has left is told from what is being written by a lock,
//! which the system gives up with the process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mixflow_core::staged::{folder_of, publish_new};
use tempfile::{NamedTempFile, TempPath};

use crate::name::Stem;

/// What the names of staged bodies end in.
const BODY: &str = ".body.tmp";

/// What the names of staged notes end in. One whose body has its name already
/// counts as the note: only its own rename was missing.
const NOTE: &str = ".note.tmp";

/// How often one is begun that somebody sweeps away before it is locked.
const TRIES: usize = 5;

/// Something staged. Dropping it removes it.
pub(crate) struct Staged {
    path: TempPath,
    _mark: Option<File>,
}

impl Staged {
    /// Begins a body, to be written to the file.
    pub(crate) fn body(folder: &Path, stem: &Stem) -> io::Result<(File, Staged)> {
        Staged::begin(folder, stem, BODY)
    }

    /// Begins a note.
    pub(crate) fn note(folder: &Path, stem: &Stem) -> io::Result<(File, Staged)> {
        Staged::begin(folder, stem, NOTE)
    }

    fn begin(folder: &Path, stem: &Stem, suffix: &str) -> io::Result<(File, Staged)> {
        for _ in 1..TRIES {
            let made = new_file(folder, stem, suffix)?;
            let mark = made.as_file().try_clone()?;
            if mark.try_lock().is_ok() && made.path().exists() {
                return Ok(Staged::of(made, Some(mark)));
            }
        }
        Ok(Staged::of(new_file(folder, stem, suffix)?, None))
    }

    fn of(made: NamedTempFile, mark: Option<File>) -> (File, Staged) {
        let (file, path) = made.into_parts();
        (file, Staged { path, _mark: mark })
    }

    /// Stages a body that is a file already, as another name of it.
    pub(crate) fn link(folder: &Path, stem: &Stem, from: &Path) -> io::Result<Staged> {
        let mark = File::open(from)?;
        // Whoever has it locked already keeps it from being swept, too.
        let _ = mark.try_lock_shared();
        let linked = tempfile::Builder::new()
            .prefix(&prefix(stem))
            .suffix(BODY)
            .make_in(folder, |path| fs::hard_link(from, path))?;
        Ok(Staged {
            path: linked.into_temp_path(),
            _mark: Some(mark),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, which nothing may have, and syncs the folder.
    pub(crate) fn publish(self, target: &Path) -> io::Result<()> {
        publish_new(&self.path, target)?;
        // The name is another's to remove now.
        let _ = self.path.keep();
        Ok(())
    }

    /// Gives it its name, whatever has it, and syncs the folder.
    pub(crate) fn replace(self, target: &Path) -> io::Result<()> {
        match fs::rename(&self.path, target) {
            // Somebody has swept it to its name.
            Err(error) if error.kind() == io::ErrorKind::NotFound && target.exists() => {}
            renamed => renamed?,
        }
        let _ = self.path.keep();
        mixflow_core::staged::sync_folder(folder_of(target))
    }
}

fn new_file(folder: &Path, stem: &Stem, suffix: &str) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(&prefix(stem))
        .suffix(suffix)
        .tempfile_in(folder)
}

fn prefix(stem: &Stem) -> String {
    format!(".{stem}.")
}

/// Returns the name of a staged note in a bucket, where only one can have it.
pub(crate) fn claim(stem: &Stem) -> String {
    format!(".{stem}.new{NOTE}")
}

/// Returns the name of the staged note of a body that is about to go.
pub(crate) fn going(stem: &Stem) -> String {
    format!(".{stem}.gone{NOTE}")
}

/// Returns whether a name is that of something staged.
pub(crate) fn is_staged(name: &str) -> bool {
    name.starts_with('.') && (name.ends_with(BODY) || name.ends_with(NOTE))
}

/// Returns which body a staged note is of; `None` for what is none.
pub(crate) fn note_of(name: &str) -> Option<Stem> {
    let name = name.strip_prefix('.')?.strip_suffix(NOTE)?;
    let (stem, _) = name.rsplit_once('.')?;
    Stem::read(stem)
}

/// Stages the note at `path` again, so that its body can go.
pub(crate) fn stage_note(path: &Path, stem: &Stem) -> io::Result<PathBuf> {
    let staged = folder_of(path).join(going(stem));
    fs::rename(path, &staged)?;
    Ok(staged)
}

/// Removes from a folder what dead runs have staged; a note whose body has its
/// name gets its own.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if !is_staged(&name) || is_being_written(&path) {
            continue;
        }
        let missing = note_of(&name)
            .filter(|stem| folder.join(stem.body()).exists() && !folder.join(stem.note()).exists());
        let swept = match missing {
            Some(stem) => fs::rename(&path, folder.join(stem.note())),
            None => fs::remove_file(&path),
        };
        if let Err(error) = swept
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot clean up `{}`: {error}", path.display());
        }
    }
}

fn is_being_written(path: &Path) -> bool {
    !File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}
