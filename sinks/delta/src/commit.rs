//! Commits: a file of actions that is there or is not.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use delta_kernel::committer::{CommitMetadata, CommitResponse, Committer, PublishMetadata};
use delta_kernel::engine::arrow_utils::to_json_bytes;
use delta_kernel::{
    Engine, FileMeta, FilteredEngineData, KernelError, KernelResult, KernelResultIterator,
};
use mixflow_core::staged::publish_new;
use object_store::path::Path as Key;
use object_store::{ObjectStore, PutMode};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Puts the actions of a commit where readers look, if no other commit is there.
///
/// The kernel's own does so too, but has what it wrote nowhere but in the memory of
/// the machine, and has no way to give a table other columns when all of its files
/// go.
pub(crate) struct Put {
    pub(crate) way: Way,
    /// What the table has from now on, if that is not what it had.
    pub(crate) columns: Option<NewColumns>,
}

/// How a commit gets there.
pub(crate) enum Way {
    /// Through a staged file, which is synced before it gets the name of the
    /// commit.
    Folder {
        /// The table's folder.
        folder: PathBuf,
        /// The staged file.
        staged: PathBuf,
    },
    /// By a put that the store refuses if something is there.
    Store {
        store: Arc<dyn ObjectStore>,
        runtime: Handle,
        /// The key of the folder of commits.
        log: Key,
    },
}

/// Columns in the place of those of before.
#[derive(Clone, Debug)]
pub(crate) struct NewColumns {
    pub(crate) schema: String,
}

impl Committer for Put {
    fn commit(
        &self,
        _engine: &dyn Engine,
        actions: KernelResultIterator<'_, FilteredEngineData>,
        about: CommitMetadata,
    ) -> KernelResult<CommitResponse> {
        let version = about.version();
        let mut lines = to_json_bytes(actions)?;
        if let Some(columns) = &self.columns {
            lines.extend(columns.action(&about)?.to_string().into_bytes());
            lines.push(b'\n');
        }
        let size = lines.len() as u64;
        let name = format!("{version:020}.json");
        if !self.way.put(&name, lines)? {
            return Ok(CommitResponse::Conflict { version });
        }
        let location = about.published_commit_path()?;
        let file_meta = FileMeta::new(location, about.in_commit_timestamp(), size);
        Ok(CommitResponse::Committed { file_meta })
    }

    fn is_catalog_committer(&self) -> bool {
        false
    }

    fn publish(&self, _engine: &dyn Engine, _about: PublishMetadata) -> KernelResult<()> {
        // For tables that a catalog keeps, of which none is ours.
        Ok(())
    }
}

impl Way {
    /// Puts a commit, and returns whether it is ours that is there.
    fn put(&self, name: &str, lines: Vec<u8>) -> KernelResult<bool> {
        match self {
            Way::Folder { folder, staged } => put_file(folder, staged, name, &lines),
            Way::Store {
                store,
                runtime,
                log,
            } => {
                let key = log.clone().join(name);
                let put = store.put_opts(&key, lines.into(), PutMode::Create.into());
                match runtime.block_on(put) {
                    Ok(_) => Ok(true),
                    Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                    Err(error) => Err(KernelError::ObjectStore(error)),
                }
            }
        }
    }
}

fn put_file(folder: &Path, staged: &Path, name: &str, lines: &[u8]) -> KernelResult<bool> {
    let put = || {
        let log = folder.join("_delta_log");
        std::fs::create_dir_all(&log)?;
        let mut file = File::create(staged)?;
        file.write_all(lines)?;
        file.sync_all()?;
        publish_new(staged, &log.join(name))
    };
    match put() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(KernelError::IOError(error)),
    }
}

impl NewColumns {
    /// Returns the action that gives a table its columns and leaves the rest.
    fn action(&self, about: &CommitMetadata) -> KernelResult<Value> {
        let metadata = about.effective_metadata()?;
        Ok(json!({ "metaData": {
            "id": metadata.id(),
            "name": metadata.name(),
            "description": metadata.description(),
            "format": {
                "provider": metadata.format_provider(),
                "options": metadata.format_options(),
            },
            "schemaString": self.schema,
            "partitionColumns": metadata.partition_columns(),
            "createdTime": metadata.created_time(),
            "configuration": metadata.configuration(),
        }}))
    }
}
