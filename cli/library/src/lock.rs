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
use mixflow_state::{Held, Locks, Tried, is_lockable, is_one, place};
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
    let mut lockable: Vec<&Destination> = lockable.collect();
    lockable.sort_by_cached_key(|one| (place(one).to_lowercase(), one.service.clone()));
    for (n, one) in lockable.iter().enumerate() {
        if let Some(other) = lockable[..n].iter().find(|other| is_one(one, other)) {
            return Err(written_twice(&one.uri, &other.uri));
        }
    }
    let mut all = Vec::new();
    for destination in lockable {
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

fn written_twice(uri: &str, other: &str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot write to `{uri}`"))
        .because(format!("another sink writes to it, as `{other}`"))
        .hint("give each sink a file or folder of its own")
}

/// Says who has a destination, by what they left there.
fn who(word: &str) -> String {
    let other: Holder = serde_json::from_str(word).unwrap_or_default();
    match other.pid {
        0 => "another run".to_owned(),
        pid => format!("the pipeline `{}` (PID {pid})", other.pipeline),
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::observer::Silent;

    use super::*;

    fn locked(folder: &Path, names: &[&str]) -> Result<Vec<Held>> {
        let destinations: Vec<Destination> = names
            .iter()
            .map(|name| Destination::at(folder.join(name)))
            .collect();
        let (state, cancel) = (folder.join("state"), CancelToken::never());
        let holder = Holder::default();
        let patience = Duration::ZERO;
        lock_all(
            Some(&state),
            &destinations,
            &holder,
            patience,
            &mut Silent,
            &cancel,
        )
    }

    #[test]
    fn all_destinations_are_locked_or_none() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let locked = |names: &[&str]| locked(folder.path(), names);
        let both = locked(&["b", "a"]).expect("nobody has them");
        for names in [&["a", "c"][..], &["c", "b"]] {
            let error = locked(names).expect_err("somebody has one of them");
            assert_eq!(error.kind(), ErrorKind::Locked);
        }
        // What was locked before the other one was found taken is free again.
        let other = locked(&["c"]).expect("nobody has it");
        drop((both, other));
        assert!(locked(&["a", "b", "c"]).is_ok());
    }

    #[test]
    fn names_of_one_file_are_found_before_anything_is_locked() {
        let folder = tempfile::tempdir().expect("a temp folder");
        std::fs::write(folder.path().join("a"), "").expect("it can be written");
        std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).expect("a link");
        for names in [["a", "b"], ["c", "C"], ["c", "./c"]] {
            let error = locked(folder.path(), &names).expect_err("they are one");
            assert_eq!(error.kind(), ErrorKind::Config, "{names:?}");
        }
    }
}
