//! One run at a time for each destination.

use std::path::Path;
use std::time::{Duration, Instant};

use mixflow_core::cancel::CancelToken;
use mixflow_core::context::Notice;
use mixflow_core::destination::Destination;
use mixflow_core::observer::{Observer, RunEvent};
use mixflow_core::remedy::Remedy;
use mixflow_core::sink::PATIENCE;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::{Held, Locks, Tried, is_lockable, place};
use serde::{Deserialize, Serialize};

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
pub struct Patience {
    /// For another run of mixflow's, or a program that writes to the database,
    /// when the run starts.
    pub runs: Duration,
    /// For a program that has the database open, once rows are there.
    pub programs: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            runs: Duration::ZERO,
            programs: PATIENCE,
        }
    }
}

/// Locks all destinations for a run of `holder`, in an order that is the same
/// for every run, so that two runs do not wait for each other.
///
/// Fails with [`ErrorKind::Config`] if two of them are the same file or folder,
/// and as [`lock`] does; then none is locked.
pub(crate) fn lock_all(
    state: Option<&Path>,
    destinations: &[Destination],
    holder: &Holder,
    patience: Duration,
    observer: &mut dyn Observer,
    cancel: &CancelToken,
) -> Result<Vec<Held>> {
    let lockable = destinations.iter().filter(|one| is_lockable(one));
    let mut places: Vec<(String, &Destination)> = lockable.map(|one| (place(one), one)).collect();
    places.sort_by(|one, other| one.0.cmp(&other.0));
    if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (one, other) = (&pair[0].1.uri, &pair[1].1.uri);
        return Err(
            Error::new(ErrorKind::Config, format!("cannot write to `{one}`"))
                .because(format!("another sink writes to it, as `{other}`"))
                .hint("give each sink a file or folder of its own"),
        );
    }
    let mut all = Vec::new();
    for (_, destination) in places {
        all.extend(lock(
            state,
            destination,
            holder,
            patience,
            observer,
            cancel,
        )?);
    }
    Ok(all)
}

/// Locks the destination for a run of `holder`; `None` if there is nothing to
/// lock, or no place to do it.
///
/// If another run has it, waits for its end up to `patience`, and then fails
/// with [`ErrorKind::Locked`]. A folder of locks that cannot be written is
/// no reason not to run: DuckDB has a lock of its own, and files are swapped.
fn lock(
    state: Option<&Path>,
    destination: &Destination,
    holder: &Holder,
    patience: Duration,
    observer: &mut dyn Observer,
    cancel: &CancelToken,
) -> Result<Option<Held>> {
    if !is_lockable(destination) {
        return Ok(None);
    }
    let (locks, warning) = Locks::open(state);
    if let Some(warning) = warning {
        observer.on_event(&RunEvent::Notice(&Notice::Warning(warning)));
    }
    let word = serde_json::to_string(holder).unwrap_or_default();
    let asked = Instant::now();
    let mut told = false;
    loop {
        let who = match locks.try_lock(destination, &word) {
            Tried::Held(held) => return Ok(Some(held)),
            Tried::Nowhere => return Ok(None),
            Tried::Taken(word) => who(&word),
        };
        let shown = &destination.uri;
        if asked.elapsed() >= patience {
            return Err(
                Error::new(ErrorKind::Locked, format!("cannot write to `{shown}`"))
                    .because(format!("{who} is writing to it"))
                    .with_remedy(Remedy::Wait),
            );
        }
        if !told {
            observer.on_event(&RunEvent::Queued {
                behind: &who,
                destination: shown,
            });
            told = true;
        }
        cancel.wait(LOOK_AGAIN)?;
    }
}

/// Says who has a destination, by what they left there.
fn who(word: &str) -> String {
    let other: Holder = serde_json::from_str(word).unwrap_or_default();
    match other.pid {
        0 => "another run".to_owned(),
        pid => format!("the pipeline `{}` (PID {pid})", other.pipeline),
    }
}
