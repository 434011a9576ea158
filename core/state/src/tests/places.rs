//! Folders that cannot be used, and file systems that lack something.

use std::fs;
use std::path::Path;

use mixflow_core::destination::Destination;
use rusqlite::Connection;

use super::{Folder, count, integrity};
use crate::State;
use crate::file::open_to_read;

/// SQLite's way to files that has no shared memory, and locks by files.
const WITHOUT_MEMORY: Option<&str> = Some("unix-dotfile");

fn journal(path: &Path) -> String {
    let conn = Connection::open(path).expect("it is there");
    let found = conn.pragma_query_value(None, "journal_mode", |row| row.get(0));
    found.expect("it can be read")
}

#[test]
fn without_shared_memory_it_has_another_journal() {
    let folder = Folder::new();
    count(&folder.state());
    assert_eq!(journal(&folder.db()), "wal");
    // One that was made elsewhere, and then one that is made there.
    for expected in [2, 1] {
        let state = State::new(&folder.path(), WITHOUT_MEMORY);
        assert_eq!(count(&state), expected);
        assert_eq!(count(&state), expected + 1);
        let other = State::new(&folder.path(), WITHOUT_MEMORY);
        assert_eq!(count(&other), expected + 2);
        drop((state, other));
        assert_eq!(journal(&folder.db()), "delete");
        assert_eq!(integrity(&folder.db()), "ok");
        fs::remove_dir_all(folder.path()).expect("it is ours");
    }
}

#[test]
fn a_log_that_was_left_is_read_without_shared_memory() {
    let folder = Folder::new();
    let state = folder.state();
    count(&state);
    // What a process that was killed leaves: its last writes are in the log.
    let copy = Folder::new();
    fs::create_dir(copy.path()).expect("it can be made");
    for name in ["state.db", "state.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).expect("it is there");
    }
    assert_eq!(count(&State::new(&copy.path(), WITHOUT_MEMORY)), 2);
}

#[test]
fn a_place_that_cannot_be_used_is_told_once() {
    for place in ["/dev/null/state", "/proc/mixflow"] {
        let state = State::new(Path::new(place), None);
        for _ in 0..3 {
            assert!(state.change_book("one", |_| (None, ())).is_err());
            assert!(state.runs(1).is_ok_and(|runs| runs.is_empty()));
            assert!(
                state
                    .last_runs(Path::new("/a"), &[Destination::at("b")], 1)
                    .is_err()
            );
        }
        let warnings = state.take_warnings();
        assert!(
            matches!(&warnings[..], [one] if one.contains(place)),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_can_be_read() {
    let folder = Folder::new();
    count(&folder.state());
    let db = open_to_read(&folder.db()).expect("it can be read");
    let book = db
        .conn
        .query_row("SELECT book FROM quota", [], |row| row.get::<_, String>(0));
    assert_eq!(book.as_deref(), Ok("1"));
    assert!(db.conn.execute("DELETE FROM quota", []).is_err());
}

#[cfg(unix)]
#[test]
fn the_folder_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let state = folder.state();
    count(&state);
    let mode = |path: &Path| {
        let found = fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder.path()), 0o700);
    let names = folder.names();
    assert!(names.contains(&"state.db-wal".to_owned()), "{names:?}");
    for name in names {
        assert_eq!(mode(&folder.path().join(&name)), 0o600, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    use std::process::{Command, Stdio};
    // The test binary once more, with a small disk of its own.
    let folder = Folder::new();
    fs::create_dir(folder.path()).expect("it can be made");
    for kilobytes in [4, 20, 60, 100, 200, 400] {
        let mount =
            format!("mount -t tmpfs -o size={kilobytes}k none \"$STATE\" && exec \"$0\" \"$@\"");
        let program = std::env::current_exe().expect("it runs");
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", &mount]).arg(program);
        command.args([
            "--exact",
            "tests::places::on_a_small_disk",
            "--ignored",
            "--nocapture",
        ]);
        command.env("STATE", folder.path()).stdin(Stdio::null());
        let output = command.output();
        let Some(output) = output
            .ok()
            .filter(|output| !String::from_utf8_lossy(&output.stderr).contains("permitted"))
        else {
            eprintln!("nothing can be mounted here");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{kilobytes} KB: {said}");
    }
}

#[test]
#[ignore = "run by another test, on a disk of its own"]
fn on_a_small_disk() {
    let folder = std::env::var_os("STATE").expect("the other test says where");
    let state = State::new(Path::new(&folder), None);
    let mut acknowledged = Vec::new();
    for n in 0..2_000 {
        let endpoint = format!("endpoint {n}");
        let wrote = state.with(|db| {
            let text = params(&endpoint);
            db.conn.execute("INSERT INTO quota VALUES (?1, ?2)", text)?;
            Ok(())
        });
        if wrote.is_ok() {
            acknowledged.push(endpoint);
        } else if n % 100 == 0 {
            let _ = state.book("one");
        }
    }
    assert!(state.take_warnings().len() <= 1);
    drop(state);
    println!("{} were acknowledged", acknowledged.len());
    if acknowledged.is_empty() {
        return;
    }
    let state = State::new(Path::new(&folder), None);
    for endpoint in acknowledged {
        let book = state.book(&endpoint);
        assert_eq!(book, Ok(Some("x".repeat(300))), "{endpoint}");
    }
}

fn params(endpoint: &str) -> [String; 2] {
    [endpoint.to_owned(), "x".repeat(300)]
}
