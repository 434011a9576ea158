//! The file that tells the program that it has all rows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mixflow_core::Result;
use mixflow_core::sink::Outcome;
use mixflow_core::staged::cannot;
use serde_json::json;
use tempfile::TempDir;

/// A file that appears when a run has decided to commit.
///
/// A stream that ends says nothing by itself: it ends too when we are killed,
/// lines have no end marker, and pyarrow takes an Arrow stream without its own
/// for a whole one (26.0). A file outlives us, and every language can look for
/// one. It is alone in a private folder, so that nobody else can make it.
#[derive(Debug)]
pub(crate) struct Permit {
    folder: TempDir,
    /// Locked as long as we live, so that the next run knows what to sweep.
    _alive: File,
}

/// What our folders in the temporary folder are called.
const PREFIX: &str = "mixflow-exec-";

/// The file in a folder that is locked by whoever made it.
const ALIVE: &str = "alive";

impl Permit {
    /// Makes the folder, not the file, and removes those of dead runs.
    pub(crate) fn new() -> Result<Permit> {
        sweep(&std::env::temp_dir());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(private)
            .tempdir()
            .map_err(cannot("make a temporary folder"))?;
        let alive = locked(&folder.path().join(ALIVE))
            .map_err(cannot(format!("lock `{}`", folder.path().display())))?;
        Ok(Permit {
            folder,
            _alive: alive,
        })
    }

    /// Returns where the file will be.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("commit.json")
    }

    /// Lets the file appear, whole.
    pub(crate) fn grant(&self, run_id: &str, rows: u64, outcome: &Outcome<'_>) -> Result<()> {
        let missing: Vec<_> = outcome
            .missing
            .iter()
            .map(|(partition, reason)| json!({"partition": partition.label, "reason": reason}))
            .collect();
        let content = json!({
            "run_id": run_id,
            "status": outcome.status(),
            "rows": rows,
            "missing": missing,
        });
        let part = self.folder.path().join("commit.json.part");
        let path = self.path();
        let write = |part: &Path| {
            fs::write(part, format!("{content}\n"))?;
            fs::rename(part, &path)
        };
        write(&part).map_err(cannot(format!("write `{}`", path.display())))
    }
}

fn locked(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    file.lock()?;
    Ok(file)
}

/// Removes the folders of runs that were killed.
///
/// One whose lock is not there yet is being made; one that we may not remove
/// is another user's.
fn sweep(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || !is_folder {
            continue;
        }
        let folder = entry.path();
        let dead = File::open(folder.join(ALIVE)).is_ok_and(|file| file.try_lock().is_ok());
        if dead && let Err(error) = fs::remove_dir_all(&folder) {
            log::debug!("cannot remove `{}`: {error}", folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_swept_and_nothing_else() {
        let temporary = tempfile::tempdir().expect("a temp folder");
        let folder = |name: &str| {
            let path = temporary.path().join(name);
            fs::create_dir(&path).expect("it is new");
            path
        };
        let (dead, alive) = (folder("mixflow-exec-dead"), folder("mixflow-exec-alive"));
        let (young, other) = (folder("mixflow-exec-young"), folder("other"));
        let lock = locked(&alive.join(ALIVE)).expect("it is new");
        drop(locked(&dead.join(ALIVE)));
        drop(locked(&other.join(ALIVE)));
        sweep(temporary.path());
        assert!(!dead.exists());
        assert!(alive.exists() && young.exists() && other.exists());
        drop(lock);
        sweep(temporary.path());
        assert!(!alive.exists());
    }
}
