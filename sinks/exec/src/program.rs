//! The program: how it is shown, found and prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mixflow_core::sink::TxnContext;
use mixflow_core::{Error, ErrorKind, Result};

/// Where the system looks for programs when there is no `PATH`.
const NO_PATH: &str = "/bin:/usr/bin";

/// Variables that are ours to set.
pub(crate) const OURS: [&str; 5] = [
    "MIXFLOW_COMMIT",
    "MIXFLOW_DATA_TYPE",
    "MIXFLOW_FROM_DATE",
    "MIXFLOW_RUN_ID",
    "MIXFLOW_TO_DATE",
];

/// Variables that begin so are credentials, which are none of its business.
const CREDENTIALS: &str = "MIXPANEL_";

/// More of a command is not shown.
const SHOWN: usize = 80;

/// A program with its arguments and variables.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    /// Variables that secrets of the pipeline come from.
    hidden: BTreeSet<String>,
}

impl Program {
    /// Takes a command; `None` if it is empty.
    pub(crate) fn new(command: Vec<String>, env: BTreeMap<String, String>) -> Option<Program> {
        let mut arguments = command.into_iter();
        let name = arguments.next().filter(|name| !name.is_empty())?;
        Some(Program {
            name,
            arguments: arguments.collect(),
            env,
            hidden: BTreeSet::new(),
        })
    }

    /// Keeps variables from the program, unless its own table sets them.
    pub(crate) fn hide(&mut self, variables: BTreeSet<String>) {
        self.hidden = variables;
    }

    /// Returns the command as people read it, in backticks, on one line.
    pub(crate) fn shown(&self) -> String {
        let words: Vec<String> = std::iter::once(&self.name)
            .chain(&self.arguments)
            .map(|word| quoted(word))
            .collect();
        let line = words.join(" ");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("`{}…`", &line[..end]),
            None => format!("`{line}`"),
        }
    }

    /// Looks for the program without starting it.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let path = match self.env.get("PATH") {
            Some(path) => Some(OsString::from(path)),
            None => std::env::var_os("PATH"),
        };
        let path = path.unwrap_or_else(|| NO_PATH.into());
        let here = std::env::current_dir().unwrap_or_default();
        which::which_in(&self.name, Some(path), here).map_err(|_| {
            let cause = if self.name.contains('/') {
                format!("`{}` is not a file that can be executed", self.name)
            } else {
                format!("there is no program `{}` in PATH", self.name)
            };
            self.cannot_start(ErrorKind::Config)
                .because(cause)
                .hint("correct `command` in `[sink]`, or install the program")
        })
    }

    /// Returns the error of a program that cannot be started.
    pub(crate) fn cannot_start(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("cannot start {}", self.shown()))
    }

    /// Prepares the start: pipes, variables, and a process group of its own.
    pub(crate) fn command(&self, cx: &TxnContext, permit: &Path) -> Command {
        let mut command = Command::new(&self.name);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(CREDENTIALS.as_bytes()) {
                command.env_remove(name);
            }
        }
        for name in &self.hidden {
            command.env_remove(name);
        }
        // One of an outer run, which has started us, is not this run's.
        for name in OURS {
            command.env_remove(name);
        }
        command
            .env("MIXFLOW_COMMIT", permit)
            .env("MIXFLOW_DATA_TYPE", cx.source.dataset.kind.as_str())
            .env("MIXFLOW_RUN_ID", &cx.run_id);
        if let Some(date) = cx.source.from_date {
            command.env("MIXFLOW_FROM_DATE", date.to_string());
        }
        if let Some(date) = cx.source.to_date {
            command.env("MIXFLOW_TO_DATE", date.to_string());
        }
        for (name, value) in &self.env {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        command
    }
}

/// Returns a word as it could be typed, without line ends.
fn quoted(word: &str) -> String {
    let word: String = word
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if word.is_empty() || word.contains([' ', '\'', '"', '$', '`', ';', '|', '&', '<', '>']) {
        format!("'{word}'")
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &[&str]) -> Program {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Program::new(command, BTreeMap::new()).expect("it has a name")
    }

    #[test]
    fn a_command_is_shown_on_one_line_and_not_endlessly() {
        assert_eq!(
            program(&["python3", "sink.py"]).shown(),
            "`python3 sink.py`"
        );
        assert_eq!(
            program(&["sh", "-c", "cat\n> a"]).shown(),
            "`sh -c 'cat > a'`"
        );
        let long = program(&["python3", "-c", &"é".repeat(100)]).shown();
        assert_eq!(long.chars().count(), SHOWN + 3);
        assert!(long.ends_with("é…`"));
    }

    #[test]
    fn a_program_is_looked_up_as_the_system_would() {
        assert!(program(&["sh"]).find().is_ok());
        assert!(program(&["/bin/sh"]).find().is_ok());
        let error = program(&["no-such-program", "a"])
            .find()
            .expect_err("absent");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            format!("{error:?}"),
            "Config: cannot start `no-such-program a`: there is no program `no-such-program` in PATH"
        );
        // A file, but none that can be executed.
        let error = program(&["./Cargo.toml"]).find().expect_err("no program");
        assert_eq!(
            error.causes(),
            ["`./Cargo.toml` is not a file that can be executed"]
        );
    }

    #[test]
    fn the_path_that_the_program_gets_is_the_one_that_is_looked_in() {
        let env = BTreeMap::from([("PATH".to_owned(), "/no/such/folder".to_owned())]);
        let program = Program::new(vec!["sh".to_owned()], env).expect("it has a name");
        assert!(program.find().is_err());
    }
}
