//! Whose turn it is to make, migrate or set aside the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mixflow_core::private;

use crate::failure::Failure;

/// What is done in a turn takes milliseconds, but for the first time after
/// years of history in the old form.
const PATIENCE: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The right to change which file is the database. The system gives it up for
/// a process that dies.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for the turn in a folder that is there.
    ///
    /// Fails if the folder cannot be written, or another process does not end.
    pub(crate) fn take(folder: &Path) -> Result<Turn, Failure> {
        let path = folder.join("state.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = private::file(&mut options).open(&path)?;
        let asked = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Err(TryLockError::WouldBlock) if asked.elapsed() >= PATIENCE => {
                    return Err(Failure::Held(path));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_AGAIN),
            }
        }
    }
}
