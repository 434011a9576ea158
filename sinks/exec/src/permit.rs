//! The file that tells the program that it has all rows.

use std::fs;
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
}

impl Permit {
    /// Makes the folder, not the file.
    pub(crate) fn new() -> Result<Permit> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let folder = tempfile::Builder::new()
            .prefix("mixflow-exec-")
            .permissions(private)
            .tempdir()
            .map_err(cannot("make a temporary folder"))?;
        Ok(Permit { folder })
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
