//! The program that is told on its standard input.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mixflow_core::cancel::CancelToken;
use mixflow_core::{Error, ErrorKind, Result};

/// Variables that begin so are credentials, which are none of its business.
const CREDENTIALS: &str = "MIXPANEL_";

/// How often it is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// So much of what it says to stderr is kept for the error.
const KEPT: usize = 4_096;

/// So much of that is shown.
const SHOWN: usize = 200;

/// Runs the program with `json` on its input until it ends, and kills it when
/// `cancel` is cancelled.
pub(super) fn run(
    argv: &[String],
    hidden: &BTreeSet<String>,
    json: Vec<u8>,
    cancel: &CancelToken,
) -> Result<()> {
    let mut child = command(argv, hidden)
        .spawn()
        .map_err(|error| Error::new(ErrorKind::Io, "it cannot be started").with_source(error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read does not hold us up.
        std::thread::spawn(move || stdin.write_all(&json));
    }
    let said = Said::listen(child.stderr.take());
    loop {
        if let Some(status) = child.try_wait().map_err(unknown)? {
            return match status.success() {
                true => Ok(()),
                false => Err(said.add_to(Error::new(
                    ErrorKind::Other,
                    format!("it ended with {status}"),
                ))),
            };
        }
        if let Err(error) = cancel.wait(LOOK) {
            kill(&mut child);
            return Err(error);
        }
    }
}

fn unknown(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "it is not known how it ended").with_source(error)
}

fn command(argv: &[String], hidden: &BTreeSet<String>) -> Command {
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    command
        .args(argv.iter().skip(1))
        .stdin(Stdio::piped())
        // Ours is for data.
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let variables = std::env::vars_os().map(|(name, _)| name);
    for name in variables.filter(|name| name.as_encoded_bytes().starts_with(CREDENTIALS.as_bytes()))
    {
        command.env_remove(name);
    }
    for name in hidden {
        command.env_remove(name);
    }
    command
}

/// Kills the program, and what it has started.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        // It leads a group, whose number is its own until it is reaped.
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    // It may be gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The beginning of what a program says to stderr.
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Listens until the pipe is closed, which something that the program has
    /// left behind may never do.
    fn listen(stderr: Option<ChildStderr>) -> Said {
        let said = Said(Arc::default());
        let kept = Arc::clone(&said.0);
        std::thread::spawn(move || {
            let (mut stderr, mut chunk) = (stderr?, [0; 1024]);
            while let Ok(n) = stderr.read(&mut chunk)
                && n > 0
            {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = KEPT.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&chunk[..room]);
            }
            Some(())
        });
        said
    }

    fn add_to(&self, error: Error) -> Error {
        // What it wrote last may be on its way still.
        std::thread::sleep(LOOK * 4);
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        match line {
            Some(line) => error.because(line.chars().take(SHOWN).collect::<String>()),
            None => error,
        }
    }
}
