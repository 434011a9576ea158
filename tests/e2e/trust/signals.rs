//! The first signal ends the process soon, whatever it hangs on.

use std::io::{PipeReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mixflow_tests::sim::Data;

use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, sim, started};

/// The aim is a second; machines are noisy.
const SOON: Duration = Duration::from_secs(5);

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(30);

const MADE_UP: &str = "[source]\ntype = \"synthetic_events\"\nrows = 2000000\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Sends a signal and returns the exit code; fails if it does not come soon.
#[track_caller]
fn ended_by(child: &mut Child, signal: &str) -> Option<i32> {
    send(child, signal);
    let sent = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if sent.elapsed() > SOON {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::yield_now();
    }
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < LONG, "it does not come");
        std::thread::yield_now();
    }
}

fn fifo(place: &Place, name: &str) {
    let made = Command::new("mkfifo").arg(place.path(name)).status();
    assert!(made.unwrap().success());
}

/// Whether the process listens to signals.
fn is_listening(child: &Child) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id()));
    let Ok(tasks) = tasks else { return false };
    let names = tasks.flatten().map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm"));
        name.unwrap_or_default()
    });
    names
        .into_iter()
        .any(|name| name.starts_with("mixflow-signal"))
}

#[test]
fn a_pipeline_file_that_is_a_pipe_does_not_hold_up_a_signal() {
    for (signal, command) in [("INT", "run"), ("TERM", "check"), ("HUP", "plan")] {
        let place = Place::new();
        fifo(&place, "fifo.toml");
        let mut child = place.spawn(&[command, "fifo.toml"]);
        until(|| is_listening(&child));
        assert_eq!(ended_by(&mut child, signal), Some(130), "{command}");
    }
}

#[test]
fn a_secret_that_does_not_come_does_not_hold_up_a_signal() {
    let sim = started(sim(Data::sample()));
    for (signal, secret) in [
        ("INT", "{ file = \"secret\" }"),
        (
            "TERM",
            "{ command = [\"/bin/sh\", \"-c\", \"echo > mark; exec /bin/sleep 600\"] }",
        ),
    ] {
        let place = Place::new();
        fifo(&place, "secret");
        let source = events(&sim, "").replace("{ env = \"SIM_SECRET\" }", secret);
        place.write("test.toml", &pipeline(&[&source, DUCKDB]));
        let mut child = place.spawn(&["run", "test.toml"]);
        until(|| match signal {
            "TERM" => place.path("mark").exists(),
            // The lock is taken before the source is asked for anything.
            _ => place.path("state/locks").exists() && is_listening(&child),
        });
        assert_eq!(ended_by(&mut child, signal), Some(130), "{secret}");
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("nothing was written"), "{said}");
        assert_eq!(sim.requests().len(), 0);
    }
}

/// Waits until nothing more fits into a pipe that nobody reads.
fn until_full(pipe: &PipeReader) {
    let unread = || rustix::io::ioctl_fionread(pipe).unwrap();
    until(|| unread() >= 60_000);
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_up_a_signal() {
    let place = Place::new();
    place.write("test.toml", &pipeline(&[MADE_UP, STDOUT]));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = place
        .command(&["run", "test.toml", "--report", "report.json"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until_full(&reader);
    assert_eq!(ended_by(&mut child, "INT"), Some(130));
    let report: serde_json::Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(report["error"]["kind"], "interrupted");
}

#[test]
fn stderr_that_nobody_reads_does_not_hold_up_a_signal() {
    let place = Place::new();
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
    place.write("test.toml", &pipeline(&[MADE_UP, sink]));
    let (reader, writer) = std::io::pipe().unwrap();
    // A pipe that is nearly full before anybody begins.
    let mut filler = std::io::PipeWriter::try_clone(&writer).unwrap();
    std::io::Write::write_all(&mut filler, &vec![b'x'; 65_536]).unwrap();
    drop(filler);
    let mut child = place
        .command(&["run", "test.toml", "-vvv", "--progress", "json"])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    until(|| is_listening(&child));
    assert_eq!(ended_by(&mut child, "TERM"), Some(130));
    drop(reader);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_program_that_hangs_does_not_hold_up_a_signal() {
    for script in [
        "echo > mark; exec /bin/sleep 600",
        "trap '' TERM; echo > mark; /bin/sleep 600; /bin/sleep 600",
        "/bin/cat > /dev/null; echo > mark; /bin/sleep 600",
    ] {
        let place = Place::new();
        let sink = format!(
            "[sink]\ntype = \"exec\"\nformat = \"jsonl\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n"
        );
        let rows = if script.contains("cat") {
            "rows = 20"
        } else {
            "rows = 200000"
        };
        let source = MADE_UP.replace("rows = 2000000", rows);
        place.write("test.toml", &pipeline(&[&source, &sink]));
        let mut command = place.command(&["run", "test.toml"]);
        command.env("TMPDIR", place.path(""));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until(|| place.path("mark").exists());
        assert_eq!(ended_by(&mut child, "INT"), Some(130), "{script}");
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("interrupted"), "{said}");
    }
}

#[test]
fn a_hangup_that_nohup_ignores_is_ignored() {
    let place = Place::new();
    fifo(&place, "fifo.toml");
    let plain = place.command(&["check", "fifo.toml"]);
    let mut command = Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args());
    command.current_dir(place.path("")).stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| is_listening(&child));
    send(&child, "HUP");
    // It goes on: what comes through the pipe is checked.
    std::fs::write(place.path("fifo.toml"), pipeline(&[MADE_UP, DUCKDB])).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_program_sees_no_variable_that_a_secret_comes_from() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let script = "/usr/bin/env > env; /bin/cat > /dev/null";
    let sink = format!(
        "[sink]\ntype = \"exec\"\nformat = \"jsonl\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n"
    );
    let hash =
        "[[transform]]\ntype = \"hash\"\ncolumns = [\"distinct_id\"]\nkey = \"${HASH_KEY}\"\n";
    let text = pipeline(&[&events(&sim, ""), hash, &sink]);
    place.write("test.toml", &text);
    let mut command = place.command(&["run", "test.toml"]);
    command
        .env("HASH_KEY", "0123456789abcdef")
        .env("OTHER", "seen");
    crate::support::Ran::of(command.output().unwrap()).ended(0);
    let seen = place.read("env");
    assert!(seen.contains("OTHER=seen"), "{seen}");
    for name in ["SIM_SECRET", "HASH_KEY"] {
        assert!(!seen.contains(name), "{seen}");
    }
}
