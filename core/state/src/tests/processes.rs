//! Several processes, some of which are killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Folder, count, integrity};
use crate::State;

/// Starts a process that counts up, in `counter`, until it is killed, and says
/// each number once it is written.
fn writer(folder: &Folder, counter: &str, most: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args([
        "--exact",
        "tests::processes::write",
        "--ignored",
        "--nocapture",
    ]);
    command.env("STATE", folder.path()).env("COUNTER", counter);
    command.env("MOST", most.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("it starts")
}

#[test]
#[ignore = "run by other tests, as a process of its own"]
fn write() {
    let var = |name: &str| std::env::var(name).expect("the other test says so");
    let state = State::new(Path::new(&var("STATE")), None);
    let (counter, most) = (var("COUNTER"), var("MOST").parse().expect("a number"));
    for _ in 0..most {
        let n = state.change_book(&counter, |book| {
            let n = book.map_or(0, |book| book.parse::<u64>().expect("a number")) + 1;
            (Some(n.to_string()), n)
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "wrote {}", n.expect("it can be used")).expect("it is read");
    }
}

/// Returns the last number that a writer has said.
fn last_said(child: &mut Child) -> u64 {
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let numbers = lines.map_while(Result::ok).filter_map(|line| {
        // The last one may be torn, and the harness speaks, too.
        let number = line.strip_prefix("wrote ")?;
        number.parse().ok()
    });
    numbers.last().unwrap_or_default()
}

#[test]
fn processes_that_count_together_lose_nothing() {
    let folder = Folder::new();
    // They also make it together.
    let mut children: Vec<Child> = (0..4).map(|_| writer(&folder, "one", 200)).collect();
    for child in &mut children {
        let said = last_said(child);
        assert!(child.wait().expect("it was started").success(), "{said}");
    }
    let state = folder.state();
    assert_eq!(count(&state), 801);
    assert_eq!(state.take_warnings(), Vec::<String>::new());
}

#[test]
fn what_was_acknowledged_outlives_kill_9() {
    let folder = Folder::new();
    for round in 0..12 {
        let names: Vec<String> = (0..2).map(|n| format!("{round}-{n}")).collect();
        let mut children: Vec<Child> = names
            .iter()
            .map(|name| writer(&folder, name, u64::MAX))
            .collect();
        // Some are killed while they make or migrate it, others while they write.
        thread::sleep(Duration::from_millis(fastrand::u64(
            ..if round < 4 { 20 } else { 150 },
        )));
        for child in &mut children {
            child.kill().expect("it runs");
        }
        for (name, child) in names.iter().zip(&mut children) {
            child.wait().expect("it was started");
            let said = last_said(child);
            let state = folder.state();
            let book = state.book(name).expect("it can be used");
            let found: u64 = book.map_or(0, |book| book.parse().expect("a number"));
            // The last one may have been written and not said.
            assert!(found == said || found == said + 1, "{found} and {said}");
            assert_eq!(state.take_warnings(), Vec::<String>::new());
        }
        if folder.db().exists() {
            assert_eq!(integrity(&folder.db()), "ok");
        }
    }
}

#[test]
fn processes_that_find_the_damage_at_once_make_one_new_file() {
    let folder = Folder::new();
    count(&folder.state());
    for round in 1..=4 {
        fs::write(folder.db(), b"no database ".repeat(1_000)).expect("there is room");
        let name = format!("after {round}");
        let mut children: Vec<Child> = (0..4).map(|_| writer(&folder, &name, 20)).collect();
        for child in &mut children {
            last_said(child);
            assert!(child.wait().expect("it was started").success());
        }
        let state = folder.state();
        assert_eq!(state.book(&name), Ok(Some("80".to_owned())));
        let names = folder.names();
        let damaged = names.iter().filter(|name| {
            name.contains("damaged") && !name.ends_with("-wal") && !name.ends_with("-shm")
        });
        assert_eq!(damaged.count(), round, "{names:?}");
    }
}
