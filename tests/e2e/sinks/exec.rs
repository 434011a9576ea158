//! Programs as sinks: the scripts of the documentation, and ones that
//! misbehave.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::support::{Place, Ran, SECRET, events, pipeline, sim, started};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sinks/exec")
}

/// The path of a script that the documentation shows.
fn script(name: &str) -> String {
    let path = docs().join("examples").join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// A Python without any package, by its own path: what is in PATH may want to
/// know of the real home.
fn plain_python() -> Option<String> {
    let mut python = Command::new("python3");
    let output = python.args(["-c", "import sqlite3, sys; print(sys.executable)"]);
    let output = output.output().ok()?;
    let path = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (output.status.success() && !path.is_empty()).then_some(path)
}

/// `[sink]` with a command.
fn exec(command: &[&str], more: &str) -> String {
    format!("[sink]\ntype = \"exec\"\ncommand = {command:?}\n{more}\n")
}

/// `[sink]` with a shell script, which gets lines.
fn shell(script: &str, more: &str) -> String {
    exec(
        &["sh", "-c", script],
        &format!("format = \"jsonl\"\n{more}"),
    )
}

const MADE_UP: &str = "[source]\ntype = \"synthetic_events\"\nrows = 500\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";

fn prepared(place: &Place, pipeline: &str) -> Command {
    place.write("test.toml", pipeline);
    let mut command = place.command(&["run", "test.toml", "--report", "report.json"]);
    command
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TMPDIR", place.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(place: &Place, pipeline: &str) -> Ran {
    Ran::of(prepared(place, pipeline).output().unwrap())
}

/// What a query prints, asked with Python's own SQLite.
fn sqlite(python: &str, db: &Path, sql: &str) -> String {
    let ask =
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())";
    let mut command = Command::new(python);
    let output = command.args(["-c", ask]).arg(db).arg(sql).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_readme_shows_the_scripts_as_they_are() {
    let readme = std::fs::read_to_string(docs().join("README.md")).unwrap();
    for name in ["parquet_sink.py", "sqlite_sink.py"] {
        let script = std::fs::read_to_string(script(name)).unwrap();
        assert!(
            readme.contains(&format!("```python\n{script}```")),
            "{name}"
        );
    }
}

#[test]
fn the_parquet_script_keeps_every_row() {
    let Some(python) = crate::cli::python::python() else {
        return;
    };
    let python = python.to_str().unwrap();
    let data = Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14));
    let sim = started(sim(data));
    let place = Place::new();
    let command = [python, &script("parquet_sink.py"), "out.parquet"];
    let text = pipeline(&[&events(&sim, "window_days = 1"), &exec(&command, "")]);
    let plan = {
        place.write("test.toml", &text);
        place.mixflow(&["plan", "test.toml"]).ended(0)
    };
    let plan = plan.stdout_lossy();
    assert!(plan.contains(&format!("starts `{python} ")), "{plan}");
    assert!(plan.contains("sends it an Arrow stream"), "{plan}");
    assert_eq!(place.names(), Vec::<String>::new());
    // Twice: the second replaces the first.
    for _ in 0..2 {
        run(&place, &text)
            .ended(0)
            .says("committed 8,000 rows from 14 partitions to `");
        let all = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14));
        let written = written_by("parquet", &place.path("out.parquet"));
        assert_same(&sorted(written), &sorted(expected_events(&sim, &all)));
        assert_eq!(place.names(), ["out.parquet"]);
    }
}

/// The pipeline that comes along, against the simulator.
#[test]
fn the_sqlite_script_runs_from_its_pipeline_again_and_again() {
    let Some(python) = plain_python() else {
        eprintln!("skipped: there is no python3 here");
        return;
    };
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let file = docs().join("../../pipelines/exec.toml");
    let mut more = vec![
        format!("source.base_url={}", sim.base_url()),
        "source.from=2024-01-01".to_owned(),
        "source.to=2024-01-14".to_owned(),
        "source.limits.per_second=1000".to_owned(),
    ];
    let command = [&python, &script("sqlite_sink.py"), "events.sqlite"];
    more.push(format!("sink.command={command:?}"));
    let expected = expected_events(&sim, &ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14)));
    let distinct =
        |of: fn(&Event) -> &String| expected.iter().map(of).collect::<BTreeSet<_>>().len();
    let names = distinct(|event| &event.event_name);
    let users = distinct(|event| &event.distinct_id);
    for _ in 0..2 {
        let mut command = place.command(&["run", file.to_str().unwrap()]);
        for set in &more {
            command.args(["--set", set]);
        }
        command
            .env("MIXPANEL_USERNAME", "sim")
            .env("MIXPANEL_SECRET", SECRET);
        Ran::of(command.output().unwrap())
            .ended(0)
            .says("committed 8,000 rows");
        let db = place.path("events.sqlite");
        let counted = "SELECT count(*), count(DISTINCT name), count(DISTINCT distinct_id), min(json_valid(properties)) FROM events";
        assert_eq!(
            sqlite(&python, &db, counted),
            format!("{} {names} {users} 1", expected.len())
        );
    }
}

#[test]
fn how_a_program_fails_is_told_and_what_is_visible_then() {
    let as_before = "is as it was before";
    let unknown = "it is not known how much went to `";
    let cases = [
        (
            "cat > /dev/null; echo 'no such table' >&2; exit 3",
            "",
            vec![
                "had all rows and ended with exit code 3\n  caused by: it wrote to stderr:\n    no such table\n",
                as_before,
            ],
        ),
        (
            "exit 0",
            "",
            vec![
                "` ended before it had all rows, with exit code 0\n",
                as_before,
            ],
        ),
        (
            "head -c 1000 > /dev/null; kill -9 $$",
            "",
            vec![
                "` ended before it had all rows, by signal 9 (SIGKILL)\n",
                as_before,
            ],
        ),
        (
            "sleep 1000",
            "timeout = \"200ms\"",
            vec![
                "` hangs: it has read nothing for 200ms\n",
                "hint: look at what it waits for",
                as_before,
            ],
        ),
        (
            "cat > /dev/null; sleep 1000",
            "timeout = \"200ms\"",
            vec![
                "` hangs: it had all rows and has not ended for 200ms\n",
                unknown,
            ],
        ),
        (
            "cat > /dev/null; kill -9 $$",
            "",
            vec!["` had all rows and ended by signal 9 (SIGKILL)\n", unknown],
        ),
        (
            "head -c 1000 > /dev/null; exit 3",
            "transactional = false",
            vec![
                "` ended before it had all rows, with exit code 3\n",
                unknown,
            ],
        ),
    ];
    for (script, more, says) in cases {
        let place = Place::new();
        let mut ran = run(&place, &pipeline(&[MADE_UP, &shell(script, more)])).ended(1);
        for text in says {
            ran = ran.says(text);
        }
        assert_eq!(ran.stdout_lossy(), "", "{script}");
        assert_eq!(place.names(), Vec::<String>::new(), "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_is_found_before_any_request() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    for (command, says) in [
        (
            vec!["no-such-program"],
            "there is no program `no-such-program` in PATH",
        ),
        (
            vec!["./test.toml", "x"],
            "`./test.toml` is not a file that can be executed",
        ),
    ] {
        let text = pipeline(&[&events(&sim, ""), &exec(&command, "")]);
        run(&place, &text)
            .ended(2)
            .says(&format!("error: cannot start `{}`\n", command.join(" ")))
            .says(&format!("  caused by: {says}\n"))
            .says("hint: correct `command` in `[sink]`");
        place.mixflow(&["plan", "test.toml"]).ended(2).says(says);
        place.mixflow(&["check", "test.toml"]).ended(2).says(says);
    }
    assert_eq!(sim.requests().len(), 0);
    place.write(
        "empty.toml",
        &pipeline(&[MADE_UP, &exec(&[], "timeout = \"0s\"\n")]),
    );
    place
        .mixflow(&["check", "empty.toml"])
        .ended(2)
        .says("this is empty; write one like")
        .says("this must be longer than nothing");
}

#[test]
fn what_a_program_prints_is_in_the_log_and_not_on_stdout() {
    let place = Place::new();
    let script = "cat > /dev/null; echo 'all is well'; echo 'nearly' >&2";
    let text = pipeline(&[MADE_UP, &shell(script, "")]);
    let ran = run(&place, &text).ended(0);
    assert_eq!(ran.stdout_lossy(), "");
    assert!(!ran.stderr.contains("nearly\n"), "{}", ran.stderr);
    let ran = Ran::of(prepared(&place, &text).arg("-v").output().unwrap()).ended(0);
    assert_eq!(ran.stdout_lossy(), "");
    let told = |level: &str, line: &str| {
        let mut lines = ran.stderr.lines();
        lines.any(|told| told.contains(level) && told.ends_with(line))
    };
    assert!(told("INFO", "`: all is well"), "{}", ran.stderr);
    assert!(told("WARN", "`: nearly"), "{}", ran.stderr);
}

#[test]
fn credentials_are_not_passed_on() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let sink = shell("cat > rows; env > env.txt", "env = { SIM_SECRET = \"\" }");
    let text = pipeline(&[&events(&sim, ""), &sink]);
    let mut command = prepared(&place, &text);
    command
        .env("MIXPANEL_SECRET", SECRET)
        .env("MIXPANEL_PROJECT_ID", "12345")
        .env("PLAIN", "yes");
    Ran::of(command.output().unwrap()).ended(0);
    let env = place.read("env.txt");
    for line in [
        "PLAIN=yes",
        "MIXFLOW_DATA_TYPE=events",
        "MIXFLOW_FROM_DATE=2024-01-01",
        "MIXFLOW_TO_DATE=2024-01-14",
    ] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    for name in ["MIXPANEL_", "SIM_SECRET"] {
        assert!(!env.contains(name), "{env}");
    }
}

/// Days of which the second never ends.
fn stalled() -> Simulator {
    let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 3_000, 0, 7);
    let stall = Action::SlowBody {
        bytes_per_chunk: 100,
        pause: Duration::from_secs(60),
    };
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 2)), stall);
    started(sim(data).fault(fault))
}

/// Starts a run and returns when its program has all rows of the first day,
/// which are in the file `got`.
fn halfway(place: &Place, sim: &Simulator, sink: &str) -> Child {
    let days = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1";
    let run = prepared(place, &pipeline(&[&events(sim, days), sink])).spawn();
    let run = run.unwrap();
    let first = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 1));
    let rows = expected_events(sim, &first).len();
    let lines = |got: &[u8]| got.iter().filter(|byte| **byte == b'\n').count();
    until(|| std::fs::read(place.path("got")).is_ok_and(|got| lines(&got) == rows));
    run
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "it does not come"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_run_that_is_killed_publishes_nothing() {
    let Some(python) = plain_python() else {
        eprintln!("skipped: there is no python3 here");
        return;
    };
    let careful = std::fs::read_to_string(script("sqlite_sink.py")).unwrap();
    let careless = careful.replace(
        "if not os.path.exists(os.environ[\"MIXFLOW_COMMIT\"]):",
        "if False:",
    );
    assert_ne!(careful, careless);
    // Without a look at the file a stream that was cut off is a whole one,
    // which also shows that this is such a stream.
    for (script, published) in [(&careful, false), (&careless, true)] {
        let sim = stalled();
        let place = Place::new();
        place.write("sink.py", script);
        let program = format!("tee got | {python} sink.py out.sqlite 2> said; echo ended > answer");
        let mut child = halfway(&place, &sim, &shell(&program, ""));
        child.kill().unwrap();
        child.wait().unwrap();
        until(|| std::fs::read(place.path("answer")).is_ok_and(|text| text == b"ended\n"));
        let tables = "SELECT count(*) FROM sqlite_master";
        let tables = sqlite(&python, &place.path("out.sqlite"), tables);
        assert_eq!(tables, if published { "1" } else { "0" });
        let said = place.read("said");
        assert_eq!(
            said.contains("the stream was cut off"),
            !published,
            "{said}"
        );
    }
}

#[test]
fn ctrl_c_kills_the_program_before_its_input_ends() {
    let sim = stalled();
    let place = Place::new();
    let sink = shell("echo $$ > pid; cat > got && echo yes > end", "");
    let child = halfway(&place, &sim, &sink);
    let program = place.read("pid").trim().to_owned();
    let group = Command::new("ps")
        .args(["-o", "pgid=", "-p", &program])
        .output();
    if let Ok(group) = group {
        // What a terminal sends to our group does not reach it.
        assert_eq!(String::from_utf8(group.stdout).unwrap().trim(), program);
    }
    let pid = child.id().to_string();
    let sent = Instant::now();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ran = Ran::of(child.wait_with_output().unwrap()).ended(130);
    ran.says("nothing was written; `");
    assert!(sent.elapsed() < Duration::from_secs(10));
    let alive = Command::new("kill")
        .args(["-0", &program])
        .output()
        .unwrap();
    assert!(!alive.status.success());
    assert!(!place.path("end").exists());
}

#[test]
fn the_sink_is_listed_with_its_options() {
    let said = Place::new()
        .mixflow(&["components"])
        .ended(0)
        .stdout_lossy();
    let (_, exec) = said.split_once("exec:").unwrap();
    for option in ["command", "format", "transactional", "timeout", "env"] {
        assert!(exec.contains(option), "{option} is not in:\n{exec}");
    }
}
