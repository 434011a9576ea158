//! How a run ends, also when a component panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Result};
use crate::sink::Residue;
use crate::source::Fate;

/// How a run ended.
pub(super) enum Ending {
    Committed { rows: u64, partial: bool },
    Stopped { rows: u64 },
    Aborted { error: Error, residue: Residue },
}

impl Ending {
    /// Returns the end of a run that has not begun to write.
    pub(super) fn nothing_done(error: Error) -> Ending {
        Ending::Aborted {
            error,
            residue: Residue::None,
        }
    }

    /// Returns why another attempt is to be made, if one is.
    pub(super) fn voids_plan(&self) -> Option<&Error> {
        match self {
            Ending::Aborted {
                error,
                residue: Residue::None,
            } if error.is_plan_void() => Some(error),
            _ => None,
        }
    }
}

/// Returns what becomes of what a session has read.
pub(super) fn fate_of(ending: &Ending) -> Fate {
    let Ending::Aborted { error, .. } = ending else {
        return Fate::Committed;
    };
    // Whoever has mended the destination wants to write it again.
    if error.is_in_doubt() {
        return Fate::Unfinished;
    }
    match error.kind() {
        ErrorKind::Auth
        | ErrorKind::Quota
        | ErrorKind::Destination
        | ErrorKind::TableExists
        | ErrorKind::TableNotFound
        | ErrorKind::Locked
        | ErrorKind::Request
        | ErrorKind::Query
        | ErrorKind::Network
        | ErrorKind::Incomplete
        | ErrorKind::Io
        | ErrorKind::Interrupted => Fate::Unfinished,
        ErrorKind::Config
        | ErrorKind::Data
        | ErrorKind::Closed
        | ErrorKind::Panic
        | ErrorKind::Other => Fate::Refused,
    }
}

/// Calls a component and turns its panic into an error.
pub(super) fn contained<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panicked(what, &*payload).fatal()),
    }
}

/// Tells a sink apart from its reader having gone away.
pub(super) fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}
