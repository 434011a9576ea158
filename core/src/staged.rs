//! Files that appear whole or not at all, for sinks that write files.
//!
//! A [`StagedFile`] is written beside its target under another name, synced,
//! and renamed at [`commit`](StagedFile::commit). Dropping it leaves the target
//! as it was.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::error::{Error, ErrorKind, Result};
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

/// A folder that is built beside the target that it, or a file in it, is to
/// become. Dropping it removes it.
#[derive(Debug)]
pub struct StagedFolder {
    folder: TempDir,
    _mark: Mark,
}

impl StagedFolder {
    /// Makes a folder beside `target`, and removes those of runs that died.
    pub fn begin(target: &Path) -> Result<StagedFolder> {
        StagedFolder::with_mode(target, 0o777)
    }

    /// Makes a folder that only this user may look into.
    pub fn private(target: &Path) -> Result<StagedFolder> {
        StagedFolder::with_mode(target, 0o700)
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "modes are Unix's"))]
    fn with_mode(target: &Path, mode: u32) -> Result<StagedFolder> {
        sweep(target);
        let prefix = prefix(target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let (folder, mark) = marked(|| builder.tempdir_in(folder_of(target)), TempDir::path)
            .map_err(cannot(format_args!("write beside `{}`", target.display())))?;
        Ok(StagedFolder {
            folder,
            _mark: mark,
        })
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes what is at the folder's place now, if anything is.
    pub fn remove(self) -> io::Result<()> {
        if self.folder.path().exists() {
            return self.folder.close();
        }
        // It has become the target.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// What the names of staged files and folders end in.
const SUFFIX: &str = ".tmp";

fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    format!(".{}.", name.to_string_lossy())
}

/// A lock on something staged, by which others see that its run is alive. The
/// system unlocks it when the process ends, however it does.
#[derive(Debug)]
struct Mark {
    _file: Option<File>,
}

/// Makes something staged and marks it.
///
/// Between the two, another run may take it for one that was left behind and
/// remove it; then it is made anew. Where nothing can be locked it stays
/// without a mark, and nobody removes it either.
fn marked<T>(make: impl Fn() -> io::Result<T>, path: fn(&T) -> &Path) -> io::Result<(T, Mark)> {
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

/// Removes what runs that died have staged beside `target`. Beginning a file
/// or a folder does it, too.
pub fn sweep(target: &Path) {
    let prefix = prefix(target);
    let Ok(entries) = std::fs::read_dir(folder_of(target)) else {
        return;
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
        let removed = if kind.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        match removed {
            Ok(()) => log::info!("removed `{}`, left by a run that died", path.display()),
            Err(error) => log::warn!("cannot remove `{}`: {error}", path.display()),
        }
    }
}

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

/// The place of a file, with symbolic links resolved.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    exists: bool,
}

impl Target {
    /// Looks at a place where a file is to be. Changes nothing.
    fn look(path: &Path) -> Result<Target> {
        let refuse = |why: String| {
            Error::new(
                ErrorKind::Destination,
                format!("cannot write `{}`", path.display()),
            )
            .because(why)
        };
        let (path, found) = resolve(path).map_err(|error| refuse(error.to_string()))?;
        match found {
            Some(found) if found.is_dir() => {
                return Err(
                    refuse("it is a folder".to_owned()).hint("name a file in it, or another path")
                );
            }
            Some(found) if !found.is_file() => {
                return Err(refuse("it is not a regular file".to_owned()).hint(
                    "name a file; standard output is what `jsonl` without a `path` writes to",
                ));
            }
            Some(_) => return Ok(Target { path, exists: true }),
            None => {}
        }
        check_folder(&path)?;
        Ok(Target {
            path,
            exists: false,
        })
    }

    fn folder(&self) -> &Path {
        folder_of(&self.path)
    }
}

/// Follows symbolic links, so that the link stays and its target is replaced.
fn resolve(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            let real = std::fs::canonicalize(path)?;
            let found = std::fs::metadata(&real)?;
            Ok((real, Some(found)))
        }
        Ok(found) => Ok((path.to_owned(), Some(found))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(error),
    }
}

/// Returns the folder that a path stands in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Checks that the folder is there in which `path` is to be made.
///
/// Fails with [`ErrorKind::Destination`]; the hint says how to make it.
pub fn check_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Destination,
        format!("cannot create `{}`", path.display()),
    )
    .because(format!("the folder `{}` does not exist", folder.display()))
    .hint(format!("create it: mkdir -p {}", folder.display())))
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

fn target_exists(path: &Path) -> Error {
    already_exists(
        &format!("`{}`", path.display()),
        "move it away, choose another path, or set `mode` to `replace`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::names_in as names;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temp folder")
    }

    fn write(path: &Path, mode: FileMode, text: &str) -> Result<()> {
        let mut staged = StagedFile::begin(path, mode)?;
        staged.write_all(text.as_bytes()).expect("there is space");
        staged.commit()
    }

    #[test]
    fn nothing_is_at_the_target_before_commit_and_nothing_remains_of_a_drop() {
        let folder = folder();
        let path = folder.path().join("a.txt");
        let mut staged = StagedFile::begin(&path, FileMode::Create).expect("begins");
        staged.write_all(b"a\n").expect("writes");
        assert!(!path.exists());
        drop(staged);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        write(&path, FileMode::Create, "a\n").expect("commits");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn modes_do_what_they_say() {
        let folder = folder();
        let path = folder.path().join("a.txt");
        let read = || std::fs::read_to_string(&path).expect("it is there");
        write(&path, FileMode::Append, "1").expect("creates");
        write(&path, FileMode::Append, "2\n").expect("appends");
        assert_eq!(read(), "1\n2\n");
        write(&path, FileMode::Replace, "3\n").expect("replaces");
        assert_eq!(read(), "3\n");
        let error = write(&path, FileMode::Create, "4\n").expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::TableExists);
        assert_eq!(read(), "3\n");
    }

    #[test]
    fn create_does_not_overwrite_a_file_that_came_meanwhile() {
        let folder = folder();
        let path = folder.path().join("a.txt");
        let staged = StagedFile::begin(&path, FileMode::Create).expect("begins");
        std::fs::write(&path, "theirs").expect("writes");
        let error = staged.commit().expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::TableExists);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "theirs");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_permissions_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old\n").expect("writes");
        std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).expect("allowed");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        write(&link, FileMode::Replace, "new\n").expect("replaces");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&real).expect("there"), "new\n");
        let mode = real.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn what_a_dead_run_has_staged_is_removed_and_what_a_live_one_has_is_not() {
        let folder = folder();
        let path = folder.path().join("a.txt");
        let alive = StagedFile::begin(&path, FileMode::Create).expect("begins");
        let folder_alive = StagedFolder::begin(&path).expect("begins");
        std::fs::write(folder.path().join(".a.txt.dead.tmp"), "x").expect("writes");
        std::fs::create_dir(folder.path().join(".a.txt.gone.tmp")).expect("made");
        std::fs::write(folder.path().join(".a.txt.gone.tmp/x"), "x").expect("writes");
        for mine in ["a.txt.tmp", ".b.txt.x.tmp", ".a.txt.notes"] {
            std::fs::write(folder.path().join(mine), "x").expect("writes");
        }
        assert_eq!(names(folder.path()).len(), 7);
        let next = StagedFile::begin(&path, FileMode::Create).expect("begins");
        let left = names(folder.path());
        assert_eq!(left.len(), 6, "{left:?}");
        assert!(
            !left
                .iter()
                .any(|name| name.contains("dead") || name.contains("gone"))
        );
        drop((alive, folder_alive, next));
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn a_finished_file_takes_no_ones_place() {
        let folder = folder();
        let (staged, target) = (folder.path().join("s"), folder.path().join("t"));
        std::fs::write(&staged, "new").expect("writes");
        publish_new(&staged, &target).expect("there is nothing");
        assert_eq!(names(folder.path()), ["t"]);
        std::fs::write(&staged, "newer").expect("writes");
        let error = publish_new(&staged, &target).expect_err("there is something");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&target).expect("there"), "new");
    }

    #[test]
    fn places_that_cannot_be_written_are_told_apart() {
        let folder = folder();
        let told = |path: &Path| {
            let error = FileMode::Replace.preview(path).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Destination);
            error.causes().join("; ")
        };
        assert_eq!(told(folder.path()), "it is a folder");
        assert_eq!(told(Path::new("/dev/null")), "it is not a regular file");
        let missing = folder.path().join("no/a.txt");
        assert!(told(&missing).ends_with("no` does not exist"));
    }
}
