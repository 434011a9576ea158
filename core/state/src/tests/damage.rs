//! Files that are no database, or not one of ours.

use std::fs;
use std::io::Write as _;

use rusqlite::Connection;

use super::{Folder, count, integrity};

/// A database with some pages, closed, as its bytes.
fn filled(folder: &Folder) -> Vec<u8> {
    let state = folder.state();
    for n in 0..200 {
        let wrote = state.change_book(&format!("endpoint {n}"), |_| (Some("x".repeat(500)), ()));
        wrote.expect("there is room");
    }
    drop(state);
    fs::read(folder.db()).expect("it is there")
}

fn damaged_names(folder: &Folder) -> Vec<String> {
    let names = folder.names().into_iter();
    // Its log may be beside it.
    let logs = ["-wal", "-shm"];
    names
        .filter(|name| name.contains("damaged") && !logs.iter().any(|log| name.ends_with(log)))
        .collect()
}

#[test]
fn a_damaged_file_is_set_aside_and_named_once() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("no database", |bytes| *bytes = b"hello\n".repeat(1_000)),
        ("half of the header", |bytes| bytes.truncate(50)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeros", |bytes| bytes.fill(0)),
        ("a schema of noise", |bytes| bytes[100..4_000].fill(0xa5)),
    ];
    for (what, damage) in damages {
        let folder = Folder::new();
        let mut bytes = filled(&folder);
        damage(&mut bytes);
        fs::write(folder.db(), &bytes).expect("it can be written");
        let state = folder.state();
        for n in 0..200 {
            let wrote = state.change_book(&format!("endpoint {n}"), |_| (Some(String::new()), ()));
            assert_eq!(wrote, Ok(()), "{what}");
        }
        let (names, warnings) = (damaged_names(&folder), state.take_warnings());
        assert_eq!(
            (names.len(), warnings.len()),
            (1, 1),
            "{what}: {warnings:?}"
        );
        assert!(warnings[0].contains(&names[0]), "{warnings:?}");
        assert_eq!(fs::read(folder.path().join(&names[0])).ok(), Some(bytes));
        drop(state);
        assert_eq!(integrity(&folder.db()), "ok");
        // The next one finds the new one, which is good.
        let next = folder.state();
        count(&next);
        assert_eq!(next.take_warnings(), Vec::<String>::new());
        assert_eq!(damaged_names(&folder).len(), 1);
    }
}

#[test]
fn damage_that_shows_while_it_is_open_is_set_aside_too() {
    let folder = Folder::new();
    filled(&folder);
    let (one, two) = (folder.state(), folder.state());
    count(&one);
    count(&two);
    // Every page but the first; what SQLite has in memory is of no use, as the
    // other one writes in between.
    let length = fs::metadata(folder.db()).expect("it is there").len();
    let mut file = fs::OpenOptions::new().write(true).open(folder.db());
    use std::io::{Seek as _, SeekFrom};
    let file = file.as_mut().expect("it can be written");
    file.seek(SeekFrom::Start(4_096)).expect("it is a file");
    file.write_all(&vec![0xa5; usize::try_from(length).expect("small") - 4_096])
        .expect("there is room");
    for n in 0..200 {
        for state in [&one, &two] {
            let wrote = state.change_book(&format!("endpoint {n}"), |_| (Some(n.to_string()), ()));
            assert_eq!(wrote, Ok(()));
        }
    }
    let told = one.take_warnings().len() + two.take_warnings().len();
    assert_eq!((damaged_names(&folder).len(), told), (1, 1));
    // Both are at the new one.
    assert_eq!(two.book("endpoint 199"), Ok(Some("199".to_owned())));
    drop((one, two));
    assert_eq!(integrity(&folder.db()), "ok");
}

#[test]
fn a_file_of_a_newer_version_or_of_another_program_is_left_alone() {
    for (pragma, told) in [
        ("user_version = 1000", "newer version"),
        ("application_id = 7", "another program"),
    ] {
        let folder = Folder::new();
        count(&folder.state());
        let conn = Connection::open(folder.db()).expect("it is there");
        conn.execute_batch(&format!("PRAGMA {pragma}"))
            .expect("it can be written");
        drop(conn);
        let before = fs::read(folder.db()).expect("it is there");
        let state = folder.state();
        for _ in 0..3 {
            let wrote = state.change_book("one", |_| (Some("7".to_owned()), ()));
            assert!(wrote.is_err());
        }
        let warnings = state.take_warnings();
        assert!(
            matches!(&warnings[..], [one] if one.contains(told)),
            "{warnings:?}"
        );
        drop(state);
        assert_eq!(fs::read(folder.db()).expect("it is there"), before);
        assert_eq!(damaged_names(&folder), Vec::<String>::new());
    }
}

#[test]
fn a_file_that_was_taken_away_is_made_anew() {
    let folder = Folder::new();
    let state = folder.state();
    count(&state);
    fs::remove_dir_all(folder.path()).expect("it is ours");
    assert_eq!(count(&state), 1);
    assert_eq!(count(&folder.state()), 2);
}
