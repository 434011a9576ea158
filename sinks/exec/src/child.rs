//! The program while it runs.

use std::io::{self, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::time::{Duration, Instant};

use mixflow_core::cancel::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, ioctl_fionread};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::output::Listener;

/// How long the program may take after SIGTERM, to tidy up.
const GRACE: Duration = Duration::from_secs(2);

/// The same when the run is to stop: whoever asked for that waits.
const SHORT_GRACE: Duration = Duration::from_millis(400);

/// How often it is looked whether the program still runs while its input is
/// full: something that it has started may hold the other end.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The longest pause between two looks at something that has no event.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Why a program did not do its part.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It ended.
    Ended,
    /// It runs, but does not want to read any more.
    Closed,
    /// It did nothing for as long as it was given.
    Stuck,
    /// The run is to stop, and the program did not take its rows until then.
    Stopped,
    /// The system did not do its part.
    System(io::Error),
}

/// A program that was started. Dropping it kills it.
///
/// Its input is written without a thread: the pipe does not block, so that a
/// program that hangs is noticed, whoever else holds the other end.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    stdin: Option<ChildStdin>,
    listener: Option<Listener>,
    timeout: Duration,
    cancel: CancelToken,
    /// Set when the process is reaped; its number may then be another's.
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a program whose three standard streams are pipes and that leads
    /// a process group. `name` is what the log calls it.
    pub(crate) fn start(
        command: &mut Command,
        name: &str,
        timeout: Duration,
        cancel: CancelToken,
    ) -> io::Result<Running> {
        let child = command.spawn()?;
        let mut running = Running {
            group: Pid::from_child(&child),
            child,
            stdin: None,
            listener: None,
            timeout,
            cancel,
            status: None,
        };
        // From here on an error drops `running`, which kills the program.
        running.stdin = running.child.stdin.take();
        if let Some(stdin) = &running.stdin {
            ioctl_fionbio(stdin, true)?;
        }
        if let (Some(stdout), Some(stderr)) =
            (running.child.stdout.take(), running.child.stderr.take())
        {
            running.listener = Some(Listener::start(name, stdout, stderr)?);
        }
        Ok(running)
    }

    /// Writes to the program's input; blocks as long as it reads.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        if self.has_ended() {
            return Err(Trouble::Ended);
        }
        let mut since = Instant::now();
        while !bytes.is_empty() {
            let Some(stdin) = &mut self.stdin else {
                return Err(Trouble::Closed);
            };
            match stdin.write(bytes) {
                Ok(taken) => {
                    bytes = &bytes[taken..];
                    since = Instant::now();
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => self.wait_for_room(since)?,
                    // It may have closed its input because it is about to end.
                    io::ErrorKind::BrokenPipe if self.ends_within(self.grace()) => {
                        return Err(Trouble::Ended);
                    }
                    io::ErrorKind::BrokenPipe => return Err(Trouble::Closed),
                    _ => return Err(Trouble::System(error)),
                },
            }
        }
        Ok(())
    }

    /// Waits a little for room in the pipe, which has had none `since`.
    fn wait_for_room(&self, since: Instant) -> Result<(), Trouble> {
        if self.has_ended() {
            return Err(Trouble::Ended);
        }
        self.patience(since)?;
        let Some(stdin) = &self.stdin else {
            return Err(Trouble::Closed);
        };
        match poll(&mut [PollFd::new(stdin, PollFlags::OUT)], Some(&TICK)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Trouble::System(error.into())),
        }
    }

    /// Waits until the program has read everything, and still runs.
    ///
    /// Linux counts what is in a pipe from either end. Where a system does
    /// not, nothing seems to be there and only the second half is checked.
    pub(crate) fn drained(&mut self) -> Result<(), Trouble> {
        let (mut before, mut since) = (u64::MAX, Instant::now());
        let mut pause = Pause::new();
        loop {
            let Some(stdin) = &self.stdin else {
                return Err(Trouble::Closed);
            };
            let unread = ioctl_fionread(stdin).map_err(|error| Trouble::System(error.into()))?;
            if self.has_ended() {
                return Err(Trouble::Ended);
            }
            if unread == 0 {
                return Ok(());
            }
            if unread < before {
                (before, since) = (unread, Instant::now());
            }
            self.patience(since)?;
            pause.sleep();
        }
    }

    /// Says whether to wait on for what has been waited for `since`.
    fn patience(&self, since: Instant) -> Result<(), Trouble> {
        if self.cancel.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        if since.elapsed() >= self.timeout {
            Err(Trouble::Stuck)
        } else {
            Ok(())
        }
    }

    /// Closes the program's input and waits for its answer.
    ///
    /// What a program that failed has started is killed.
    pub(crate) fn answer(&mut self) -> Result<ExitStatus, Trouble> {
        drop(self.stdin.take());
        let since = Instant::now();
        let mut pause = Pause::new();
        // It has all rows and may be at its last step: one that is quick is
        // heard, even when the run is to stop.
        while !self.has_ended() {
            if let Err(trouble) = self.patience(since)
                && !(matches!(trouble, Trouble::Stopped) && self.ends_within(SHORT_GRACE))
            {
                return Err(trouble);
            }
            pause.sleep();
        }
        match self.look() {
            Ok(Some(status)) if status.exit_status() == Some(0) => {}
            _ => self.signal(Signal::KILL),
        }
        self.reap().map_err(Trouble::System)
    }

    /// Kills the program and what it has started, and returns how it ended.
    ///
    /// Its input is open until it is gone, so that it never sees an end of
    /// file that means nothing. Blocks for some seconds at most.
    pub(crate) fn kill(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.signal(Signal::TERM);
            self.ends_within(self.grace());
            // The group's number is taken until its leader is reaped.
            self.signal(Signal::KILL);
            if !self.ends_within(self.grace()) {
                log::warn!("process {} cannot be killed", self.child.id());
                return None;
            }
            if let Err(error) = self.reap() {
                log::warn!("cannot wait for process {}: {error}", self.child.id());
            }
        }
        self.stdin = None;
        self.status
    }

    /// Returns the last lines of its stderr. For when it has ended.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        match &mut self.listener {
            Some(listener) => listener.finish(),
            None => Vec::new(),
        }
    }

    /// Returns whether the program has ended, without reaping it.
    fn has_ended(&self) -> bool {
        self.status.is_some() || !matches!(self.look(), Ok(None))
    }

    /// Returns how it ended, if it has. An error: there is nothing to wait for.
    fn look(&self) -> rustix::io::Result<Option<WaitIdStatus>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        waitid(WaitId::Pid(self.group), options)
    }

    fn grace(&self) -> Duration {
        if self.cancel.is_cancelled() {
            SHORT_GRACE
        } else {
            GRACE
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let since = Instant::now();
        let mut pause = Pause::new();
        while !self.has_ended() {
            if since.elapsed() >= time {
                return false;
            }
            pause.sleep();
        }
        true
    }

    fn signal(&self, signal: Signal) {
        match kill_process_group(self.group, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            // macOS says this of a group of which only the dead leader is left.
            Err(Errno::PERM) if self.has_ended() => {}
            Err(error) => log::warn!("cannot kill process {}: {error}", self.child.id()),
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for what has no event: briefly at first.
struct Pause(Duration);

impl Pause {
    fn new() -> Pause {
        Pause(Duration::from_micros(100))
    }

    fn sleep(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
