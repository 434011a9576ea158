//! Two runs and one destination.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mixflow_core::destination::Destination;
use tempfile::TempDir;

use crate::locks::{Held, Locks, Tried};

/// Places for destinations, and for locks of two state folders that share one.
struct Two {
    folder: TempDir,
    one: Locks,
    other: Locks,
}

impl Two {
    fn new() -> Two {
        let folder = tempfile::tempdir().expect("a temp folder");
        let locks = |state: &str| {
            let folders = ["common", state].map(|name| folder.path().join(name));
            for folder in &folders {
                fs::create_dir_all(folder).expect("it can be made");
            }
            Locks::of(folders.into())
        };
        let (one, other) = (locks("one"), locks("other"));
        Two { folder, one, other }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hold(&self, name: &str) -> Held {
        held(
            self.one
                .try_lock(&Destination::at(self.path(name)), "the one"),
        )
    }

    /// Whether the other one may write to a path.
    fn is_free(&self, path: &Path) -> bool {
        match self.other.try_lock(&Destination::at(path), "the other") {
            Tried::Held(_) => true,
            Tried::Taken(word) => {
                assert_eq!(word, "the one");
                false
            }
            Tried::Nowhere => panic!("it can be locked"),
        }
    }
}

fn held(tried: Tried) -> Held {
    match tried {
        Tried::Held(held) => held,
        tried => panic!("it is free: {tried:?}"),
    }
}

#[test]
fn a_destination_that_is_not_there_yet_is_locked_by_its_real_path() {
    let two = Two::new();
    fs::create_dir(two.path("deep")).expect("it can be made");
    let held = two.hold("deep/a.db");
    for spelling in ["deep/../deep/a.db", "deep/./a.db", "Deep/../deep/A.db"] {
        if spelling.starts_with("Deep") {
            fs::create_dir_all(two.path("Deep")).expect("it can be made");
        }
        assert!(!two.is_free(&two.path(spelling)), "{spelling}");
    }
    assert!(two.is_free(&two.path("deep/ba.db")));
    assert!(two.is_free(&two.path("a.db")));
    drop(held);
    assert!(two.is_free(&two.path("deep/a.db")));
}

#[cfg(unix)]
#[test]
fn links_lead_to_the_same_lock() {
    let two = Two::new();
    for there in [false, true] {
        if there {
            fs::write(two.path("a.db"), "").expect("there is room");
            fs::hard_link(two.path("a.db"), two.path("hard.db")).expect("it can be made");
        } else {
            std::os::unix::fs::symlink("a.db", two.path("soft.db")).expect("it can be made");
            std::os::unix::fs::symlink(".", two.path("folder")).expect("it can be made");
        }
        let names: &[&str] = if there {
            &["a.db", "soft.db", "folder/a.db", "hard.db"]
        } else {
            &["a.db", "soft.db", "folder/a.db"]
        };
        for one in names {
            let held = two.hold(one);
            for other in names {
                assert!(!two.is_free(&two.path(other)), "{one} and {other}, {there}");
            }
            drop(held);
            assert!(two.is_free(&two.path(one)));
        }
    }
}

#[test]
fn a_file_that_is_swapped_stays_locked() {
    let two = Two::new();
    fs::write(two.path("a.db"), "old").expect("there is room");
    let held = two.hold("a.db");
    fs::write(two.path("new"), "new").expect("there is room");
    fs::rename(two.path("new"), two.path("a.db")).expect("they are in one folder");
    assert!(!two.is_free(&two.path("a.db")));
    drop(held);
    assert!(two.is_free(&two.path("a.db")));
}

#[test]
fn a_uri_is_locked_however_it_is_written() {
    let two = Two::new();
    let at = |uri: &str| Destination::named(uri);
    let held = held(two.one.try_lock(&at("s3://Bucket/a/"), "the one"));
    let tried = two.other.try_lock(&at("S3://bucket//a"), "the other");
    assert!(matches!(tried, Tried::Taken(word) if word == "the one"));
    drop(held);
    let tried = two.other.try_lock(&at("standard output"), "the other");
    assert!(matches!(tried, Tried::Nowhere));
}

#[test]
fn nothing_stays_behind_and_one_of_many_has_it() {
    let two = Two::new();
    let destination = Destination::at(two.path("a.db"));
    let holders = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut times = 0;
                while times < 50 {
                    let Tried::Held(held) = two.one.try_lock(&destination, "") else {
                        std::thread::yield_now();
                        continue;
                    };
                    times += 1;
                    let before = holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(before, 0, "two have it");
                    std::thread::yield_now();
                    holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
    for folder in ["common", "one"] {
        let left = fs::read_dir(two.path(folder)).expect("it is there").count();
        assert_eq!(left, 0);
    }
}

#[test]
fn what_runs_have_left_that_were_killed_is_removed_after_a_day() {
    let two = Two::new();
    let held = two.hold("a.db");
    let common = two.path("common");
    let old = SystemTime::now() - Duration::from_secs(25 * 3_600);
    let entries = fs::read_dir(&common).expect("it is there").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.push(common.join("left"));
    for path in &paths {
        let file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let aged = file.and_then(|file| file.set_modified(old));
        aged.expect("it is ours");
    }
    fs::write(common.join("young"), "").expect("there is room");
    crate::locks::sweep(&common);
    let names = mixflow_core::testing::names_in(&common);
    assert_eq!(names.len(), paths.len(), "{names:?}");
    assert!(names.contains(&"young".to_owned()) && !names.contains(&"left".to_owned()));
    drop(held);
}

#[cfg(unix)]
#[test]
fn a_folder_of_somebody_else_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temp folder");
    let user = rustix::process::geteuid().as_raw();
    let path = |name: &str| folder.path().join(name);
    assert!(crate::locks::own(&path("new"), user).is_ok());
    assert!(crate::locks::own(&path("new"), user + 1).is_err());
    std::os::unix::fs::symlink("new", path("link")).expect("it can be made");
    assert!(crate::locks::own(&path("link"), user).is_err());
    fs::write(path("file"), "").expect("there is room");
    assert!(crate::locks::own(&path("file"), user).is_err());
    fs::set_permissions(path("new"), fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert!(crate::locks::own(&path("new"), user).is_ok());
    let mode = fs::metadata(path("new"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}
