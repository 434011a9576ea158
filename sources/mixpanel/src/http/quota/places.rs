//! Requests at once, over all processes of a machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::private;

/// How often a process looks for a place that another one has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A number of places, each for one request.
///
/// Within a process they are a channel, which wakes whoever waits. Between
/// processes each is a locked file, which the system unlocks for a process
/// that dies.
#[derive(Debug)]
pub(super) struct Places {
    ours: (Sender<()>, Receiver<()>),
    folder: Option<PathBuf>,
    most: u32,
}

/// A permission to make one request. Dropping it gives the place back.
#[must_use]
pub(crate) struct Permit<'a> {
    ours: &'a Receiver<()>,
    _shared: Option<File>,
    /// When the request was booked.
    pub(super) booked: u64,
    /// The slot that other machines see it by.
    pub(super) slot: Option<String>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let _ = self.ours.try_recv();
    }
}

impl Places {
    pub(super) fn new(most: u32, folder: Option<PathBuf>) -> Places {
        let most = most.max(1);
        Places {
            ours: bounded(most as usize),
            folder,
            most,
        }
    }

    /// Waits for a place.
    pub(super) fn take(&self, cx: &UnitContext) -> Result<Permit<'_>> {
        cx.cancel.send(&self.ours.0, ())?;
        let mut permit = Permit {
            ours: &self.ours.1,
            _shared: None,
            booked: 0,
            slot: None,
        };
        loop {
            match self.shared() {
                Shared::Place(file) => {
                    permit._shared = Some(file);
                    return Ok(permit);
                }
                Shared::Nowhere => return Ok(permit),
                Shared::Full => cx.cancel.wait(LOOK_AGAIN)?,
            }
        }
    }

    fn shared(&self) -> Shared {
        let Some(folder) = &self.folder else {
            return Shared::Nowhere;
        };
        for n in 0..self.most {
            let file = match open(&folder.join(format!("place-{n}"))) {
                Ok(file) => file,
                Err(error) => {
                    log::warn!("cannot share places in `{}`: {error}", folder.display());
                    return Shared::Nowhere;
                }
            };
            match file.try_lock() {
                Ok(()) => return Shared::Place(file),
                Err(std::fs::TryLockError::WouldBlock) => {}
                Err(std::fs::TryLockError::Error(error)) => {
                    log::warn!("cannot lock a place in `{}`: {error}", folder.display());
                    return Shared::Nowhere;
                }
            }
        }
        Shared::Full
    }
}

/// Opens a file of the state folder, private to the user, and makes it if it
/// is not there.
fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        private::create_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private::file(&mut options).open(path)
}

enum Shared {
    Place(File),
    /// Other processes have them all.
    Full,
    /// There is no file to share.
    Nowhere,
}
