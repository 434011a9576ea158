//! How the body of a window is to be read.

use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_source_archive::Kept;
use serde::{Deserialize, Serialize};

/// What must be known of a body to read it, beside its dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// Whether its times were asked for in milliseconds.
    pub(super) time_in_ms: bool,
}

impl Reading {
    /// Returns what is noted of a body.
    pub(super) fn of(kept: &Kept) -> Result<Reading> {
        let refuse = || {
            let path = kept.path.display();
            Error::new(ErrorKind::Data, format!("cannot tell how to read `{path}`"))
        };
        let note = kept.note.as_ref();
        let note = note.map_err(|flaw| refuse().because(flaw.to_string()))?;
        Reading::deserialize(&note.reading).map_err(|error| refuse().with_source(error))
    }
}
