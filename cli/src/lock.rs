//! One run at a time for each destination.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mixflow_core::cancel::CancelToken;
use mixflow_core::config::Seconds;
use mixflow_core::private;
use mixflow_core::sink::PATIENCE;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::real;
use serde::{Deserialize, Serialize};

use crate::ui::Ui;

/// How often a run that waits looks whether it is its turn.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Who writes to a destination, as the lock file tells the others.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Holder {
    pub(crate) pipeline: String,
    pub(crate) run_id: String,
    pub(crate) pid: u32,
}

/// How long a run waits for others that have its destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For another run of mixflow's, or a program that writes to the database,
    /// when the run starts.
    pub(crate) runs: Duration,
    /// For a program that has the database open, once rows are there.
    pub(crate) programs: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            runs: Duration::ZERO,
            programs: PATIENCE,
        }
    }
}

impl From<Option<Option<Seconds>>> for Patience {
    /// Takes `--wait`, which means for ever, and `--wait=TIME`.
    fn from(wait: Option<Option<Seconds>>) -> Patience {
        let both = |time| Patience {
            runs: time,
            programs: time,
        };
        match wait {
            None => Patience::default(),
            Some(None) => both(Duration::MAX),
            Some(Some(Seconds(time))) => both(time),
        }
    }
}

/// A locked file. The system unlocks it when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct DestinationLock {
    _file: File,
}

/// Locks `place` for a run of `holder`.
///
/// If another run has it, waits for its end up to `patience`, and then fails
/// with [`ErrorKind::Destination`]. A state folder that cannot be written is
/// no reason not to run: DuckDB has a lock of its own, and files are swapped.
pub(crate) fn lock(
    state: &Path,
    place: &Path,
    holder: &Holder,
    patience: Duration,
    ui: Ui,
    cancel: &CancelToken,
) -> Result<Option<DestinationLock>> {
    let path = lock_path(state, place);
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(error) => {
            log::warn!("cannot lock `{}`: {error}", path.display());
            return Ok(None);
        }
    };
    let asked = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::Error(error)) => {
                log::warn!("cannot lock `{}`: {error}", path.display());
                return Ok(None);
            }
            Err(std::fs::TryLockError::WouldBlock) => {}
        }
        let other = read(&mut file);
        let shown = place.display();
        let who = match other.pid {
            0 => "another run".to_owned(),
            pid => format!("the pipeline `{}` (PID {pid})", other.pipeline),
        };
        if asked.elapsed() >= patience {
            return Err(
                Error::new(ErrorKind::Destination, format!("cannot write to `{shown}`"))
                    .because(format!("{who} is writing to it"))
                    .hint("run it later, or with `--wait`"),
            );
        }
        if !told {
            ui.status(&format!("waiting for {who} to be done with {shown}"));
            told = true;
        }
        cancel.wait(LOOK_AGAIN)?;
    }
    if let Err(error) = write(&mut file, holder) {
        log::warn!("cannot write `{}`: {error}", path.display());
    }
    Ok(Some(DestinationLock { _file: file }))
}

/// Returns the lock file of a destination, whatever way its path is written.
fn lock_path(state: &Path, place: &Path) -> PathBuf {
    let real = real(place);
    let hash = xxhash_rust::xxh3::xxh3_64(real.as_os_str().as_encoded_bytes());
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    state.join("locks").join(format!("{name}-{hash:016x}.lock"))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        private::create_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private::file(&mut options).open(path)
}

fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_string(&mut text));
    match read {
        Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
        Err(_) => Holder::default(),
    }
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_string(holder)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}
