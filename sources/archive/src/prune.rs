//! Removing old days.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::civil::Date;
use mixflow_core::error::Result;
use mixflow_core::staged::{cannot, folder_of};
use mixflow_core::unit::{Dataset, Extent};

use crate::archive::Archive;
use crate::kept::Kept;
use crate::staging::{stage_note, sweep};

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
                    let path = kept.path.display();
                    remove(&kept).map_err(cannot(format!("remove `{path}`")))?;
                    sweep(folder_of(&kept.path));
                    self.remove_if_empty(folder_of(&kept.path));
                    pruned.bytes += note.file.bytes;
                    pruned.removed.push(kept.path);
                }
                Ok(_) => pruned.others += 1,
                Err(_) => pruned.unknown += 1,
            }
        }
        Ok(pruned)
    }
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
