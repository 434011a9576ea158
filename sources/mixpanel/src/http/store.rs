//! Where the bytes of a body are until it is read.
//!
//! Small ones are in memory, the others in the state folder. When that has no
//! room they go on in the system's temporary folder, and at last in memory,
//! as far as that may be used for it: a full disk of state fails no run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use jiff::Timestamp;

use super::checkpoint::{Checkpoint, Part};
use super::encoding::{Encoding, Reader};
use super::loan::{Loan, Pool};
use super::sum::{Sum, sum_of};

/// Bodies up to this many bytes, as they came, stay in memory.
///
/// 8 MB gzipped are about 80,000 events, so a day of most projects. With a
/// hundred workers it bounds the memory for bodies to 800 MB.
const IN_MEMORY: usize = 8 << 20;

/// Bytes, of all bodies together, that memory takes when no disk does.
const LAST_RESORT: usize = 256 << 20;

static LENT: Pool = Pool::of(LAST_RESORT);

/// Where a body is kept.
#[derive(Clone, Copy)]
pub(crate) enum Retention<'a> {
    /// In memory; a large one in a file of this folder, without a name.
    ThisRun(Option<&'a Path>),
    /// In a file for this run and the next.
    UntilCommit(&'a Checkpoint),
}

/// The bytes of a body.
#[derive(Debug)]
pub(crate) enum Storage {
    Memory(Vec<u8>, Loan),
    /// A file without a name, which the system removes however the process
    /// ends, or one that a run after a crash finds again.
    File(File),
    /// The latter, while it is written.
    Part(Part),
}

/// Takes in a body.
#[derive(Debug)]
pub(crate) struct Store {
    kept: Storage,
    length: u64,
    /// The name of a file that is complete and synced, and stays as it is.
    path: Option<PathBuf>,
    /// Where to go on when there is no more room; `None` is the system's
    /// temporary folder.
    folders: VecDeque<Option<PathBuf>>,
}

impl Store {
    pub(crate) fn new(place: Retention<'_>) -> Store {
        let (kept, spool) = match place {
            Retention::ThisRun(spool) => (Storage::nothing(), spool.map(ToOwned::to_owned)),
            Retention::UntilCommit(checkpoint) => match checkpoint.begin() {
                Ok(part) => (Storage::Part(part), None),
                Err(error) => {
                    log::warn!("a run after a crash will have to ask again: {error}");
                    (Storage::nothing(), None)
                }
            },
        };
        Store {
            kept,
            length: 0,
            path: None,
            folders: spool.into_iter().map(Some).chain([None]).collect(),
        }
    }

    /// Returns the store of a body that is there.
    pub(crate) fn left(file: File, path: PathBuf, length: u64) -> Store {
        Store {
            kept: Storage::File(file),
            length,
            path: Some(path),
            folders: VecDeque::new(),
        }
    }

    pub(crate) fn into_storage(self) -> Storage {
        self.kept
    }

    /// Returns the file of the bytes, if it has a name that others may use.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the bytes so far from their beginning.
    pub(crate) fn reader(&mut self) -> io::Result<Reader<'_>> {
        let file = match &mut self.kept {
            Storage::Memory(bytes, _) => return Ok(Box::new(bytes.as_slice())),
            Storage::File(file) => file,
            Storage::Part(part) => part.file(),
        };
        file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(file.take(self.length)))
    }

    /// Adds what has come. Fails when no place takes it.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match &mut self.kept {
            Storage::Memory(kept, loan) => {
                let fits = kept.len() + bytes.len() <= IN_MEMORY;
                if fits || (self.folders.is_empty() && loan.grow(bytes.len())) {
                    kept.extend_from_slice(bytes);
                    Ok(())
                } else {
                    Err(io::ErrorKind::OutOfMemory.into())
                }
            }
            Storage::File(file) => file.write_all(bytes),
            Storage::Part(part) => part.write_all(bytes),
        };
        if let Err(error) = written {
            self.move_on(bytes, error)?;
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives a part its name.
    ///
    /// Where its bytes cannot be made durable they are moved to where they
    /// are safe for this run; an error says that they are no longer what came.
    pub(crate) fn settle(
        &mut self,
        encoding: Encoding,
        sum: Sum,
        asked_at: Timestamp,
    ) -> io::Result<()> {
        match std::mem::replace(&mut self.kept, Storage::nothing()) {
            Storage::Part(part) => match part.finish(encoding, sum, asked_at) {
                Ok((file, path)) => {
                    self.kept = Storage::File(file);
                    self.path = Some(path);
                    Ok(())
                }
                Err((file, error)) => {
                    self.kept = Storage::File(file);
                    self.move_on(&[], error)?;
                    self.check(sum)
                }
            },
            kept => {
                self.kept = kept;
                Ok(())
            }
        }
    }

    fn check(&mut self, sum: Sum) -> io::Result<()> {
        let found = match &mut self.kept {
            Storage::Memory(bytes, _) => sum_of(&mut bytes.as_slice())?,
            Storage::File(file) => {
                file.seek(SeekFrom::Start(0))?;
                sum_of(file)?
            }
            Storage::Part(_) => return Ok(()),
        };
        if found == sum {
            Ok(())
        } else {
            Err(io::Error::other("what was written is not what is read"))
        }
    }

    /// Copies the bytes so far to the next place that takes them and `bytes`.
    fn move_on(&mut self, bytes: &[u8], error: io::Error) -> io::Result<()> {
        let mut error = error;
        if !matches!(self.kept, Storage::Memory(..)) {
            tell(&error);
        }
        while let Some(folder) = self.folders.pop_front() {
            match self.copy_to(folder, bytes) {
                Ok(file) => {
                    self.kept = Storage::File(file);
                    return Ok(());
                }
                Err(failed) => {
                    tell(&failed);
                    error = failed;
                }
            }
        }
        let (mut all, mut loan) = match &mut self.kept {
            Storage::Memory(kept, loan) => {
                (std::mem::take(kept), std::mem::replace(loan, LENT.loan()))
            }
            _ => (Vec::new(), LENT.loan()),
        };
        let there = usize::try_from(self.length).unwrap_or(usize::MAX);
        if !loan.grow((there - all.len()).saturating_add(bytes.len())) {
            return Err(error);
        }
        if all.is_empty() {
            self.copy_into(&mut all)?;
        }
        all.extend_from_slice(bytes);
        self.kept = Storage::Memory(all, loan);
        Ok(())
    }

    fn copy_to(&mut self, folder: Option<PathBuf>, bytes: &[u8]) -> io::Result<File> {
        let mut file = match folder {
            Some(folder) => tempfile::tempfile_in(folder)?,
            None => tempfile::tempfile()?,
        };
        self.copy_into(&mut file)?;
        file.write_all(bytes)?;
        Ok(file)
    }

    /// Copies what was appended; a write that failed may have left more.
    fn copy_into(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let from = match &mut self.kept {
            Storage::Memory(bytes, _) => return to.write_all(bytes),
            Storage::File(file) => file,
            Storage::Part(part) => part.file(),
        };
        from.seek(SeekFrom::Start(0))?;
        if io::copy(&mut from.take(self.length), to)? == self.length {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Storage {
    fn nothing() -> Storage {
        Storage::Memory(Vec::new(), LENT.loan())
    }
}

/// Tells once that a disk has no room; each body would say the same.
fn tell(error: &io::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        log::warn!(
            "cannot keep what is fetched where it belongs, so it is kept elsewhere: {error}"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that can be read and not written: what a full disk leaves.
    fn full(content: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().expect("a temp file");
        file.write_all(content).expect("there is room");
        File::open(file.path()).expect("it is there")
    }

    fn content(store: Store) -> Vec<u8> {
        let mut bytes = Vec::new();
        match store.into_storage() {
            Storage::Memory(kept, _) => bytes = kept,
            Storage::File(mut file) => {
                file.seek(SeekFrom::Start(0)).expect("it is a file");
                file.read_to_end(&mut bytes).expect("it can be read");
            }
            Storage::Part(_) => unreachable!("none was begun"),
        }
        bytes
    }

    #[test]
    fn a_body_goes_on_elsewhere_when_its_disk_is_full() {
        for folders in [
            vec![None],
            vec![Some(PathBuf::from("/nowhere/at/all")), None],
            vec![],
        ] {
            let last = folders.is_empty();
            let mut store = Store {
                // The write that failed has left a piece of itself.
                kept: Storage::File(full(b"whole, and a pie")),
                length: 5,
                path: None,
                folders: folders.into(),
            };
            store.append(b" piece").expect("it goes elsewhere");
            store.append(b", more").expect("it goes on there");
            assert_eq!(matches!(store.kept, Storage::Memory(..)), last);
            assert_eq!(content(store), b"whole piece, more");
        }
    }

    #[test]
    fn what_needs_no_name_is_left_alone() {
        let sum = sum_of(&mut &b"bytes"[..]).expect("memory can be read");
        for kept in [
            Storage::Memory(b"bytes".to_vec(), LENT.loan()),
            Storage::File(full(b"bytes")),
        ] {
            let mut store = Store {
                kept,
                length: 5,
                path: None,
                folders: VecDeque::new(),
            };
            store
                .settle(Encoding::Identity, sum, Timestamp::UNIX_EPOCH)
                .expect("nothing to do");
            assert_eq!(content(store), b"bytes");
        }
    }

    #[test]
    fn the_last_resort_is_bounded_and_given_back() {
        let mut loan = LENT.loan();
        assert!(!loan.grow(LAST_RESORT + 1));
        assert!(loan.grow(LAST_RESORT / 2));
        assert!(!LENT.loan().grow(LAST_RESORT / 2 + 1));
        drop(loan);
        assert!(LENT.loan().grow(LAST_RESORT / 2 + 1));
    }
}
