//! What holds for the whole store, whoever uses it.

mod damage;
mod history;
mod ledger;
mod locks;
mod places;
mod processes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mixflow_core::testing::names_in;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::State;
use crate::place::DATABASE as FILE;

/// A state folder that is not there yet.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temp folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn db(&self) -> PathBuf {
        self.path().join(FILE)
    }

    /// A state as a process of its own would have it.
    fn state(&self) -> State {
        State::new(&self.path(), None)
    }

    fn names(&self) -> Vec<String> {
        names_in(&self.path())
    }
}

/// Counts one up, and returns what it is then.
fn count(state: &State) -> u64 {
    let counted = state.change_book("one", |book| {
        let n = book.map_or(0, |book| book.parse::<u64>().expect("a number")) + 1;
        (Some(n.to_string()), n)
    });
    counted.expect("the state can be used")
}

fn integrity(path: &Path) -> String {
    let conn = Connection::open(path).expect("it is there");
    let found = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    found.expect("it can be checked")
}

#[test]
fn what_is_written_is_there_for_the_next_one() {
    let folder = Folder::new();
    assert_eq!(folder.state().book("one"), Ok(None));
    assert!(!folder.path().exists(), "looking makes nothing");
    assert_eq!(count(&folder.state()), 1);
    assert_eq!(count(&folder.state()), 2);
    let state = folder.state();
    assert_eq!(state.book("one"), Ok(Some("2".to_owned())));
    assert_eq!(state.book("two"), Ok(None));
    // `None` leaves it as it is.
    let seen = state.change_book("one", |book| (None, book.map(str::to_owned)));
    assert_eq!(seen, Ok(Some("2".to_owned())));
    assert_eq!(state.take_warnings(), Vec::<String>::new());
    assert_eq!(integrity(&folder.db()), "ok");
}

#[test]
fn a_process_has_one_state_of_a_folder() {
    let folder = Folder::new();
    let (one, two) = (State::at(&folder.path()), State::at(&folder.path()));
    assert!(Arc::ptr_eq(&one, &two));
    assert!(!folder.path().exists());
    assert!(State::open(&folder.path()).is_ok());
    assert!(folder.db().exists());
}

#[test]
fn checkpoints_are_found_by_their_request() {
    use crate::Checkpoint;
    use std::time::{Duration, UNIX_EPOCH};
    let folder = Folder::new();
    let state = folder.state();
    let checkpoint = |file: &str, request: &str, seconds| Checkpoint {
        file: file.to_owned(),
        request: request.to_owned(),
        encoding: "gzip".to_owned(),
        length: 1 << 40,
        hash: u128::MAX - 7,
        written_at: UNIX_EPOCH + Duration::from_secs(seconds),
        pid: 7,
    };
    let (older, newer) = (checkpoint("a", "day", 5), checkpoint("b", "day", 9));
    let other = checkpoint("c", "night", 1);
    for each in [&older, &newer, &other] {
        state.add_checkpoint(each).expect("there is room");
    }
    let of = |request| folder.state().checkpoints(request).expect("it can be read");
    assert_eq!(of(Some("day")), [newer.clone(), older.clone()]);
    assert_eq!(of(None), [newer, older.clone(), other]);
    state.remove_checkpoint("b").expect("it is there");
    state.remove_checkpoint("b").expect("it need not be there");
    assert_eq!(of(Some("day")), [older]);
}
