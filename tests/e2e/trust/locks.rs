//! Two runs, two state folders, and one destination.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};

use crate::support::{Place, Ran, events, pipeline, sim, started};

const DAY: &str = "from = \"2024-01-01\"\nto = \"2024-01-01\"\n";

fn day() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 1), 30, 0, 7)
}

/// A Mixpanel that does not answer, so that a run into its destination lasts.
fn silent() -> Simulator {
    let wait = Action::SlowFirstByte(Duration::from_secs(600));
    started(sim(day()).fault(Fault::always(Matcher::export(), wait)))
}

fn writing_to(sim: &Simulator, path: &str) -> String {
    let sink = format!("[sink]\ntype = \"jsonl\"\npath = \"{path}\"\nmode = \"replace\"\n");
    pipeline(&[&events(sim, DAY), &sink])
}

/// Makes it a process whose environment has nothing in common with another's.
fn elsewhere<'a>(place: &Place, command: &'a mut Command) -> &'a mut Command {
    for folder in ["other-state", "other-home", "other-tmp"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    command
        .env("MIXFLOW_STATE_DIR", place.path("other-state"))
        .env("HOME", place.path("other-home"))
        .env("TMPDIR", place.path("other-tmp"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// Starts a run that has its destination, and does not end.
fn holder(place: &Place, sim: &Simulator, path: &str) -> Child {
    let before = sim.requests().len();
    place.write("holder.toml", &writing_to(sim, path));
    let mut child = place.spawn(&["run", "holder.toml"]);
    let since = Instant::now();
    while sim.requests().len() == before {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "it asks nothing"
        );
        std::thread::yield_now();
    }
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn two_state_folders_see_each_other_at_one_destination() {
    let (quick, silent) = (started(sim(day())), silent());
    let place = Place::new();
    std::fs::create_dir(place.path("deep")).unwrap();
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, place.path(to)).unwrap();
    link("out.jsonl", "soft.jsonl");
    link(".", "folder");
    for is_there in [false, true] {
        let mut names = vec![
            "out.jsonl",
            "./deep/../out.jsonl",
            "folder/out.jsonl",
            "soft.jsonl",
        ];
        // Elsewhere it would be the same file.
        names.push("OUT.jsonl");
        if is_there {
            std::fs::write(place.path("out.jsonl"), "").unwrap();
            std::fs::hard_link(place.path("out.jsonl"), place.path("hard.jsonl")).unwrap();
            names.push("hard.jsonl");
        }
        let absolute = place.path("out.jsonl");
        names.push(absolute.to_str().unwrap());
        let child = holder(&place, &silent, "out.jsonl");
        for name in names {
            place.write("other.toml", &writing_to(&quick, name));
            let mut command = place.command(&["run", "other.toml"]);
            let ran = Ran::of(elsewhere(&place, &mut command).output().unwrap());
            let pid = child.id();
            ran.ended(6)
                .says("cannot write to")
                .says(&format!(
                    "the pipeline `holder` (PID {pid}) is writing to it"
                ))
                .says("--wait");
        }
        // Another file is another destination.
        place.write("other.toml", &writing_to(&quick, "deep/out.jsonl"));
        let mut command = place.command(&["run", "other.toml"]);
        Ran::of(elsewhere(&place, &mut command).output().unwrap()).ended(0);
        end(child);
        assert_eq!(quick.requests().len(), 1 + usize::from(is_there));
    }
}

#[test]
fn who_waits_goes_on_when_the_other_is_killed() {
    let (quick, silent) = (started(sim(day())), silent());
    let place = Place::new();
    let child = holder(&place, &silent, "out.jsonl");
    place.write("other.toml", &writing_to(&quick, "deep/../out.jsonl"));
    std::fs::create_dir(place.path("deep")).unwrap();
    let mut command = place.command(&["run", "other.toml", "--wait"]);
    let mut waiting = elsewhere(&place, &mut command).spawn().unwrap();
    let mut said = std::io::BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("waiting for the pipeline `holder`"), "{line}");
    end(child);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains("committed 30 rows"), "{rest}");
}

#[test]
fn a_run_that_ended_leaves_no_lock_behind() {
    let quick = started(sim(day()));
    let place = Place::new();
    place.run(&writing_to(&quick, "out.jsonl")).0.ended(0);
    let locks = std::fs::read_dir(place.path("state/locks")).unwrap();
    assert_eq!(locks.count(), 0);
    let user = rustix::process::geteuid().as_raw();
    assert!(Path::new(&format!("/tmp/mixflow-{user}/locks")).is_dir());
}
