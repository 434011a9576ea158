//! A file that is written beside its target.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::durable::{cannot, sync_folder};
use super::marks::{Mark, SUFFIX, marked, prefix, sweep};
use super::target::Target;
use crate::error::{Error, Result};
use crate::sink::already_exists;

/// What happens to a file that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileMode {
    /// It is an error.
    #[default]
    Create,
    /// It is added to.
    Append,
    /// It is swapped for the new one.
    Replace,
}

impl FileMode {
    /// Says what a run does to `path`, or why it cannot. Changes nothing.
    pub fn preview(self, path: &Path) -> Result<String> {
        let target = Target::look(path)?;
        let shown = path.display();
        Ok(match (self, target.exists) {
            (FileMode::Create, true) => return Err(target_exists(path)),
            (FileMode::Append, true) => format!("adds to `{shown}`"),
            (FileMode::Replace, true) => format!("replaces `{shown}`"),
            (_, false) => format!("creates `{shown}`"),
        })
    }
}

/// A file that is written beside its target.
#[derive(Debug)]
pub struct StagedFile {
    temp: NamedTempFile,
    target: Target,
    shown: PathBuf,
    mode: FileMode,
    _mark: Mark,
}

impl StagedFile {
    /// Begins a file that is to stand at `path`.
    ///
    /// With [`FileMode::Append`] it begins with what is there, up to a final
    /// newline. Fails as [`FileMode::preview`] does, or with
    /// [`ErrorKind::Io`].
    pub fn begin(path: &Path, mode: FileMode) -> Result<StagedFile> {
        let mut staged = StagedFile::begin_exact(path, mode)?;
        if mode == FileMode::Append {
            staged
                .end_last_line()
                .map_err(cannot(format_args!("copy `{}`", path.display())))?;
        }
        Ok(staged)
    }

    /// Begins a file whose content is not lines: with [`FileMode::Append`] it
    /// begins with exactly what is there. Fails as [`begin`](StagedFile::begin).
    pub fn begin_exact(path: &Path, mode: FileMode) -> Result<StagedFile> {
        let target = Target::look(path)?;
        if mode == FileMode::Create && target.exists {
            return Err(target_exists(path));
        }
        sweep(&target.path);
        let prefix = prefix(&target.path);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        // A new file gets what the umask leaves, not the 0600 of a temp file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (temp, mark) = marked(|| builder.tempfile_in(target.folder()), NamedTempFile::path)
            .map_err(cannot(format_args!("write beside `{}`", path.display())))?;
        let mut staged = StagedFile {
            temp,
            target,
            shown: path.to_owned(),
            mode,
            _mark: mark,
        };
        if staged.target.exists && mode == FileMode::Append {
            staged
                .copy_old()
                .map_err(cannot(format_args!("copy `{}`", path.display())))?;
        }
        Ok(staged)
    }

    fn copy_old(&mut self) -> io::Result<()> {
        let mut old = File::open(&self.target.path)?;
        // Copied in the kernel, or shared where the file system can.
        io::copy(&mut old, self.temp.as_file_mut())?;
        Ok(())
    }

    fn end_last_line(&mut self) -> io::Result<()> {
        let file = self.temp.as_file_mut();
        if file.stream_position()? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Returns a second handle of the file, for a writer that wants to own one.
    pub fn handle(&self) -> Result<File> {
        self.temp
            .as_file()
            .try_clone()
            .map_err(cannot(format_args!("write `{}`", self.shown.display())))
    }

    /// Syncs the file and puts it in its target's place.
    ///
    /// On an error the target is as it was. Fails with
    /// [`ErrorKind::TableExists`] if, with [`FileMode::Create`], somebody else
    /// was faster.
    pub fn commit(self) -> Result<()> {
        let what = format!("commit to `{}`", self.shown.display());
        let temp = self.temp;
        // The new file is to be as open, or as closed, as the old one was.
        if let Ok(old) = std::fs::metadata(&self.target.path) {
            temp.as_file()
                .set_permissions(old.permissions())
                .map_err(cannot(&what))?;
        }
        temp.as_file().sync_all().map_err(cannot(&what))?;
        let folder = self.target.folder().to_owned();
        match self.mode {
            FileMode::Create => {
                temp.persist_noclobber(&self.target.path).map_err(|error| {
                    match error.error.kind() {
                        io::ErrorKind::AlreadyExists => target_exists(&self.shown),
                        _ => cannot(&what)(error.error),
                    }
                })?;
            }
            FileMode::Append | FileMode::Replace => {
                temp.persist(&self.target.path)
                    .map_err(|error| cannot(&what)(error.error))?;
            }
        }
        // The rename is done; a folder that cannot be synced may only lose it
        // in a power cut.
        if let Err(error) = sync_folder(&folder) {
            log::warn!("cannot sync the folder `{}`: {error}", folder.display());
        }
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temp.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.as_file_mut().flush()
    }
}

fn target_exists(path: &Path) -> Error {
    already_exists(&format!("`{}`", path.display()))
        .hint("move it away, choose another path, or set `mode` to `replace`")
}
