//! Whole bodies on their way to the archive.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::{Dataset, Fate};
use mixflow_core::unit::Unit;
use mixflow_source_archive::{Archive, NewBody};
use serde_json::Value;

use crate::http::body::Body;
use crate::http::hashing::Hashed;

/// Keeps the whole bodies of one run.
#[derive(Debug)]
pub(crate) struct Keeper {
    archive: Archive,
    dataset: Dataset,
    ours: Mutex<Vec<PathBuf>>,
}

impl Keeper {
    pub(crate) fn new(archive: Archive, dataset: Dataset) -> Keeper {
        Keeper {
            archive,
            dataset,
            ours: Mutex::default(),
        }
    }

    /// Keeps the body of a unit, which is known to be whole. `reading` is how it
    /// is to be read.
    ///
    /// A failure ends the run.
    pub(crate) fn keep(&self, unit: &Unit, reading: Value, body: &mut Body) -> Result<()> {
        let new = NewBody {
            dataset: &self.dataset,
            unit,
            fetched_at: body.asked_at(),
            body: body.decoded().map_err(unread)?,
            wire: body.wire().map_err(unread)?,
            reading,
        };
        let kept = body.give(|content| self.archive.keep(&new, content));
        let path = kept.map_err(unread)??;
        self.ours().push(path);
        Ok(())
    }

    /// Hears what became of the rows: those that were refused for what they say
    /// are not to be what a replay takes.
    pub(crate) fn finish(&self, fate: Fate) {
        if fate != Fate::Refused {
            return;
        }
        for path in self.ours().drain(..) {
            if let Err(error) = self.archive.refuse(&path) {
                log::warn!("{}", error.in_a_line());
            }
        }
    }

    /// Returns what of a body is to be hashed while it comes, if whoever keeps it is
    /// `keeper`.
    pub(crate) fn hashed(keeper: Option<&Keeper>) -> Hashed {
        match keeper {
            Some(_) => Hashed::Decoded,
            None => Hashed::AsItCame,
        }
    }

    fn ours(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot read what was fetched again").with_source(error)
}
