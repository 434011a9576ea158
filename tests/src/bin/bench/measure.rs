//! What one run of a command took.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::Failure;

/// What a run took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// From start to end.
    pub seconds: f64,
    /// On all cores, in the program and in the system for it.
    pub cpu_seconds: f64,
    /// The most memory at once.
    pub peak_mb: f64,
}

/// Runs `command` in a process of its own that has no other children, so that
/// their peak is this one's; its stdout goes to `stdout` if given.
pub fn run(
    command: &[String],
    work: &Path,
    packages: &OsStr,
    stdout: Option<&Path>,
) -> Result<Taken, Failure> {
    let result = work.join("taken.json");
    let mut measured = Command::new(std::env::current_exe()?);
    measured
        .arg("measure")
        .arg(&result)
        .arg("--")
        .args(command)
        .current_dir(work)
        .env("MIXFLOW_STATE_DIR", work.join("state"))
        .env("PYTHONPATH", packages)
        .env("BENCH_SECRET", "sim-secret");
    measured.stdout(match stdout {
        Some(path) => Stdio::from(std::fs::File::create(path)?),
        None => Stdio::null(),
    });
    let status = measured.status()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(serde_json::from_slice(&std::fs::read(result)?)?)
}

/// The inside of [`run`].
pub fn child(result: &Path, command: &[String]) -> Result<(), Failure> {
    let (program, args) = command.split_first().ok_or("there is no command")?;
    let started = Instant::now();
    let status = Command::new(program).args(args).status()?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[expect(clippy::cast_precision_loss, reason = "figures that a person reads")]
    let taken = Taken {
        seconds,
        cpu_seconds: (usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds())
            as f64
            / 1e3,
        // Linux counts kilobytes.
        peak_mb: usage.max_rss() as f64 / 1024.0,
    };
    Ok(std::fs::write(result, serde_json::to_vec(&taken)?)?)
}
