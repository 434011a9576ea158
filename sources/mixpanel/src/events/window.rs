//! One window of events, and what asking for it takes.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use mixflow_core::error::{Error, ErrorKind};
use mixflow_core::unit::Unit;

use super::part::Part;
use super::reading::Reading;
use super::windows::Window;
use crate::decode::Decoder;
use crate::http::checkpoint::Checkpoints;
use crate::http::client::{Client, Request};
use crate::http::hashing::Hashed;
use crate::http::room::Room;
use crate::keeper::Keeper;

/// One window of days.
pub(super) struct EventWindow<'a> {
    pub(super) unit: &'a Unit,
    pub(super) days: Window,
    /// Decodes its lines. It has no rows, and others like it are made.
    pub(super) decoder: Decoder,
    pub(super) reading: Reading,
    /// The filters, as they are sent.
    pub(super) query: &'a [(&'static str, String)],
    /// The events that these name.
    pub(super) names: &'a [String],
    /// Whether not all that there is is asked for.
    pub(super) is_limited: bool,
    /// Whether days of the dataset have come whole before.
    pub(super) knows_days: bool,
    /// Whether a window of the run was too large for one answer.
    pub(super) was_too_large: &'a AtomicBool,
    pub(super) client: &'a Client,
    pub(super) spool: Option<&'a Path>,
    pub(super) room: &'a Room,
    /// Where bodies are kept for the next run, should this one die.
    pub(super) checkpoints: Option<&'a Checkpoints>,
    /// Where the body is kept for good.
    pub(super) keeper: Option<&'a Keeper>,
}

impl EventWindow<'_> {
    /// Returns the request for a part.
    pub(super) fn request(&self, part: &Part) -> Request {
        Request {
            query: part.query(self.query),
            form: None,
            counts: true,
        }
    }

    /// Returns what of the body is to be hashed while it comes.
    pub(super) fn hashed(&self) -> Hashed {
        Keeper::hashed(self.keeper)
    }
}

/// Returns the error of a body that cannot be kept, or read again.
pub(super) fn spool_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot keep the export on disk")
        .with_source(error)
        .hint("free space for temporary files, or fetch smaller windows with `window_days`")
}
