//! Exit codes, as INTERFACE promises them.

use mixflow_core::ErrorKind;
use mixflow_core::report::{RunReport, Status};

/// How the process ends. The order is from good to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is done; also when the reader of the output went away.
    Done,
    /// Some partitions are missing.
    Partial,
    /// It failed.
    Failed,
    /// The command line or a pipeline file is wrong.
    Usage,
    /// The destination exists, is missing, is locked or of another shape.
    Destination,
    /// A rate limit or quota.
    Quota,
    /// Wrong credentials, or a missing permission.
    Auth,
    /// The user or the system asked to stop.
    Interrupted,
}

impl Exit {
    pub(crate) fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Auth => 4,
            Exit::Quota => 5,
            Exit::Destination => 6,
            Exit::Interrupted => 130,
        }
    }

    /// Returns the exit that a process has ended with.
    pub(crate) fn of_number(number: i32) -> Exit {
        let all = [
            Exit::Done,
            Exit::Partial,
            Exit::Usage,
            Exit::Destination,
            Exit::Quota,
            Exit::Auth,
            Exit::Interrupted,
        ];
        let found = all
            .into_iter()
            .find(|exit| i32::from(exit.number()) == number);
        found.unwrap_or(Exit::Failed)
    }

    /// Returns the exit of an error. Exhaustive, so that no kind is forgotten.
    pub(crate) fn of(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Config => Exit::Usage,
            ErrorKind::Auth => Exit::Auth,
            ErrorKind::Quota => Exit::Quota,
            ErrorKind::Destination
            | ErrorKind::TableExists
            | ErrorKind::TableNotFound
            | ErrorKind::Locked => Exit::Destination,
            ErrorKind::Interrupted => Exit::Interrupted,
            ErrorKind::Closed => Exit::Done,
            ErrorKind::Request
            | ErrorKind::Query
            | ErrorKind::Network
            | ErrorKind::Incomplete
            | ErrorKind::Data
            | ErrorKind::Io
            | ErrorKind::Panic
            | ErrorKind::Other => Exit::Failed,
        }
    }

    /// Returns the exit of a run.
    pub(crate) fn after(report: &RunReport) -> Exit {
        match report.status {
            Status::Committed | Status::Stopped => Exit::Done,
            Status::Partial if is_interrupted(report) => Exit::Interrupted,
            Status::Partial => Exit::Partial,
            Status::Aborted => report.error_kind().map_or(Exit::Failed, Exit::of),
        }
    }
}

impl From<()> for Exit {
    fn from((): ()) -> Exit {
        Exit::Done
    }
}

/// Returns whether a run was interrupted when some of its sinks had committed.
fn is_interrupted(report: &RunReport) -> bool {
    let mut errors = report.failed_sinks().filter_map(|sink| sink.error.as_ref());
    errors.any(|error| error.kind() == ErrorKind::Interrupted)
}
