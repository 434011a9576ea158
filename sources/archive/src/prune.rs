//! Removing old days.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::civil::Date;
use mixflow_core::error::Result;
use mixflow_core::source::Remote;
use mixflow_core::staged::{cannot, folder_of};
use mixflow_core::unit::{Dataset, Extent};

use crate::archive::Archive;
use crate::kept::Kept;
use crate::note::Note;
use crate::remote::Bucket;
use crate::staging::{claim, going, note_of, stage_note, sweep};

/// What was removed of an archive, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The bodies' files that are gone.
    pub removed: Vec<PathBuf>,
    /// Bytes of these files; those that several bodies share count for each.
    pub bytes: u64,
    /// How many of the same project are as old, and of other filters.
    pub others: u64,
    /// How many are as old by their folder, and nobody knows what they are.
    pub unknown: u64,
}

impl Archive {
    /// Removes the bodies of `dataset` whose days, the last one included, are
    /// before `first_to_stay`.
    ///
    /// A body goes with what is known of it, or stays with it, whenever the
    /// process dies. Fails at the first that cannot be removed.
    pub fn prune(&self, dataset: &Dataset, first_to_stay: Date) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let key = dataset.key();
        for kept in self.kept(dataset)? {
            if last_day(&kept) >= first_to_stay {
                continue;
            }
            match &kept.note {
                Ok(note) if note.dataset.key() == key => {
                    self.remove(&kept, note)?;
                    pruned.bytes += note.file.bytes;
                    pruned.removed.push(kept.path);
                }
                Ok(_) => pruned.others += 1,
                Err(_) => pruned.unknown += 1,
            }
        }
        if let Some(bucket) = self.bucket() {
            self.sweep_bucket(bucket, dataset)?;
        }
        Ok(pruned)
    }

    fn remove(&self, kept: &Kept, note: &Note) -> Result<()> {
        let what = format!("remove `{}`", kept.path.display());
        if let Some((bucket, name)) = &kept.object {
            let removed = remove_object(&*bucket.remote, name, kept, note);
            return removed.map_err(|error| error.context(format!("cannot {what}")));
        }
        remove(kept).map_err(cannot(what))?;
        sweep(folder_of(&kept.path));
        self.remove_if_empty(folder_of(&kept.path));
        Ok(())
    }

    /// Removes staged notes that no run needs any more, a day after they were written.
    fn sweep_bucket(&self, bucket: &Bucket, dataset: &Dataset) -> Result<()> {
        let folder = format!("{}/", self.name(&self.folder(dataset)));
        let listed = bucket.remote.list(&folder)?;
        let names: BTreeSet<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
        let old_ms = mixflow_core::clock::now().as_millisecond() - DAY_MS;
        for found in listed.iter().filter(|found| found.written_ms < old_ms) {
            let (folder, name) = found.name.rsplit_once('/').unwrap_or_default();
            let Some(stem) = note_of(name) else { continue };
            let has = |name: String| names.contains(format!("{folder}/{name}").as_str());
            // It counts where it is the only one.
            if has(stem.note()) || !has(stem.body()) {
                bucket.remote.delete(&found.name)?;
            }
        }
        Ok(())
    }
}

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Removes a body of a bucket, and what is known of it.
fn remove_object(remote: &dyn Remote, name: &str, kept: &Kept, note: &Note) -> Result<()> {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let at = |name: String| format!("{folder}/{name}");
    // A staged note without a body is nothing, and with one it counts.
    let staged = at(going(&kept.stem));
    remote.put(&staged, note.to_text().as_bytes())?;
    remote.delete(&at(kept.stem.note()))?;
    remote.delete(&at(claim(&kept.stem)))?;
    remote.delete(name)?;
    remote.delete(&staged)
}

/// Returns the last day of a body; of a page, the one on which it was fetched.
fn last_day(kept: &Kept) -> Date {
    match kept.note.as_ref().map(|note| note.unit.extent) {
        Ok(Extent::Days(days)) => days.last,
        _ => kept.day,
    }
}

fn remove(kept: &Kept) -> io::Result<()> {
    let folder = folder_of(&kept.path);
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    // A staged note without a body is nothing, and with one it counts.
    let staged = stage_note(&folder.join(kept.stem.note()), &kept.stem);
    gone(
        staged
            .as_ref()
            .map(|_| ())
            .map_err(|error| error.kind().into()),
    )?;
    gone(fs::remove_file(&kept.path))?;
    match staged {
        Ok(staged) => gone(fs::remove_file(staged)),
        Err(_) => Ok(()),
    }
}
