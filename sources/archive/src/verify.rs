//! Whether what is kept is what was fetched.

use std::path::PathBuf;

use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{ErrorKind, Result};

use crate::archive::Archive;
use crate::kept::{Flaw, Kept};

/// What a look at every byte of an archive has found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How many bodies there should be.
    pub bodies: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// What is not as it was written.
    pub differences: Vec<Difference>,
}

/// A file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub path: PathBuf,
    /// In a word: `damaged`, `gone`, `unknown`.
    pub what: &'static str,
    /// How it differs.
    pub reason: String,
}

impl Archive {
    /// Compares every file with the hash that was made while it was fetched.
    ///
    /// Also finds files that are gone, and those that no run has put there.
    /// Fails when the folder cannot be read, and when it is cancelled.
    pub fn verify(&self, cancel: &CancelToken) -> Result<Verdict> {
        let all = self.all()?;
        let mut verdict = Verdict::default();
        for kept in &all.kept {
            verdict.bodies += 1;
            verdict.bytes += kept.note.as_ref().map_or(0, |note| note.file.bytes);
            verdict.differences.extend(difference(kept, cancel)?);
        }
        let strange = all.strange.into_iter().map(|path| Difference {
            path,
            what: "unknown",
            reason: "no run has put it there".to_owned(),
        });
        verdict.differences.extend(strange);
        Ok(verdict)
    }
}

fn difference(kept: &Kept, cancel: &CancelToken) -> Result<Option<Difference>> {
    let differs = |what, reason| {
        Ok(Some(Difference {
            path: kept.path.clone(),
            what,
            reason,
        }))
    };
    if !kept.is_there {
        return differs(
            "gone",
            "there is only the `.json` that tells of it".to_owned(),
        );
    }
    match &kept.note {
        Err(flaw @ Flaw::NoNote) => return differs("unknown", flaw.to_string()),
        Err(flaw @ Flaw::BadNote(_)) => return differs("damaged", flaw.to_string()),
        Ok(_) => {}
    }
    match kept.open(cancel) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
        Err(error) => differs("damaged", error.causes().join(": ")),
    }
}
