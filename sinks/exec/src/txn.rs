//! One run's rows.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use mixflow_core::batch::Batch;
use mixflow_core::sink::{CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext};
use mixflow_core::{Error, ErrorKind, Result};

use crate::child::{Running, Trouble};
use crate::form::Form;
use crate::permit::Permit;
use crate::program::Program;

/// A program that was started for a run.
pub(crate) struct ExecTxn<'s> {
    program: &'s Program,
    timeout: Duration,
    transactional: bool,
    run_id: String,
    form: Form,
    // Dropped before the permit: a program that has ended looks for nothing.
    child: Running,
    permit: Permit,
    rows: u64,
    /// Something has gone to the program.
    sent: bool,
}

impl<'s> ExecTxn<'s> {
    /// Starts the program. It may take `timeout` over each thing; what it may
    /// leave behind depends on whether it is `transactional`.
    pub(crate) fn begin(
        program: &'s Program,
        timeout: Duration,
        transactional: bool,
        form: Form,
        cx: &TxnContext,
    ) -> Result<ExecTxn<'s>> {
        let permit = Permit::new()?;
        let mut command = program.command(cx, &permit.path());
        let name = program.shown();
        let cancel = cx.cancel.clone();
        let started = Running::start(&mut command, &name, timeout, cancel);
        let child = started.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => ErrorKind::Config,
                _ => ErrorKind::Io,
            };
            program.cannot_start(kind).with_source(error)
        })?;
        Ok(ExecTxn {
            program,
            timeout,
            transactional,
            run_id: cx.run_id.clone(),
            form,
            child,
            permit,
            rows: 0,
            sent: false,
        })
    }

    /// Encodes, and sends what waits.
    fn send(&mut self, encode: impl FnOnce(&mut Form) -> Result<()>) -> Result<()> {
        encode(&mut self.form)?;
        self.sent |= !self.form.waiting().is_empty();
        let sent = self.child.send(self.form.waiting());
        sent.map_err(|trouble| self.failed(Stage::Rows, trouble))?;
        self.form.sent();
        Ok(())
    }

    /// Ends the stream and takes the program's answer.
    ///
    /// The permit comes after every row has been read, so that the program has
    /// all of them whatever happens to us then; and it is there before the
    /// end, so that a program that has seen the end need not wait for it.
    fn conclude(&mut self, outcome: &Outcome<'_>) -> Result<()> {
        self.send(|_| Ok(()))?;
        let drained = self.child.drained();
        drained.map_err(|trouble| self.failed(Stage::Rows, trouble))?;
        self.form.end()?;
        self.permit.grant(&self.run_id, self.rows, outcome)?;
        let answer = match self.child.send(self.form.waiting()) {
            Ok(()) => self.child.answer(),
            Err(Trouble::Ended) => return Err(self.failed(Stage::Rows, Trouble::Ended)),
            Err(trouble) => Err(trouble),
        };
        // Unless it says itself that it has not, it may have done its work.
        let status = answer.map_err(|trouble| self.failed(Stage::End, trouble).in_doubt())?;
        match status.code() {
            Some(0) => Ok(()),
            Some(_) => Err(self.failed(Stage::End, Trouble::Ended)),
            None => Err(self.failed(Stage::End, Trouble::Ended).in_doubt()),
        }
    }

    /// Kills the program and returns why it has not done its part.
    fn failed(&mut self, stage: Stage, trouble: Trouble) -> Error {
        let status = self.child.kill();
        let (name, timeout) = (self.program.shown(), self.timeout);
        let message = match (stage, &trouble) {
            (Stage::Rows, Trouble::Ended) => {
                format!("{name} ended before it had all rows, {}", ending(status))
            }
            (Stage::End, Trouble::Ended) => {
                format!("{name} had all rows and ended {}", ending(status))
            }
            (Stage::Rows, Trouble::Stuck) => {
                format!("{name} hangs: it has read nothing for {timeout:?}")
            }
            (Stage::End, Trouble::Stuck) => {
                format!("{name} hangs: it had all rows and has not ended for {timeout:?}")
            }
            (_, Trouble::Stopped) => return Error::interrupted(),
            (_, Trouble::Closed) => {
                format!("{name} closed its standard input before it had all rows")
            }
            (_, Trouble::System(_)) => format!("cannot send rows to {name}"),
        };
        let error = Error::new(ErrorKind::Io, message);
        let error = match trouble {
            Trouble::System(cause) => return error.with_source(cause),
            Trouble::Stuck => {
                error.hint("look at what it waits for, or raise `timeout` in `[sink]`")
            }
            Trouble::Ended | Trouble::Closed | Trouble::Stopped => error,
        };
        match self.child.last_words() {
            words if words.is_empty() => error.because("it wrote nothing to stderr"),
            words => error.because(format!("it wrote to stderr:\n    {}", words.join("\n    "))),
        }
    }
}

/// How far a program has come.
#[derive(Clone, Copy)]
enum Stage {
    /// Some rows, or the end behind them, it has not had.
    Rows,
    /// It has had everything and is to answer.
    End,
}

impl SinkTxn for ExecTxn<'_> {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.send(|form| form.encode(&batch.records))?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.conclude(outcome)?;
        Ok(CommitSummary {
            rows: self.rows,
            destination: self.program.shown(),
            warnings: Vec::new(),
        })
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.child.kill();
        Ok(if self.sent && !self.transactional {
            Residue::Unknown
        } else {
            Residue::None
        })
    }
}

/// Returns how a process ended: `with exit code 3`, `by signal 9 (SIGKILL)`.
fn ending(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("with exit code {code}"),
            // Its text is `signal: 9 (SIGKILL)`.
            (None, Some(_)) => format!("by {}", status.to_string().replacen(": ", " ", 1)),
            (None, None) => status.to_string(),
        },
        None => "and cannot be waited for".to_owned(),
    }
}
