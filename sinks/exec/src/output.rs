//! What the program writes to stdout and stderr.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdout};
use std::thread::JoinHandle;

use log::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};

/// A longer line is told in pieces.
const LONGEST_LINE: usize = 4_096;

/// So many lines of stderr are kept for the error.
const LAST_LINES: usize = 10;

/// More of a kept line is not shown.
const LONGEST_SHOWN: usize = 300;

/// What is still read when the program has ended: a pipe holds 64 KiB, and
/// something that it has left behind may write for ever.
const REST: usize = 1 << 20;

/// Passes lines on to the log, from a thread that never outlives the value.
pub(crate) struct Listener {
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<VecDeque<String>>>,
}

impl Listener {
    /// Starts to listen to the program that is shown as `name`.
    pub(crate) fn start(
        name: &str,
        stdout: ChildStdout,
        stderr: ChildStderr,
    ) -> io::Result<Listener> {
        let (stopped, stop) = io::pipe()?;
        let ears = [
            Ear::new(stdout.into(), name, Level::Info)?,
            Ear::new(stderr.into(), name, Level::Warn)?,
        ];
        let thread = std::thread::Builder::new()
            .name("exec output".to_owned())
            .spawn(move || listen(ears, &stopped))?;
        Ok(Listener {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Takes what is there, stops, and returns the last lines of stderr.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        drop(self.stop.take());
        let last = self.thread.take().and_then(|thread| thread.join().ok());
        last.unwrap_or_default().into()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Listens until told to stop or until both ends are closed.
fn listen(mut ears: [Ear; 2], stopped: &PipeReader) -> VecDeque<String> {
    loop {
        let pipes = ears.iter().filter_map(|ear| ear.pipe.as_ref());
        let mut fds: Vec<PollFd<'_>> = pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        if fds.is_empty() {
            break;
        }
        fds.push(PollFd::new(stopped, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                log::warn!("cannot listen to {}: {error}", ears[0].name);
                break;
            }
        }
        let stop = fds.last().is_some_and(|fd| !fd.revents().is_empty());
        for ear in &mut ears {
            let mut rest = if stop { REST } else { 1 };
            while rest > 0
                && let Some(taken) = ear.hear()
            {
                rest = rest.saturating_sub(taken);
            }
        }
        if stop {
            break;
        }
    }
    for ear in &mut ears {
        ear.tell();
    }
    let [_, stderr] = ears;
    stderr.last
}

/// One end that is listened to.
struct Ear {
    name: String,
    level: Level,
    pipe: Option<File>,
    line: Vec<u8>,
    last: VecDeque<String>,
}

impl Ear {
    fn new(pipe: OwnedFd, name: &str, level: Level) -> io::Result<Ear> {
        ioctl_fionbio(&pipe, true)?;
        Ok(Ear {
            name: name.to_owned(),
            level,
            pipe: Some(pipe.into()),
            line: Vec::new(),
            last: VecDeque::new(),
        })
    }

    /// Takes what is there; `None` when there is nothing now.
    fn hear(&mut self) -> Option<usize> {
        let mut chunk = [0; 16 * 1024];
        let taken = match self.pipe.as_mut()?.read(&mut chunk) {
            Ok(0) => {
                self.pipe = None;
                return None;
            }
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return None,
            Err(_) => {
                self.pipe = None;
                return None;
            }
        };
        for byte in &chunk[..taken] {
            // A bar that draws over itself is a line each time.
            match byte {
                b'\n' | b'\r' => self.tell(),
                byte => {
                    self.line.push(*byte);
                    if self.line.len() >= LONGEST_LINE {
                        self.tell();
                    }
                }
            }
        }
        Some(taken)
    }

    /// Passes a line on.
    fn tell(&mut self) {
        let text = readable(&self.line);
        self.line.clear();
        if text.trim().is_empty() {
            return;
        }
        log::log!(self.level, "{}: {text}", self.name);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last
            .push_back(text.chars().take(LONGEST_SHOWN).collect());
    }
}

/// Returns bytes as a text that does nothing to a terminal.
fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end()
        .chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_does_nothing_to_a_terminal() {
        assert_eq!(
            readable(b"\x1b[31mred\ta\xff  "),
            "\u{fffd}[31mred a\u{fffd}"
        );
    }
}
