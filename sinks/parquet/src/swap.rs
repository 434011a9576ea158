//! Puts a folder in the place of another.

use std::fs;
use std::io;
use std::path::Path;

/// Puts the folder `staged` at `target`. What was there stands at `staged`
/// afterwards.
///
/// On Linux the two change places in one step. Where the system or the file
/// system cannot do that there are two renames, and a kill between them
/// leaves the old folder at `staged` with `.old` behind it.
///
/// On an error both are as they were.
pub(crate) fn swap(staged: &Path, target: &Path) -> io::Result<()> {
    if !target.exists() {
        return fs::rename(staged, target);
    }
    match exchange(staged, target) {
        Err(error) if cannot_exchange(&error) => two_renames(staged, target),
        outcome => outcome,
    }
}

#[cfg(target_os = "linux")]
fn exchange(staged: &Path, target: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(
        CWD,
        staged,
        CWD,
        target,
        RenameFlags::EXCHANGE,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_staged: &Path, _target: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn cannot_exchange(error: &io::Error) -> bool {
    // EINVAL is what a file system says that does not know the flag.
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
    )
}

fn two_renames(staged: &Path, target: &Path) -> io::Result<()> {
    let mut aside = staged.as_os_str().to_owned();
    aside.push(".old");
    fs::rename(target, &aside)?;
    if let Err(error) = fs::rename(staged, target) {
        fs::rename(&aside, target)?;
        return Err(error);
    }
    fs::rename(&aside, staged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_change_places() {
        type Swap = fn(&Path, &Path) -> io::Result<()>;
        let ways: [Swap; 2] = [swap, two_renames];
        for way in ways {
            let folder = tempfile::tempdir().expect("a temp folder");
            let (new, old) = (folder.path().join("new"), folder.path().join("old"));
            fs::create_dir(&new).expect("made");
            fs::create_dir(&old).expect("made");
            fs::write(new.join("n"), "").expect("written");
            fs::write(old.join("o"), "").expect("written");
            way(&new, &old).expect("they change places");
            assert!(old.join("n").exists());
            assert!(new.join("o").exists());
            assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2);
        }
    }
}
