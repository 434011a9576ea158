//! How a run ends, and each of its sinks, also when a component panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::pipeline::Pipeline;
use super::sinks::NamedSink;
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{RunReport, SinkReport, Status};
use crate::sink::Residue;
use crate::source::Fate;

/// How a run ended, or one of its sinks.
#[derive(Clone)]
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

/// Returns how a run ended whose sinks ended so: as well as the best of them, but
/// partial if one has failed. `error` is why none has committed.
pub(super) fn together(endings: &[Ending], error: Option<Error>) -> Ending {
    let (mut most, mut whole, mut failure) = (None, true, None);
    let mut residue = Residue::None;
    for ending in endings {
        match ending {
            Ending::Committed { rows, partial } => {
                most = most.max(Some(*rows));
                whole &= !partial;
            }
            Ending::Stopped { rows } => residue = worse(residue, Residue::Rows(*rows)),
            Ending::Aborted {
                error,
                residue: own,
            } => {
                whole = false;
                residue = worse(residue, *own);
                failure = failure.or(Some(error));
            }
        }
    }
    match (most, failure, residue) {
        (Some(rows), _, _) => Ending::Committed {
            rows,
            partial: !whole,
        },
        (None, Some(failure), residue) => Ending::Aborted {
            error: error.unwrap_or_else(|| failure.clone()),
            residue,
        },
        (None, None, Residue::Rows(rows)) => Ending::Stopped { rows },
        (None, None, _) => Ending::Stopped { rows: 0 },
    }
}

/// Returns what remains at two destinations, as far as it can be said in one
/// word.
fn worse(one: Residue, other: Residue) -> Residue {
    match (one, other) {
        (Residue::Unknown, _) | (_, Residue::Unknown) => Residue::Unknown,
        (Residue::Rows(one), Residue::Rows(other)) => Residue::Rows(one.max(other)),
        (Residue::Rows(rows), Residue::None) | (Residue::None, Residue::Rows(rows)) => {
            Residue::Rows(rows)
        }
        (Residue::None, Residue::None) => Residue::None,
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

/// Returns how each of several sinks ended; `run` is how those did of which
/// nothing is known, since they had not begun.
pub(super) fn sink_reports(
    pipeline: &Pipeline,
    endings: &[Ending],
    run: &Ending,
) -> Vec<SinkReport> {
    if !pipeline.sinks.are_several() {
        return Vec::new();
    }
    let endings = endings.iter().chain(std::iter::repeat(run));
    let sinks = pipeline.sinks.iter().zip(pipeline.destinations());
    sinks
        .zip(endings)
        .map(|((named, place), ending)| sink_report(named, place, ending.clone()))
        .collect()
}

fn sink_report(named: &NamedSink, destination: Destination, ending: Ending) -> SinkReport {
    let mut run = RunReport::default();
    conclude(&mut run, ending);
    SinkReport {
        sink: named.kind.clone(),
        table: destination.table.clone(),
        destination,
        status: run.status,
        row_count: run.row_count,
        residue: run.residue,
        units: named.units.clone(),
        error: run.error,
    }
}

/// Notes how the run ended.
pub(super) fn conclude(report: &mut RunReport, ending: Ending) {
    match ending {
        Ending::Committed { rows, partial } => {
            report.row_count = rows;
            report.status = if partial {
                Status::Partial
            } else {
                Status::Committed
            };
        }
        Ending::Stopped { rows } => {
            report.row_count = rows;
            report.status = Status::Stopped;
        }
        Ending::Aborted { error, residue } => {
            if let Residue::Rows(rows) = residue {
                report.row_count = rows;
            }
            report.status = Status::Aborted;
            report.residue = residue;
            report.error = Some(error);
        }
    }
}
