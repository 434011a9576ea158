//! The `[archive]` table.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

use super::document::Document;
use super::path::local_path;
use crate::archive_place::{ArchivePlace, BucketAddress, OpensBucket};
use crate::registry::{ComponentDoc, OptionDoc};

/// The `[archive]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArchiveTable {
    path: PathBuf,
    endpoint: Option<String>,
    region: Option<String>,
}

/// What `mixflow components` shows of the `[archive]` table.
pub const ARCHIVE_DOC: ComponentDoc = ComponentDoc {
    name: "archive",
    about: "keeps every whole body as it came, to be replayed later; what transforms mask is not masked there",
    options: &[
        OptionDoc::new(
            "path",
            "a folder, or one in a bucket: s3://… | gs://… | az://…",
            "where the bodies are; for its owner alone",
        ),
        OptionDoc::new(
            "endpoint",
            "address, default that of the service",
            "which server has the bucket: MinIO, R2, an emulator",
        ),
        OptionDoc::new("region", "text", "the region of the bucket"),
    ],
};

/// Reads the table; `None` if it cannot be read, and the path `None` if it is
/// not there. `home` is what `~` stands for, and `bucket` opens one, where there may be
/// some.
pub(super) fn archive_table<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    home: Option<&Path>,
    bucket: Option<OpensBucket>,
) -> Option<Option<ArchivePlace>> {
    let Some(value) = root.get("archive") else {
        return Some(None);
    };
    let table: ArchiveTable = document.read("archive", value.clone())?;
    if table.path.as_os_str().is_empty() {
        document.invalid("archive.path", "this is empty; name a folder");
        return None;
    }
    match place_of(&table, home, bucket) {
        Ok(place) => Some(Some(place)),
        Err((key, message)) => {
            document.invalid(&format!("archive.{key}"), message);
            None
        }
    }
}

fn place_of(
    table: &ArchiveTable,
    home: Option<&Path>,
    bucket: Option<OpensBucket>,
) -> Result<ArchivePlace, (&'static str, String)> {
    let opened = match bucket.zip(table.path.to_str()) {
        Some((open, path)) => open(BucketAddress {
            path,
            endpoint: table.endpoint.as_deref(),
            region: table.region.as_deref(),
        }),
        None => Ok(None),
    };
    let remote = opened.map_err(|why| ("path", why))?;
    if remote.is_some() {
        let path = table.path.clone();
        return Ok(ArchivePlace { path, remote });
    }
    for (key, given) in [("endpoint", &table.endpoint), ("region", &table.region)] {
        if given.is_some() {
            return Err((key, "a folder of this machine has none".to_owned()));
        }
    }
    let path = local_path(&table.path, home).map_err(|why| ("path", why))?;
    Ok(ArchivePlace { path, remote })
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
