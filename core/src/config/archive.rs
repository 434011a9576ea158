//! The `[archive]` table.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

use super::document::Document;
use super::path::local_path;
use crate::registry::{ComponentDoc, OptionDoc};

/// The `[archive]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveTable {
    path: PathBuf,
}

/// What `mixflow components` shows of the `[archive]` table.
pub const ARCHIVE_DOC: ComponentDoc = ComponentDoc {
    name: "archive",
    about: "keeps every whole body as it came, to be replayed later; what transforms mask is not masked there",
    options: &[OptionDoc::new(
        "path",
        "folder",
        "where the bodies are; for its owner alone",
    )],
};

/// Reads the table; `None` if it cannot be read, and the path `None` if it is
/// not there. `home` is what `~` stands for.
pub(super) fn archive_table<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    home: Option<&Path>,
) -> Option<Option<PathBuf>> {
    let Some(value) = root.get("archive") else {
        return Some(None);
    };
    let table: ArchiveTable = document.read("archive", value.clone())?;
    if table.path.as_os_str().is_empty() {
        document.invalid("archive.path", "this is empty; name a folder");
        return None;
    }
    match local_path(&table.path, home) {
        Ok(path) => Some(Some(path)),
        Err(message) => {
            document.invalid("archive.path", message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_described;

    #[test]
    fn every_key_is_described() {
        assert_described::<ArchiveTable>(&ARCHIVE_DOC);
    }
}
