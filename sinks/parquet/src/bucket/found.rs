//! What stands in a folder of a bucket.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mixflow_core::cancel::CancelToken;
use mixflow_core::made_of::Existing;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Created, Objects, object_store};
use object_store::ObjectStoreExt as _;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaDataReader};

use crate::existing::existing;
use crate::ledger::FileLedger;
use crate::tree::{Found, LEDGER, OURS, day, foreign, is_ours};

/// What the names of ledgers begin with; the n-th commit makes the n-th.
const LEDGERS: &str = "_mixflow/ledger-";

/// Ledgers of before that stay, so that a run which was slow by as many commits finds
/// out that others were quicker.
const KEPT: u64 = 20;

/// What is read of an object's end at first; most footers are smaller.
const END: u64 = 64 << 10;

/// A folder of a bucket as it is now.
pub(super) struct Folder {
    objects: Objects,
    /// The files that are there, with when they were written, in milliseconds.
    pub(super) files: Vec<(Found, i64)>,
    /// The files that a run has put in place and that do not count, with when they
    /// were written: the ledger does not name them, and what they were copied from is
    /// still staged. Others that the ledger does not name are none of ours.
    ///
    /// Once another run has committed, that run cannot.
    pub(super) orphans: Vec<(PathBuf, i64)>,
    /// The files that the last commit has replaced and that are still there, as
    /// the run died or a service did not answer.
    pub(super) gone: Vec<PathBuf>,
    /// Objects in `_mixflow/` that are no ledgers.
    pub(super) staged: Vec<(String, i64)>,
    pub(super) ledger: FileLedger,
    /// Commits so far.
    pub(super) commits: u64,
    /// When the last one was made.
    pub(super) committed_ms: Option<i64>,
    ledgers: Vec<u64>,
    /// Whether the ledger names files that are not there.
    lacks_files: bool,
}

impl Folder {
    /// Looks at a folder, which need not be there. Changes nothing.
    ///
    /// Fails with [`ErrorKind::Destination`] if there is anything that cannot be
    /// ours.
    pub(super) fn look(objects: &Objects) -> Result<Folder> {
        let mut folder = Folder::look_once(objects)?;
        // A run that commits meanwhile removes what it replaces: what then seems to
        // be lost is none of the folder any more.
        while folder.lacks_files {
            let again = Folder::look_once(objects)?;
            let same = again.commits == folder.commits;
            folder = again;
            if same {
                break;
            }
        }
        Ok(folder)
    }

    fn look_once(objects: &Objects) -> Result<Folder> {
        let mut folder = Folder {
            objects: objects.clone(),
            files: Vec::new(),
            orphans: Vec::new(),
            gone: Vec::new(),
            lacks_files: false,
            staged: Vec::new(),
            ledger: FileLedger::default(),
            commits: 0,
            committed_ms: None,
            ledgers: Vec::new(),
        };
        let shown = objects.location().to_string();
        let first = format!("{OURS}/{LEDGER}");
        for found in objects.list("")? {
            let (name, ms) = (found.name, found.written_ms);
            if let Some(n) = number_of(&name) {
                folder.ledgers.push(n);
                if n >= folder.commits {
                    (folder.commits, folder.committed_ms) = (n, Some(ms));
                }
            } else if name == first {
                // Of a folder that was copied from a machine.
                folder.committed_ms = folder.committed_ms.or(Some(ms));
            } else if name.starts_with(&format!("{OURS}/")) {
                folder.staged.push((name, ms));
            } else if name.starts_with("_mixflow_probe") {
                // Another run finds out about the service.
            } else {
                folder.files.push((file_of(&shown, &name)?, ms));
            }
        }
        folder.files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        if folder.committed_ms.is_some() {
            let name = match folder.commits {
                0 => first,
                n => name_of(n),
            };
            let text = objects.get(&name)?.unwrap_or_default();
            let ledger = FileLedger::parse(&text, &objects.location().join(&name).to_string())?;
            let there: BTreeSet<&Path> = folder
                .files
                .iter()
                .map(|(found, _)| found.path.as_path())
                .collect();
            let named = ledger.owners();
            folder.lacks_files = named.keys().any(|path| !there.contains(path.as_path()));
            folder.ledger = ledger.without_lost_files(|path| there.contains(Path::new(path)));
        }
        folder.set_orphans_apart();
        Ok(folder)
    }

    /// Sets apart what is there and does not count.
    fn set_orphans_apart(&mut self) {
        let owners = self.ledger.owners();
        let gone: BTreeSet<&str> = self.ledger.gone().collect();
        let staged = self.staged.iter();
        let staged: BTreeSet<&str> = staged
            .filter_map(|(name, _)| name.rsplit('/').next()?.strip_suffix(".part"))
            .collect();
        let is_orphan = |path: &Path| {
            let name = path.file_stem().and_then(|name| name.to_str());
            let name = name.unwrap_or_default();
            // At later tries it has the number of the try behind.
            let first = name.rsplit_once('-').map_or(name, |(first, _)| first);
            staged.contains(name) || staged.contains(first)
        };
        let mut files = Vec::new();
        for (found, ms) in std::mem::take(&mut self.files) {
            if owners.contains_key(&found.path) {
                files.push((found, ms));
            } else if found.path.to_str().is_some_and(|path| gone.contains(path)) {
                self.gone.push(found.path);
            } else if is_orphan(&found.path) {
                self.orphans.push((found.path, ms));
            } else {
                files.push((found, ms));
            }
        }
        self.files = files;
    }

    /// Says what the folder holds from now on; `false` if another run was quicker.
    pub(super) fn commit(&self, ledger: &FileLedger) -> Result<bool> {
        let next = self.commits + 1;
        let (name, text) = (name_of(next), ledger.text()?);
        match self.objects.create(&name, text.clone()) {
            Ok(Created::New) => {}
            // It may have been made by an answer that got lost on its way, after
            // which the service was asked again.
            made => {
                let objects = self.objects.until(&CancelToken::never());
                match (objects.get(&name), made) {
                    (Ok(Some(there)), _) if there == text.as_bytes() => {}
                    (Ok(Some(_)), _) | (_, Ok(_)) => return Ok(false),
                    (_, Err(error)) => return Err(error),
                }
            }
        }
        for n in self.ledgers.iter().filter(|n| **n + KEPT <= next) {
            if let Err(error) = self.objects.delete(&name_of(*n)) {
                log::warn!("{}", error.in_a_line());
            }
        }
        Ok(true)
    }

    /// Returns the files that readers take for a part of the table.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Found> {
        self.files
            .iter()
            .map(|(found, _)| found)
            .filter(|found| found.is_table())
    }

    /// Returns the files that were written last: each run's have the columns of all
    /// before it.
    pub(super) fn last(&self) -> impl Iterator<Item = &Found> {
        let tables = || self.files.iter().filter(|(found, _)| found.is_table());
        let last = tables().map(|(_, ms)| *ms).max();
        let last = tables().filter(move |(_, ms)| Some(*ms) == last);
        last.map(|(found, _)| found)
    }

    /// Returns what a file says of itself at its end.
    pub(super) fn footer(&self, path: &Path) -> Result<FileMetaData> {
        footer(&self.objects, &path.to_string_lossy())
    }

    /// Returns the columns that are there; `stay` says whether the rows do.
    pub(super) fn existing(&self, stay: bool) -> Result<Existing> {
        let last: Vec<&Found> = self.last().collect();
        existing(last.iter().map(|found| self.footer(&found.path)), stay)
    }
}

/// Returns what an object says of itself at its end.
pub(super) fn footer(objects: &Objects, name: &str) -> Result<FileMetaData> {
    let shown = objects.location().join(name);
    let failed = |error: ParquetError| {
        Error::new(ErrorKind::Destination, format!("cannot read `{shown}`")).with_source(error)
    };
    let size = objects.size(name)?.unwrap_or(0);
    let mut end = END;
    loop {
        let range = size.saturating_sub(end)..size;
        let path = objects.path(name);
        let store = objects.store();
        let read = objects.runtime().block_on(store.get_range(&path, range));
        let bytes = read.map_err(|error| {
            mixflow_objects::from_store(error, format!("cannot read `{shown}`"))
        })?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&bytes, size) {
            Ok(()) => {
                let metadata = reader.finish().map_err(failed)?;
                return Ok(metadata.file_metadata().clone());
            }
            Err(ParquetError::NeedMoreData(more)) if end < size => {
                end = (more as u64).max(end * 2);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(LEDGERS)?
        .strip_suffix(".json")?
        .parse()
        .ok()
}

pub(super) fn name_of(n: u64) -> String {
    format!("{LEDGERS}{n:010}.json")
}

/// Returns the file of a name, or says that it is none of ours.
fn file_of(shown: &str, name: &str) -> Result<Found> {
    let path = PathBuf::from(name);
    let found = match name.split_once('/') {
        None if is_ours(name) => Some(None),
        Some((folder, inner)) if is_ours(inner) && !inner.contains('/') => day(folder).map(Some),
        _ => None,
    };
    match found {
        Some(day) => Ok(Found { path, day }),
        None => Err(foreign(Path::new(shown), &path)),
    }
}
