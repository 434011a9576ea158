//! Adding a body: whole, or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::staged::{cannot, folder_of};
use mixflow_core::unit::{Dataset, Extent, Unit};
use serde_json::Value;

use crate::archive::Archive;
use crate::hash::{self, Hasher};
use crate::kept::{Kept, difference, kept_on};
use crate::name::{BODY, NOTE, Stem};
use crate::note::{Facts, Note};
use crate::remote::Bucket;
use crate::staging::{Staged, claim, sweep};

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
        let what = format!("keep {label} in the archive `{path}`");
        if let Some(bucket) = self.bucket() {
            let kept = self.try_to_upload(bucket, new, content);
            return kept.map_err(|error| {
                error
                    .context(format!("cannot {what}"))
                    .hint("see that the bucket can be written, or run it without `[archive]`; what was fetched is not asked for again for a day")
                    .fatal()
            });
        }
        self.try_to_keep(new, content)
            .map_err(cannot(what))
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
        if let Some(bucket) = self.bucket() {
            let name = self.name(path).replace(BODY, NOTE);
            let noted = refused_there(bucket, &name);
            return noted.map_err(|error| {
                error.context(format!("cannot note that `{}` was refused", path.display()))
            });
        }
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

    /// Keeps a body in a bucket.
    ///
    /// Its note is staged first, under a name that only one run can have. It counts
    /// when the body is there, so a run that dies has kept it, or not.
    fn try_to_upload(
        &self,
        bucket: &Bucket,
        new: &NewBody<'_>,
        content: Content<'_>,
    ) -> Result<PathBuf> {
        let day = day_of(new);
        let path = self.folder(new.dataset).join(day.to_string());
        let folder = self.name(&path);
        let mut kept = self.objects(bucket, &format!("{folder}/"))?.kept;
        kept.retain(|kept| kept.unit_key() == new.unit.key.as_str());
        let mut packed = Packed::of(bucket, new, content)?;
        let mut asked_at = new.fetched_at;
        let (stem, staged, note) = loop {
            let new = NewBody {
                fetched_at: asked_at,
                ..new.clone()
            };
            let (stem, fetched_at, is_there) = name_for(&new, &kept);
            if is_there {
                return Ok(path.join(stem.body()));
            }
            let note = note_of(&new, fetched_at, packed.facts.clone());
            let staged = format!("{folder}/{}", claim(&stem));
            if bucket.remote.create(&staged, note.to_text().as_bytes())? {
                break (stem, staged, note);
            }
            asked_at = fetched_at + Duration::from_millis(1);
        };
        let body = format!("{folder}/{}", stem.body());
        if let Err(error) = bucket.remote.upload(&body, &mut packed) {
            if let Err(error) = bucket.remote.delete(&staged) {
                log::debug!("{}", error.in_a_line());
            }
            return Err(error);
        }
        let name = format!("{folder}/{}", stem.note());
        bucket.remote.put(&name, note.to_text().as_bytes())?;
        if let Err(error) = bucket.remote.delete(&staged) {
            log::warn!("{}", error.in_a_line());
        }
        Ok(path.join(stem.body()))
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
        let note = note_of(new, fetched_at, file);
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

fn note_of(new: &NewBody<'_>, fetched_at: Timestamp, file: Facts) -> Note {
    Note {
        dataset: new.dataset.clone(),
        unit: new.unit.clone(),
        fetched_at,
        body: new.body.clone(),
        file,
        wire: Some(new.wire.clone()),
        reading: new.reading.clone(),
        refused: false,
    }
}

/// Notes in a bucket that a body was refused.
fn refused_there(bucket: &Bucket, name: &str) -> Result<()> {
    let bad = |why: String| {
        let message = format!("the note `{name}` cannot be read");
        Error::new(ErrorKind::Data, message).because(why)
    };
    let text = bucket.remote.read(&[name.to_owned()])?.pop().flatten();
    let text = text.ok_or_else(|| bad("it is not there".to_owned()))?;
    let note = Note {
        refused: true,
        ..Note::read(&text).map_err(bad)?
    };
    bucket.remote.put(name, note.to_text().as_bytes())
}

/// The bytes of a body as its object is to have them; reading them to the end fails
/// unless they are what came.
struct Packed<'a> {
    facts: Facts,
    bytes: Bytes<'a>,
    seen: Hasher,
    has_ended: bool,
}

enum Bytes<'a> {
    Reader(&'a mut dyn Read),
    File(File),
}

impl<'a> Packed<'a> {
    fn of(bucket: &Bucket, new: &NewBody<'_>, content: Content<'a>) -> Result<Packed<'a>> {
        let (facts, bytes) = match content {
            Content::Gzip { reader, facts, .. } => (facts, Bytes::Reader(reader)),
            Content::Plain(reader) => {
                let packed = pack(bucket, new, reader);
                let (facts, file) = packed.map_err(cannot("compress a body"))?;
                (facts, Bytes::File(file))
            }
        };
        Ok(Packed {
            facts,
            bytes,
            seen: Hasher::default(),
            has_ended: false,
        })
    }
}

/// Compresses a body into a file without a name.
fn pack(bucket: &Bucket, new: &NewBody<'_>, reader: &mut dyn Read) -> io::Result<(Facts, File)> {
    let mut file = bucket.unnamed()?;
    let mut packed = GzEncoder::new(BufWriter::new(&file), Compression::default());
    let read = hash::copy(reader, |bytes| packed.write_all(bytes))?.into();
    compare(&new.body, &read)?;
    packed.finish()?.flush()?;
    file.rewind()?;
    let facts = hash::copy(&mut file, |_| Ok(()))?.into();
    file.rewind()?;
    Ok((facts, file))
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.bytes {
            Bytes::Reader(reader) => reader.read(buffer)?,
            Bytes::File(file) => file.read(buffer)?,
        };
        self.seen.add(&buffer[..read]);
        if read == 0 && !buffer.is_empty() && !self.has_ended {
            compare(&self.facts, &std::mem::take(&mut self.seen).finish().into())?;
            self.has_ended = true;
        }
        Ok(read)
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
