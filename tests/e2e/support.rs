//! A folder, a simulator, and the binary run in between.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mixflow::{LimitOptions, Workspace, WorkspaceBuilder};
use mixflow_tests::sim::{Builder, Data, Simulator};
use serde_json::Value;
use tempfile::TempDir;

pub const SECRET: &str = "sim-secret-7f3a";

/// A place to run mixflow in: an empty folder that is also the home.
pub struct Place {
    folder: TempDir,
}

impl Drop for Place {
    /// Whatever a test did: nothing that mixflow has written has the secret.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let encoded = basic();
            look_for(self.folder.path(), &[SECRET, &encoded]);
        }
    }
}

/// The secret as it stands in a header.
pub fn basic() -> String {
    // base64 of `sim:` and the secret.
    "c2ltOnNpbS1zZWNyZXQtN2YzYQ==".to_owned()
}

fn look_for(folder: &Path, needles: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_for(&path, needles);
            continue;
        }
        // What the test itself has written may have it.
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".toml") || name == "secret" {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        for needle in needles {
            let found = bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes());
            assert!(!found, "the secret is in {}", path.display());
        }
    }
}

/// How a run of the binary ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    /// What was said, as a terminal shows it.
    pub stderr: String,
    /// The same as it came: each line with the time and the run.
    pub lines: String,
}

impl Place {
    pub fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> &Place {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of everything here but what mixflow keeps for itself.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".toml") && name != "state" && name != "report.json")
            .collect();
        names.sort();
        names
    }

    /// Prepares the binary with nothing of the environment but what is here.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixflow"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("MIXFLOW_STATE_DIR", self.path("state"))
            .env("SIM_SECRET", SECRET)
            .stdin(Stdio::null());
        // Where tests are run with instrumentation.
        for name in ["LLVM_PROFILE_FILE", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs the binary with `text` on its standard input.
    pub fn fed(&self, args: &[&str], text: &str) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        Ran::of(child.wait_with_output().unwrap())
    }

    pub fn mixflow(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs a pipeline text and returns how it ended, with its report.
    pub fn run(&self, pipeline: &str) -> (Ran, Value) {
        self.run_with(pipeline, &[])
    }

    pub fn run_with(&self, pipeline: &str, more: &[&str]) -> (Ran, Value) {
        self.write("test.toml", pipeline);
        let mut args = vec!["run", "test.toml", "--report", "report.json"];
        args.extend(more);
        let ran = self.mixflow(&args);
        let report = match std::fs::read(self.path("report.json")) {
            Ok(json) => serde_json::from_slice(&json).unwrap(),
            Err(_) => Value::Null,
        };
        (ran, report)
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Asks a database here; every value as JSON would show it.
    pub fn sql(&self, db: &str, sql: &str) -> Vec<Vec<String>> {
        crate::rows::form::texts(&crate::rows::form::answer(&self.path(db), sql))
    }
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let lines = String::from_utf8(output.stderr).unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: without_stamps(&lines),
            lines,
        };
        // Whatever happens, the secret is not told.
        for secret in [SECRET, &basic()] {
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
            assert!(!ran.stdout_lossy().contains(secret));
        }
        ran
    }

    pub fn stdout_lossy(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Panics with everything that was said unless the run ended so.
    #[track_caller]
    pub fn ended(self, code: i32) -> Ran {
        assert_eq!(
            self.code,
            Some(code),
            "stderr:\n{}\nstdout:\n{}",
            self.stderr,
            self.stdout_lossy()
        );
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(
            self.stderr.contains(text),
            "no `{text}` in:\n{}",
            self.stderr
        );
        self
    }
}

/// Runs a command on a terminal of so many columns and returns what came to
/// that, without colours unless the command asks for them; `None` where there
/// is no `script`.
pub fn on_a_terminal(plain: &Command, columns: u16) -> Option<String> {
    let words = std::iter::once(plain.get_program()).chain(plain.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let line = format!("stty rows 40 cols {columns}; {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    let envs = plain.get_envs();
    script
        .current_dir(plain.get_current_dir().unwrap())
        .env_clear()
        .env("NO_COLOR", "1")
        .env("TERM", "dumb")
        .envs(envs.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let output = script.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Takes the time and the run away from each line, which has them or is JSON.
///
/// A loaded library has a standard library of its own, which says by itself
/// that something in it panicked.
#[track_caller]
fn without_stamps(lines: &str) -> String {
    let panicked = lines.contains("\nthread '");
    let mut said = String::new();
    for line in lines.split_inclusive('\n') {
        match Stamped::read(line) {
            Some(stamped) => said.push_str(stamped.text),
            None if line.starts_with('{') || panicked => said.push_str(line),
            None => panic!("there is no time before {line:?} in:\n{lines}"),
        }
    }
    said
}

/// A line with what stands before it.
#[derive(Debug)]
pub struct Stamped<'a> {
    pub time: &'a str,
    /// The pipeline and the run, if it is of one.
    pub of: Option<(&'a str, &'a str)>,
    pub text: &'a str,
}

impl<'a> Stamped<'a> {
    pub fn read(line: &'a str) -> Option<Stamped<'a>> {
        let (time, rest) = line.split_once(' ')?;
        let is_time = time.len() == "2024-01-01T03:15:00.000Z".len() && time.ends_with('Z');
        if !is_time || time.parse::<jiff::Timestamp>().is_err() {
            return None;
        }
        let of = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "));
        let of = of.and_then(|(of, text)| Some((of.rsplit_once(' ')?, text)));
        Some(Stamped {
            time,
            of: of.map(|(of, _)| of),
            text: of.map_or(rest, |(_, text)| text),
        })
    }
}

/// A simulator that wants our credentials.
pub fn sim(data: Data) -> Builder {
    Simulator::builder()
        .data(data)
        .credentials("sim", SECRET)
        .project_id("12345")
}

pub fn started(builder: Builder) -> Simulator {
    builder.start().unwrap()
}

/// A workspace of the simulator's project, asked faster than its limits allow.
pub fn workspace(sim: &Simulator) -> WorkspaceBuilder {
    Workspace::builder()
        .project_id("12345")
        .service_account("sim", SECRET)
        .base_url(sim.base_url())
        .limits(LimitOptions {
            per_second: Some(1_000),
            ..LimitOptions::default()
        })
}

/// The keys that every Mixpanel source of these tests has: no waits between
/// requests that only the real Mixpanel needs.
fn mixpanel(sim: &Simulator, kind: &str, more: &str) -> String {
    format!(
        r#"[source]
type = "{kind}"
project_id = 12345
auth = {{ username = "sim", secret = {{ env = "SIM_SECRET" }} }}
base_url = "{}"
limits = {{ per_second = 10000, per_hour = 10000 }}
{more}
"#,
        sim.base_url()
    )
}

/// A source of the sample's days, with further keys, some of which may be
/// `retry.…`. A day is a unit, unless they say otherwise, so that there are
/// several.
pub fn events(sim: &Simulator, more: &str) -> String {
    let quick = if more.contains("retry") {
        ""
    } else {
        "retry = { base_delay = \"1ms\", max_delay = \"5ms\" }\n"
    };
    let days = if more.contains("from =") {
        ""
    } else {
        "from = \"2024-01-01\"\nto = \"2024-01-14\"\n"
    };
    let windows = if ["window_days", "limit"]
        .iter()
        .any(|key| more.contains(key))
    {
        ""
    } else {
        "window_days = 1\n"
    };
    mixpanel(
        sim,
        "mixpanel_events",
        &format!("{windows}{quick}{days}{more}"),
    )
}

pub fn profiles(sim: &Simulator, more: &str) -> String {
    let quick = if more.contains("retry") {
        ""
    } else {
        "retry = { base_delay = \"1ms\", max_delay = \"5ms\" }\n"
    };
    mixpanel(sim, "mixpanel_profiles", &format!("{quick}{more}"))
}

pub const STDOUT: &str = "[sink]\ntype = \"jsonl\"\n";

pub const DUCKDB: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\n";

/// `[run]` with a number of workers.
pub fn workers(n: usize) -> String {
    format!("[run]\nworkers = {n}\n")
}

/// Puts parts of a pipeline together.
pub fn pipeline(parts: &[&str]) -> String {
    parts.join("\n")
}
