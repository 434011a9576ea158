//! `--jobs` of `mixflow run` and `mixflow backfill`: several pipelines at once.
//!
//! Each has a process of its own: they share the quota and the locks through the
//! state as any processes do, and one that dies takes no other along.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use mixflow_core::report::RunReport;
use mixflow_core::{Error, ErrorKind, Result};

use crate::app::{App, OfFile};
use crate::exit::Exit;
use crate::interrupt::{self, Tidying};
use crate::report_file::Reports;
use crate::ui::counted;

/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the pipelines, so many at once, each by `command` with these flags.
pub(super) fn run(
    app: &App,
    command: &'static str,
    flags: &[String],
    all: &[OfFile],
    jobs: NonZeroUsize,
) -> Exit {
    let line = Line { command, flags };
    match run_all(app, &line, all, jobs) {
        Ok((worst, reports)) => {
            app.write_report(&reports);
            worst
        }
        Err(error) => app.fail(&error),
    }
}

/// The command that each process is, and what is said of it.
struct Line<'a> {
    command: &'static str,
    flags: &'a [String],
}

fn run_all(
    app: &App,
    line: &Line<'_>,
    all: &[OfFile],
    jobs: NonZeroUsize,
) -> Result<(Exit, Reports)> {
    let folder = tempfile::tempdir().map_err(|error| {
        Error::new(ErrorKind::Io, "cannot make a folder for reports").with_source(error)
    })?;
    // The first Ctrl-C goes to all of them; each tidies up.
    let _tidying = Tidying::begin();
    let cancel = interrupt::token();
    let mut ended: Vec<Option<Exit>> = all.iter().map(|_| None).collect();
    let mut running: Vec<Job> = Vec::new();
    let mut next = 0;
    loop {
        while running.len() < jobs.get() && next < all.len() && !cancel.is_cancelled() {
            app.ui.status(&format!("running {}", all[next].shown()));
            let report = folder.path().join(format!("{next}.json"));
            running.push(Job::begin(app, line, &all[next], next, report)?);
            next += 1;
        }
        if running.is_empty() {
            break;
        }
        // An interrupt wakes it, too.
        let is_over = cancel.wait(LOOK).is_err();
        if is_over {
            running.iter().for_each(Job::interrupt);
            std::thread::sleep(LOOK);
        }
        let mut n = 0;
        while n < running.len() {
            match running[n].exit()? {
                Some(exit) => {
                    let job = running.remove(n);
                    ended[job.n] = Some(exit);
                    job.finish()?;
                }
                None => n += 1,
            }
        }
    }
    Ok(summed_up(app, all, &ended, folder.path()))
}

/// Returns the worst exit, and the reports of all that were begun.
fn summed_up(app: &App, all: &[OfFile], ended: &[Option<Exit>], folder: &Path) -> (Exit, Reports) {
    let worst = ended.iter().flatten().max().copied();
    let mut reports = Reports::of_files(all.len());
    for (n, of) in all.iter().enumerate() {
        match (left_at(&folder.join(format!("{n}.json"))), ended[n]) {
            (Some(left), _) => reports.list.extend(left),
            // There was nothing to do, or it was not begun.
            (None, None | Some(Exit::Done)) => {}
            // It has died, or its report cannot be written.
            (None, Some(exit)) => reports.list.push(RunReport {
                pipeline: of.shown(),
                error: Some(Error::new(
                    ErrorKind::Other,
                    format!(
                        "{} ended with {} and left no report",
                        of.shown(),
                        exit.number()
                    ),
                )),
                ..RunReport::default()
            }),
        }
    }
    let failed = ended.iter().flatten().filter(|exit| **exit != Exit::Done);
    let failed = failed.count();
    if failed > 0 {
        let all = counted(all.len() as u64, "pipeline");
        app.ui
            .warning(&format!("{failed} of {all} did not end well"));
    }
    (worst.unwrap_or(Exit::Interrupted), reports)
}

/// Returns the reports that a process has left, one or a list.
fn left_at(path: &Path) -> Option<Vec<RunReport>> {
    let text = std::fs::read(path).ok()?;
    let one = serde_json::from_slice(&text).map(|report| vec![report]);
    one.or_else(|_| serde_json::from_slice(&text)).ok()
}

/// A pipeline that is run by another process.
struct Job {
    n: usize,
    child: Child,
    /// What hands on what the process says.
    lines: Option<JoinHandle<()>>,
    /// Its standard output, which is passed on when it has ended: rows of two
    /// pipelines would get mixed up within a line.
    rows: File,
}

impl Job {
    fn begin(app: &App, line: &Line<'_>, of: &OfFile, n: usize, report: PathBuf) -> Result<Job> {
        let begun = || -> io::Result<Job> {
            let rows = tempfile::tempfile()?;
            let mut command = command(app, line, of, &report)?;
            let mut child = command.stdout(rows.try_clone()?).spawn()?;
            let stderr = child.stderr.take();
            let hand_on = move || {
                let lines = stderr
                    .into_iter()
                    .flat_map(|stderr| BufReader::new(stderr).lines());
                for line in lines.map_while(io::Result::ok) {
                    crate::ui::hand_on(&line);
                }
            };
            Ok(Job {
                n,
                child,
                rows,
                lines: Some(std::thread::Builder::new().spawn(hand_on)?),
            })
        };
        begun().map_err(|error| {
            let message = format!("cannot start a process for {}", of.shown());
            Error::new(ErrorKind::Io, message).with_source(error)
        })
    }

    /// Returns how it has ended, if it has.
    fn exit(&mut self) -> Result<Option<Exit>> {
        let status = self.child.try_wait().map_err(|error| {
            Error::new(ErrorKind::Io, "cannot wait for a process").with_source(error)
        })?;
        Ok(status.map(|status| status.code().map_or(Exit::Failed, Exit::of_number)))
    }

    /// Asks it to stop, as a signal would.
    fn interrupt(&self) {
        #[cfg(unix)]
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // One that has ended meanwhile has nothing to stop.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Passes on what it has written.
    fn finish(mut self) -> Result<()> {
        if let Some(lines) = self.lines.take() {
            // It ends with the pipe; what is left of it is no reason to fail.
            let _ = lines.join();
        }
        let copied = self.rows.rewind().and_then(|()| {
            let mut out = io::stdout().lock();
            io::copy(&mut self.rows, &mut out)?;
            out.flush()
        });
        copied.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::BrokenPipe => ErrorKind::Closed,
                _ => ErrorKind::Io,
            };
            Error::new(kind, "cannot write to standard output").with_source(error)
        })
    }
}

/// Returns the command line that runs one pipeline and nothing else.
fn command(app: &App, line: &Line<'_>, of: &OfFile, report: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(line.command).arg(&of.file).args(line.flags);
    command.args(["--progress", "off", "--report"]).arg(report);
    if let Some(project) = &of.project {
        command.arg("--set").arg(format!("project={project}"));
    }
    command.args(app.global_flags());
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    // Its own group: a terminal's Ctrl-C is handed on once, by us.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}
