use std::io::{self, Write as _};
use std::path::Path;

use super::*;
use crate::error::{ErrorKind, Result};
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
