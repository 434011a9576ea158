//! What is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::BodyFacts;
use mixflow_core::staged::cannot;
use mixflow_core::unit::Dataset;

use crate::archive::Archive;
use crate::hash;
use crate::name::Stem;
use crate::note::{Facts, Note};
use crate::remote::Bucket;
use crate::staging;

/// A body that is kept, or of which something else says that it is.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What is known of it.
    pub note: Result<Note, Flaw>,
    /// The day whose folder it is in: the unit's first one.
    pub day: Date,
    /// The body's file.
    pub path: PathBuf,
    pub(crate) stem: Stem,
    pub(crate) is_there: bool,
    /// Its name in a bucket, if it is in one.
    pub(crate) object: Option<(Bucket, String)>,
}

/// Why nothing is known of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// There is no file that says it.
    NoNote,
    /// The file that says it is damaged, or cannot be read, for this reason.
    BadNote(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoNote => f.write_str("there is no `.json` beside it that says what it is"),
            Flaw::BadNote(reason) => write!(f, "the `.json` beside it cannot be used: {reason}"),
        }
    }
}

impl Kept {
    /// Returns the digits of its unit's key, as its name has them.
    pub fn unit_key(&self) -> &str {
        self.stem.key()
    }

    /// Returns what a session says of the body when it reads a unit from it.
    pub fn body_facts(&self) -> BodyFacts {
        let note = self.note.as_ref().ok();
        BodyFacts {
            fetched_at: self.fetched_at(),
            sha256: note.map(|note| note.wire().sha256.to_string()),
        }
    }

    /// Returns when it was fetched.
    pub fn fetched_at(&self) -> Timestamp {
        match &self.note {
            Ok(note) => note.fetched_at,
            Err(_) => self.stem.fetched_at(),
        }
    }

    /// Returns whether a run has refused its rows for what they say.
    pub fn is_refused(&self) -> bool {
        self.note.as_ref().is_ok_and(|note| note.refused)
    }

    /// Opens the body, having compared it with its hash from the first byte to
    /// the last.
    ///
    /// Fails when it is not what was fetched, or that is not known; with
    /// [`ErrorKind::Interrupted`] when it is cancelled.
    pub fn open(&self, cancel: &CancelToken) -> Result<File> {
        let refuse = |reason: String| {
            let message = format!("`{}` cannot be used", self.path.display());
            Error::new(ErrorKind::Data, message).because(reason)
        };
        let note = self
            .note
            .as_ref()
            .map_err(|flaw| refuse(flaw.to_string()))?;
        let mut file = self.file()?;
        let found = hash::copy(&mut file, |_| cancel.check().map_err(io::Error::other));
        cancel.check()?;
        let found = found.map_err(cannot(format!("read `{}`", self.path.display())))?;
        difference(&note.file, &found.into()).map_or(Ok(()), |reason| Err(refuse(reason)))?;
        file.seek(SeekFrom::Start(0))
            .map_err(cannot(format!("read `{}`", self.path.display())))?;
        Ok(file)
    }
}

impl Kept {
    /// Returns the body's file, of a bucket a copy without a name.
    fn file(&self) -> Result<File> {
        let what = || format!("read `{}`", self.path.display());
        let Some((bucket, name)) = &self.object else {
            return File::open(&self.path).map_err(cannot(what()));
        };
        let mut file = bucket.unnamed().map_err(cannot(what()))?;
        if !bucket.remote.download(name, &mut file)? {
            return Err(cannot(what())(io::ErrorKind::NotFound.into()));
        }
        file.seek(SeekFrom::Start(0)).map_err(cannot(what()))?;
        Ok(file)
    }
}

impl From<(u64, hash::Hash)> for Facts {
    fn from((bytes, sha256): (u64, hash::Hash)) -> Facts {
        Facts { bytes, sha256 }
    }
}

/// Says how what is there differs from what was written.
pub(crate) fn difference(written: &Facts, found: &Facts) -> Option<String> {
    if written == found {
        return None;
    }
    Some(if written.bytes == found.bytes {
        "it has other bytes than were fetched".to_owned()
    } else {
        format!(
            "it has {} bytes where {} were written",
            found.bytes, written.bytes
        )
    })
}

impl Archive {
    /// Returns what is kept of the project and kind of `dataset`, of whatever
    /// filters: first what was refused, then the others, each in the order in
    /// which they were fetched.
    ///
    /// Nothing is there if the folder is not. Fails when it cannot be read.
    pub fn kept(&self, dataset: &Dataset) -> Result<Vec<Kept>> {
        let folder = self.folder(dataset);
        let mut all = match self.bucket() {
            Some(bucket) => self.objects(bucket, &format!("{}/", self.name(&folder)))?,
            None => self.looked_through(|all| kind_folder(&folder, all))?,
        };
        all.kept.sort_by(|one, other| {
            let order = |kept: &Kept| (!kept.is_refused(), kept.fetched_at(), kept.stem.clone());
            order(one).cmp(&order(other))
        });
        Ok(all.kept)
    }

    /// Returns all bodies that are kept, by project, kind and day.
    ///
    /// None are if the folder is not there. Fails when it cannot be read.
    pub fn list(&self) -> Result<Vec<Kept>> {
        Ok(self.all()?.kept)
    }

    /// Returns all that is there, by project, kind and day.
    pub(crate) fn all(&self) -> Result<Found> {
        if let Some(bucket) = self.bucket() {
            return self.objects(bucket, "");
        }
        self.looked_through(|all| {
            for project in folders(self.path())? {
                for kind in folders(&project)? {
                    kind_folder(&kind, all)?;
                }
            }
            Ok(())
        })
    }

    /// Returns what is kept in a bucket below a folder.
    pub(crate) fn objects(&self, bucket: &Bucket, below: &str) -> Result<Found> {
        let mut all = Found::default();
        let mut folders: BTreeMap<(String, Date), Names> = BTreeMap::new();
        for listed in bucket.remote.list(below)? {
            let (folder, name) = listed.name.rsplit_once('/').unwrap_or_default();
            let parts: Vec<&str> = folder.split('/').collect();
            let day = match parts.as_slice() {
                [_, _, day] => day.parse::<Date>().ok(),
                _ => None,
            };
            match day {
                Some(day) => {
                    let names = folders.entry((folder.to_owned(), day)).or_default();
                    if !names.add(name) {
                        all.strange.push(self.path().join(&listed.name));
                    }
                }
                // Where it is tried whether anything can be written.
                None if name.starts_with(".try.") => {}
                None => all.strange.push(self.path().join(&listed.name)),
            }
        }
        let notes = folders.iter().flat_map(|((folder, _), names)| {
            let notes = names.notes.iter().map(Stem::note);
            let staged = names.staged.values().flatten().cloned();
            notes
                .chain(staged)
                .map(move |name| format!("{folder}/{name}"))
        });
        let notes: Vec<String> = notes.collect();
        let read = bucket.remote.read(&notes)?;
        let read: BTreeMap<String, Option<Vec<u8>>> = notes.into_iter().zip(read).collect();
        for ((folder, day), names) in folders {
            let read = |name: &str| match read.get(&format!("{folder}/{name}")) {
                Some(Some(text)) => Note::read(text).map_err(Flaw::BadNote),
                _ => Err(Flaw::NoNote),
            };
            let path = self.path().join(&folder);
            all.kept.extend(names.kept(day, &path, read).map(|kept| {
                let name = format!("{folder}/{}", kept.stem.body());
                Kept {
                    object: Some((bucket.clone(), name)),
                    ..kept
                }
            }));
        }
        Ok(all)
    }

    fn looked_through(&self, look: impl FnOnce(&mut Found) -> io::Result<()>) -> Result<Found> {
        let mut all = Found::default();
        let path = self.path().display();
        look(&mut all).map_err(cannot(format!("read the archive `{path}`")))?;
        Ok(all)
    }
}

/// What is found in an archive.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) kept: Vec<Kept>,
    /// What no run has put there.
    pub(crate) strange: Vec<PathBuf>,
}

/// Returns the folders in a folder, in the order of their names; none if it is
/// not there.
fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = names_in(path)?;
    let is_folder = |(name, path): &(String, PathBuf)| !name.starts_with('.') && path.is_dir();
    Ok(entries
        .into_iter()
        .filter(is_folder)
        .map(|(_, path)| path)
        .collect())
}

fn names_in(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push((name, entry.path()));
    }
    names.sort();
    Ok(names)
}

/// Looks through the days of one kind of data.
fn kind_folder(folder: &Path, all: &mut Found) -> io::Result<()> {
    for (name, path) in names_in(folder)? {
        match name.parse::<Date>() {
            Ok(day) if path.is_dir() => day_folder(&path, day, all)?,
            // Where it is tried whether anything can be written.
            _ if name.starts_with(".try.") => {}
            _ => all.strange.push(path),
        }
    }
    Ok(())
}

fn day_folder(folder: &Path, day: Date, all: &mut Found) -> io::Result<()> {
    let mut names = Names::default();
    for (name, path) in names_in(folder)? {
        if !names.add(&name) {
            all.strange.push(path);
        }
    }
    let kept = names.kept(day, folder, |name| read(&folder.join(name)));
    all.kept.extend(kept);
    Ok(())
}

/// What is in the folder of a day, by what the names say.
#[derive(Default)]
struct Names {
    bodies: BTreeSet<Stem>,
    notes: BTreeSet<Stem>,
    staged: BTreeMap<Stem, Vec<String>>,
}

impl Names {
    /// Adds a name, and returns whether it is one of ours.
    fn add(&mut self, name: &str) -> bool {
        if let Some(stem) = Stem::of_body(name) {
            self.bodies.insert(stem);
        } else if let Some(stem) = Stem::of_note(name) {
            self.notes.insert(stem);
        } else if let Some(stem) = staging::note_of(name) {
            self.staged.entry(stem).or_default().push(name.to_owned());
        } else {
            return staging::is_staged(name);
        }
        true
    }

    /// Returns what is kept in the folder, whose notes are to be had by their names.
    fn kept(
        self,
        day: Date,
        folder: &Path,
        read: impl Fn(&str) -> Result<Note, Flaw>,
    ) -> impl Iterator<Item = Kept> {
        let stems: BTreeSet<Stem> = self.bodies.union(&self.notes).cloned().collect();
        let folder = folder.to_owned();
        stems.into_iter().map(move |stem| {
            let mut note = Err(Flaw::NoNote);
            let staged = self.staged.get(&stem).into_iter().flatten().cloned();
            // The last one again: it may have got its name meanwhile.
            let places = [stem.note()].into_iter();
            for place in places.clone().chain(staged).chain(places) {
                note = match read(&place) {
                    // What stands under its name is what counts.
                    Err(Flaw::NoNote) => continue,
                    read => read,
                };
                break;
            }
            Kept {
                note,
                day,
                path: folder.join(stem.body()),
                is_there: self.bodies.contains(&stem),
                stem,
                object: None,
            }
        })
    }
}

fn read(path: &Path) -> Result<Note, Flaw> {
    match fs::read(path) {
        Ok(text) => Note::read(&text).map_err(Flaw::BadNote),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Flaw::NoNote),
        Err(error) => Err(Flaw::BadNote(error.to_string())),
    }
}

/// Returns what is kept in the folder of one day.
pub(crate) fn kept_on(folder: &Path, day: Date) -> io::Result<Vec<Kept>> {
    let mut all = Found::default();
    match day_folder(folder, day, &mut all) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(all.kept),
    }
}
