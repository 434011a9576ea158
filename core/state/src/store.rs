//! The handle of a state folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::damage::set_aside;
use crate::failure::{Failure, Unavailable};
use crate::file::{self, Db};
use crate::import;
use crate::place::DATABASE;
use crate::turn::Turn;

/// How long what is asked for three times a second does without a database
/// that could not be used: a wait for a lock that does not come is long.
const REST: Duration = Duration::from_secs(10);

/// The state of a folder, for all threads of a process.
///
/// It is opened when it is first asked for something. Its methods wait for the
/// transactions of others, for 3 s at most.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    slot: Mutex<Slot>,
    notices: Mutex<Notices>,
    /// How SQLite comes to its files; tests have others.
    vfs: Option<&'static str>,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Closed,
    Open(Db),
    Failed {
        at: Instant,
        reason: String,
        for_good: bool,
    },
}

/// What a person is told.
#[derive(Debug, Default)]
struct Notices {
    warnings: Vec<String>,
    /// That the state cannot be used is told once.
    is_unavailable: bool,
}

impl State {
    /// Returns the state of a folder; the same one for everybody in a process
    /// who asks at a time, so that each thing is told once. Makes no I/O.
    pub fn at(folder: &Path) -> Arc<State> {
        static ALL: Mutex<Option<HashMap<PathBuf, Weak<State>>>> = Mutex::new(None);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        if let Some(state) = all.get(folder).and_then(Weak::upgrade) {
            return state;
        }
        all.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(State::new(folder, None));
        all.insert(folder.to_owned(), Arc::downgrade(&state));
        state
    }

    /// Opens the state of a folder now, as any use of it would, and makes the
    /// folder and the database if they are not there.
    ///
    /// Fails when it cannot be used: the folder cannot be written, the disk is
    /// full, a newer version has made it. A damaged file is no failure: it is
    /// set aside.
    pub fn open(folder: &Path) -> Result<Arc<State>, Unavailable> {
        let state = State::at(folder);
        state.with(|_| Ok(()))?;
        Ok(state)
    }

    pub(crate) fn new(folder: &Path, vfs: Option<&'static str>) -> State {
        State {
            folder: folder.to_owned(),
            slot: Mutex::default(),
            notices: Mutex::default(),
            vfs,
        }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns what a person should know and has not been told: that a damaged
    /// file was set aside, or that the state cannot be used.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.notices().warnings)
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything to read.
    pub(crate) fn exists(&self) -> bool {
        self.folder.join(DATABASE).exists() || self.folder.join(import::FILE).exists()
    }

    /// Whether there is nothing to read, for sure: not where the folder cannot
    /// be looked into.
    pub(crate) fn is_absent(&self) -> bool {
        let looked = self.folder.join(DATABASE).try_exists();
        !self.exists() && looked.is_ok()
    }

    /// Does something with the database.
    ///
    /// `work` is done once more, with a new database, if the file turns out to
    /// be damaged.
    pub(crate) fn with<T>(
        &self,
        mut work: impl FnMut(&mut Db) -> Result<T, Failure>,
    ) -> Result<T, Unavailable> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        self.attempt(&mut slot, &mut work)
            .map_err(|failure| self.fail(&mut slot, &failure))
    }

    /// As [`with`](State::with), but gives up at once if the database could
    /// not be used a moment ago.
    pub(crate) fn with_if_well<T>(
        &self,
        mut work: impl FnMut(&mut Db) -> Result<T, Failure>,
    ) -> Result<T, Unavailable> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Failed { at, reason, .. } = &*slot
            && at.elapsed() < REST
        {
            return Err(Unavailable(reason.clone()));
        }
        self.attempt(&mut slot, &mut work)
            .map_err(|failure| self.fail(&mut slot, &failure))
    }

    fn attempt<T>(
        &self,
        slot: &mut Slot,
        work: &mut impl FnMut(&mut Db) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        for _ in 0..2 {
            let db = self.ready(slot)?;
            match work(db) {
                Err(failure) if failure.is_damage() => self.set_aside(slot, &failure)?,
                done => return done,
            }
        }
        Err(Failure::DamagedAgain)
    }

    /// Returns the database, open, as the file that others find, too.
    fn ready<'a>(&self, slot: &'a mut Slot) -> Result<&'a mut Db, Failure> {
        let is_ready = match slot {
            Slot::Open(db) => db.is_in_place(),
            Slot::Failed {
                reason,
                for_good: true,
                ..
            } => return Err(Failure::Earlier(reason.clone())),
            _ => false,
        };
        if !is_ready {
            // The old one is closed first.
            *slot = Slot::Closed;
            let mut warnings = Vec::new();
            let opened = file::open(&self.folder, self.vfs, &mut warnings);
            self.notices().warnings.extend(warnings);
            *slot = Slot::Open(opened?);
        }
        match slot {
            Slot::Open(db) => Ok(db),
            _ => unreachable!("it was opened above"),
        }
    }

    fn set_aside(&self, slot: &mut Slot, failure: &Failure) -> Result<(), Failure> {
        let Slot::Open(db) = std::mem::take(slot) else {
            return Ok(());
        };
        let (path, seen) = (db.path().to_owned(), db.identity());
        // It is closed before it is moved: the last one to close a database
        // removes its log by name.
        drop(db);
        let turn = Turn::take(&self.folder)?;
        if let Some(name) = set_aside(&turn, &path, seen)? {
            let text = file::told(&self.folder, &name, failure);
            self.notices().warnings.push(text);
        }
        Ok(())
    }

    fn fail(&self, slot: &mut Slot, failure: &Failure) -> Unavailable {
        let reason = failure.to_string();
        *slot = Slot::Failed {
            at: Instant::now(),
            reason: reason.clone(),
            for_good: failure.is_for_good() || matches!(failure, Failure::Earlier(_)),
        };
        let mut notices = self.notices();
        if !notices.is_unavailable {
            notices.is_unavailable = true;
            notices.warnings.push(format!(
                "the state in `{}` cannot be used, so the history lacks this run, and the quota is not shared: {reason}",
                self.folder.display()
            ));
        }
        Unavailable(reason)
    }
}
