//! What runs that died have left, and how others see that a run is alive.
//!
//! A run writes its files where they will be read from, and no reader sees them
//! before the commit names them. So that somebody removes them if it never comes, a
//! run first leaves a *mark*: `_mixflow/<name>.run`, whose name its files have
//! too. In a folder the mark is locked, and the system unlocks it when the process
//! ends, however it does. A store has no locks: there the run writes its mark
//! anew every minute, and one that was silent for an hour is taken for dead.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mixflow_core::sink::Removed;
use mixflow_core::staged::cannot;
use mixflow_core::unit::DatasetKey;
use mixflow_core::{Error, ErrorKind, Result};
use object_store::{ObjectMeta, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::failed::store_failed;
use crate::names::{FILES, MARKS};
use crate::place::Place;
use crate::table::Table;

const RUN: &str = ".run";

/// How often a run in a store says that it is alive.
const BEAT: Duration = Duration::from_secs(60);

/// The silence after which a run in a store is taken for dead, in seconds.
const SILENCE: i64 = 3_600;

/// How often a mark is tried that others take away.
const TRIES: usize = 5;

/// Whose a mark is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whose {
    pub(crate) run_id: String,
    pub(crate) dataset: DatasetKey,
}

/// The mark of a run that is alive. Dropping it leaves the mark to the next run.
#[derive(Debug)]
pub(crate) struct Mark {
    place: Rc<Place>,
    name: String,
    /// Names that were given away.
    files: Cell<usize>,
    alive: Alive,
}

#[derive(Debug)]
enum Alive {
    Locked(#[expect(dead_code, reason = "held for its lock")] File),
    /// Where nothing can be locked nobody takes the run for dead, either.
    Unlocked,
    Beating(JoinHandle<()>),
}

impl Mark {
    /// Leaves the mark of a run.
    pub(crate) fn leave(place: &Rc<Place>, whose: &Whose) -> Result<Mark> {
        // Of one run there may be two, when it is sent twice.
        let name = format!("{}-{:08x}", whose.run_id, fastrand::u32(..));
        let text = serde_json::to_vec(whose).map_err(|error| {
            Error::new(ErrorKind::Other, "cannot write the mark of the run").with_source(error)
        })?;
        let alive = match place.folder() {
            Some(folder) => {
                let path = folder.join(MARKS).join(format!("{name}{RUN}"));
                locked(path, &text)
                    .map_err(cannot(format_args!("write into `{}`", place.shown())))?
            }
            None => Alive::Beating(beating(place, &format!("{MARKS}{name}{RUN}"), text)?),
        };
        Ok(Mark {
            place: Rc::clone(place),
            name,
            files: Cell::new(0),
            alive,
        })
    }

    /// Returns the name of the next file of the run, in the folder of its day.
    pub(crate) fn next_file(&self, date: Option<jiff::civil::Date>) -> String {
        let n = self.files.replace(self.files.get() + 1);
        let name = format!("{FILES}{}-{n}.parquet", self.name);
        match date {
            Some(date) => format!("date={date}/{name}"),
            None => name,
        }
    }

    /// Returns where the run may stage its commit, in a folder.
    pub(crate) fn staged(&self) -> String {
        format!("{MARKS}{}.commit", self.name)
    }

    fn path(&self) -> String {
        format!("{MARKS}{}{RUN}", self.name)
    }

    /// Fails if somebody has taken the run for dead, and its files with it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.exists()? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Destination,
            format!("cannot commit to `{}`", self.place.shown()),
        )
        .because("this run was silent for so long that another one has removed its files")
        .hint("run it again"))
    }

    fn exists(&self) -> Result<bool> {
        let key = self.place.key(&self.path());
        match self.place.runtime().block_on(self.place.store().head(&key)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(store_failed("read the mark of the run")(error)),
        }
    }

    /// Takes the mark away, when nothing is left to remove.
    pub(crate) fn remove(self) -> Result<()> {
        self.still();
        self.place.delete(&self.path())?;
        if let Some(folder) = self.place.folder() {
            // Staged, and published under another name, or not.
            let _ = fs::remove_file(folder.join(self.staged()));
            // Others may have theirs in it.
            let _ = fs::remove_dir(folder.join(MARKS));
        }
        Ok(())
    }

    fn still(&self) {
        if let Alive::Beating(task) = &self.alive {
            task.abort();
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.still();
    }
}

/// Writes a mark and locks it.
///
/// Between the two another run may take it for one that was left behind and
/// remove it; then it is made anew.
fn locked(path: PathBuf, text: &[u8]) -> io::Result<Alive> {
    let make = || -> io::Result<File> {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut file = File::create(&path)?;
        file.write_all(text)?;
        Ok(file)
    };
    for _ in 1..TRIES {
        let Ok(file) = make() else { continue };
        if file.try_lock().is_ok() && path.exists() {
            return Ok(Alive::Locked(file));
        }
    }
    make().map(|_| Alive::Unlocked)
}

/// Writes a mark now, and anew as long as the run lives.
fn beating(place: &Rc<Place>, path: &str, text: Vec<u8>) -> Result<JoinHandle<()>> {
    let (store, key) = (Arc::clone(place.store()), place.key(path));
    let put = place
        .runtime()
        .block_on(store.put(&key, text.clone().into()));
    put.map_err(store_failed(format_args!("write into `{}`", place.shown())))?;
    Ok(place.runtime().spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await;
            if let Err(error) = store.put(&key, text.clone().into()).await {
                log::debug!("cannot write the mark of the run: {error}");
            }
        }
    }))
}

/// Removes what runs that died have left at `place`. `table` is what is there now.
pub(crate) fn sweep(place: &Rc<Place>, table: Option<&Table>) -> Result<Removed> {
    let mut swept = Removed::default();
    let dead = dead(place)?;
    if dead.is_empty() {
        return Ok(swept);
    }
    let live: BTreeSet<String> = match table {
        Some(table) => {
            let files = table.files(place)?.live.into_iter();
            files.map(|file| file.path).collect()
        }
        None => BTreeSet::new(),
    };
    let all = place.list("", usize::MAX)?;
    for mark in dead {
        let prefix = format!("{FILES}{}-", mark.name);
        let is_its = |path: &str| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with(&prefix))
        };
        let committed = live.iter().any(|path| is_its(path))
            || table.is_some_and(|table| mark.has_committed(table));
        if !committed {
            for (path, meta) in all.iter().filter(|(path, _)| is_its(path)) {
                place.delete(path)?;
                remove_empty(place, path);
                swept.files += 1;
                swept.bytes += meta.size;
            }
        }
        let marks = format!("{MARKS}{}.", mark.name);
        for (path, _) in all.iter().filter(|(path, _)| path.starts_with(&marks)) {
            place.delete(path)?;
        }
    }
    remove_empty(place, MARKS);
    if swept.files > 0 {
        log::info!(
            "removed {} files of `{}`, left by runs that died",
            swept.files,
            place.shown()
        );
    }
    Ok(swept)
}

/// Removes the folder that a file was in, if it is one and empty.
pub(crate) fn remove_empty(place: &Place, path: &str) {
    if let (Some(folder), Some((day, _))) = (place.folder(), path.split_once('/')) {
        let _ = fs::remove_dir(folder.join(day));
    }
}

/// The mark of a run that died.
struct Dead {
    name: String,
    /// Unknown, if it died while it wrote its mark.
    whose: Option<Whose>,
    /// So that nobody else takes care of it at the same time.
    _lock: Option<File>,
}

impl Dead {
    fn has_committed(&self, table: &Table) -> bool {
        self.whose
            .as_ref()
            .is_some_and(|whose| table.ledger.files.has_run(&whose.dataset, &whose.run_id))
    }
}

fn dead(place: &Rc<Place>) -> Result<Vec<Dead>> {
    let marks = place.list(MARKS.trim_end_matches('/'), usize::MAX)?;
    let runs = marks.iter().filter_map(|(path, meta)| {
        let name = path.strip_prefix(MARKS)?.strip_suffix(RUN)?;
        Some((name.to_owned(), path, meta))
    });
    let runs: Vec<_> = runs.collect();
    let now = match (place.folder(), runs.is_empty()) {
        (None, false) => Some(now(place)?),
        _ => None,
    };
    let mut dead = Vec::new();
    for (name, path, meta) in runs {
        let lock = match (place.folder(), now) {
            (Some(folder), _) => match lock_of_dead(&folder.join(path)) {
                Some(lock) => Some(lock),
                None => continue,
            },
            (None, Some(now)) if is_silent(meta, now) => None,
            (None, _) => continue,
        };
        let text = place.read(path).unwrap_or_default();
        dead.push(Dead {
            name,
            whose: serde_json::from_slice(&text).ok(),
            _lock: lock,
        });
    }
    Ok(dead)
}

fn lock_of_dead(path: &std::path::Path) -> Option<File> {
    File::open(path).ok().filter(|file| file.try_lock().is_ok())
}

fn is_silent(meta: &ObjectMeta, now: i64) -> bool {
    now - meta.last_modified.timestamp() > SILENCE
}

/// Returns the time by the clock of a store, in seconds since 1970: by it marks
/// are dated, and by no other they can be compared.
fn now(place: &Rc<Place>) -> Result<i64> {
    let path = format!("{MARKS}{:016x}.now", fastrand::u64(..));
    let key = place.key(&path);
    let store = place.store();
    let asked = async {
        store.put(&key, Vec::new().into()).await?;
        store.head(&key).await
    };
    let meta = place.runtime().block_on(asked);
    place.delete(&path)?;
    let what = format_args!("ask the store of `{}` what time it is", place.shown());
    Ok(meta.map_err(store_failed(what))?.last_modified.timestamp())
}
