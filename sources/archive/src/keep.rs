//! Adding a body: whole, or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::error::Result;
use mixflow_core::staged::{cannot, folder_of};
use mixflow_core::unit::{Dataset, Extent, Unit};
use serde_json::Value;

use crate::archive::Archive;
use crate::hash;
use crate::kept::{Kept, difference, kept_on};
use crate::name::Stem;
use crate::note::{Facts, Note};
use crate::staging::{Staged, sweep};

/// A body that is known to be whole.
#[derive(Clone, Debug)]
pub struct NewBody<'a> {
    /// Which data it is a part of.
    pub dataset: &'a Dataset,
    /// Which part.
    pub unit: &'a Unit,
    /// When it was asked for.
    pub fetched_at: Timestamp,
    /// What it is before compression, counted while it came.
    pub body: Facts,
    /// What it is as it came.
    pub wire: Facts,
    /// How it is to be read, in its source's own terms.
    pub reading: Value,
}

/// The bytes of a body.
pub enum Content<'a> {
    /// Compressed as it came.
    Gzip {
        /// The bytes.
        reader: &'a mut dyn Read,
        /// What they are, counted while they came.
        facts: Facts,
        /// A file of just these bytes, synced, which another name may be given.
        file: Option<&'a Path>,
    },
    /// Not compressed.
    Plain(&'a mut dyn Read),
}

impl Archive {
    /// Keeps a body.
    ///
    /// It has its name only when it is complete and synced. What is there
    /// already, from another run or as a file that may be linked, takes no more
    /// room on the disk. Blocks until it is safe.
    ///
    /// Returns the body's file. Fails when it cannot be written, which ends a
    /// run: what was to be kept must not get lost quietly. Then nothing of it is
    /// left behind.
    pub fn keep(&self, new: &NewBody<'_>, content: Content<'_>) -> Result<PathBuf> {
        let (label, path) = (&new.unit.label, self.path().display());
        self.try_to_keep(new, content)
            .map_err(cannot(format!("keep {label} in the archive `{path}`")))
            .map_err(|error| match error.hint_text() {
                Some(_) => error.fatal(),
                None => error
                    .hint("make the folder writable, or run it without `[archive]`; what was fetched is not asked for again for a day")
                    .fatal(),
            })
    }

    /// Notes that a run has refused the rows of the body at `path` for what they
    /// say, so that it counts only where there is no other.
    ///
    /// Fails when that cannot be written.
    pub fn refuse(&self, path: &Path) -> Result<()> {
        let refused = || {
            let folder = folder_of(path);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = Stem::of_body(&name).ok_or(io::ErrorKind::InvalidInput)?;
            let note = fs::read(folder.join(stem.note()))?;
            let note = Note {
                refused: true,
                ..Note::read(&note).map_err(io::Error::other)?
            };
            stage_note(folder, &stem, &note)?.replace(&folder.join(stem.note()))
        };
        refused().map_err(cannot(format!(
            "note that `{}` was refused",
            path.display()
        )))
    }

    fn try_to_keep(&self, new: &NewBody<'_>, content: Content<'_>) -> io::Result<PathBuf> {
        let day = day_of(new);
        let folder = self.folder(new.dataset).join(day.to_string());
        self.make(&[&folder])?;
        sweep(&folder);
        let mut kept = kept_on(&folder, day)?;
        kept.retain(|kept| kept.unit_key() == new.unit.key.as_str());
        let (stem, fetched_at, is_there) = name_for(new, &kept);
        let path = folder.join(stem.body());
        if is_there {
            return Ok(path);
        }
        let (file, staged) = stage(&folder, &stem, new, content, &kept)?;
        let note = Note {
            dataset: new.dataset.clone(),
            unit: new.unit.clone(),
            fetched_at,
            body: new.body.clone(),
            file,
            wire: Some(new.wire.clone()),
            reading: new.reading.clone(),
            refused: false,
        };
        let staged_note = stage_note(&folder, &stem, &note)?;
        // From here on it is there: a note that is still staged counts.
        match staged.publish(&path) {
            // Another run has kept it in this moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let kept = kept_on(&folder, day)?;
                let same = kept
                    .iter()
                    .any(|kept| kept.stem == stem && is_of(kept, new));
                return if same { Ok(path) } else { Err(error) };
            }
            published => published?,
        }
        staged_note.replace(&folder.join(stem.note()))?;
        Ok(path)
    }
}

/// Puts a note beside its place.
fn stage_note(folder: &Path, stem: &Stem, note: &Note) -> io::Result<Staged> {
    let (mut out, staged) = Staged::note(folder, stem)?;
    out.write_all(note.to_text().as_bytes())?;
    out.sync_all()?;
    Ok(staged)
}

/// Returns the day in whose folder a body belongs: its first, or the one on
/// which it was fetched.
fn day_of(new: &NewBody<'_>) -> Date {
    match new.unit.extent {
        Extent::Days(days) => days.first,
        Extent::Page(_) | Extent::Whole => new.fetched_at.to_zoned(TimeZone::UTC).date(),
    }
}

/// Returns a name that no other body has, the time in it, and whether this body
/// has it already.
fn name_for(new: &NewBody<'_>, kept: &[Kept]) -> (Stem, Timestamp, bool) {
    let mut fetched_at = new.fetched_at;
    loop {
        let stem = Stem::new(&new.unit.key, fetched_at);
        let taken = kept.iter().find(|kept| kept.stem == stem && kept.is_there);
        let Some(taken) = taken else {
            return (stem, fetched_at, false);
        };
        if is_of(taken, new) {
            return (stem, fetched_at, true);
        }
        fetched_at += Duration::from_millis(1);
    }
}

/// Whether what is kept is the new body.
fn is_of(kept: &Kept, new: &NewBody<'_>) -> bool {
    kept.note.as_ref().is_ok_and(|note| note.body == new.body)
}

/// Puts the bytes beside their place, and returns what the file is.
fn stage(
    folder: &Path,
    stem: &Stem,
    new: &NewBody<'_>,
    content: Content<'_>,
    kept: &[Kept],
) -> io::Result<(Facts, Staged)> {
    if let Some((path, facts)) = same_body(new, kept)
        && let Some(staged) = linked(folder, stem, &path, &facts)
    {
        return Ok((facts, staged));
    }
    match content {
        Content::Gzip {
            reader,
            facts,
            file,
        } => {
            if let Some(path) = file
                && let Some(staged) = linked(folder, stem, path, &facts)
            {
                return Ok((facts, staged));
            }
            let (mut out, staged) = Staged::body(folder, stem)?;
            let copied = hash::copy(reader, |bytes| out.write_all(bytes))?.into();
            compare(&facts, &copied)?;
            out.sync_all()?;
            Ok((facts, staged))
        }
        Content::Plain(reader) => {
            let (out, staged) = Staged::body(folder, stem)?;
            let mut packed = GzEncoder::new(BufWriter::new(&out), Compression::default());
            let read = hash::copy(reader, |bytes| packed.write_all(bytes))?.into();
            compare(&new.body, &read)?;
            packed.finish()?.flush()?;
            out.sync_all()?;
            let path = fs::File::open(staged.path())?;
            Ok((facts_of(path)?, staged))
        }
    }
}

/// Returns the file of an equal body of the same unit, the newest one.
fn same_body(new: &NewBody<'_>, kept: &[Kept]) -> Option<(PathBuf, Facts)> {
    let there = kept.iter().rev().filter(|kept| kept.is_there);
    there.into_iter().find_map(|kept| {
        let note = kept.note.as_ref().ok()?;
        (note.body == new.body).then(|| (kept.path.clone(), note.file.clone()))
    })
}

/// Stages a file that is there, if it is what it should be and can be linked.
fn linked(folder: &Path, stem: &Stem, path: &Path, facts: &Facts) -> Option<Staged> {
    let found = facts_of(File::open(path).ok()?).ok()?;
    if found != *facts {
        log::warn!("`{}` is not what was written there", path.display());
        return None;
    }
    Staged::link(folder, stem, path)
        .inspect_err(|error| log::debug!("cannot link `{}`: {error}", path.display()))
        .ok()
}

fn facts_of(mut file: File) -> io::Result<Facts> {
    Ok(hash::copy(&mut file, |_| Ok(()))?.into())
}

/// Fails if what is read here is no longer what came.
fn compare(came: &Facts, read: &Facts) -> io::Result<()> {
    match difference(came, read) {
        None => Ok(()),
        Some(reason) => Err(io::Error::other(format!(
            "what was kept of it meanwhile is damaged: {reason}"
        ))),
    }
}
