//! Where a table is, and the kernel's way to it.

use std::fmt::Display;
use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use delta_kernel::Engine;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mixflow_core::cancel::CancelToken;
use mixflow_core::staged::{cannot, check_folder};
use mixflow_core::whole_file::WholeFile;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Location, Objects, StoreOptions};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};
use tokio::runtime::Handle;
use url::Url;

use crate::failed::{failed, store_failed};

/// A folder for a table, on this machine or in a bucket.
pub(crate) struct Place {
    shown: String,
    /// The folder, if it is one of this machine.
    folder: Option<PathBuf>,
    url: Url,
    objects: Objects,
    store: Arc<dyn ObjectStore>,
    engine: Arc<DefaultEngine<TokioMultiThreadExecutor>>,
}

impl Place {
    /// Opens a folder, which need not be there. Asks no service.
    pub(crate) fn open(location: &Location, options: &StoreOptions) -> Result<Place> {
        let shown = location.to_string();
        let (location, url) = match location {
            Location::Folder(folder) => {
                // A link stays, and what it leads to is the table.
                let folder = folder
                    .canonicalize()
                    .or_else(|_| std::path::absolute(folder))
                    .map_err(cannot(format_args!("find the folder `{shown}`")))?;
                let url = Url::from_directory_path(&folder).map_err(|()| {
                    Error::new(
                        ErrorKind::Config,
                        format!("cannot use the folder `{shown}`"),
                    )
                    .because("its path cannot be written as a URL")
                })?;
                (Location::Folder(folder), url)
            }
            Location::Bucket(url) => {
                let mut url = url.clone();
                if let Ok(mut parts) = url.path_segments_mut() {
                    parts.pop_if_empty().push("");
                }
                (location.clone(), url)
            }
        };
        let objects = location.open(options)?;
        let store = objects.store();
        let executor = Arc::new(TokioMultiThreadExecutor::new(objects.runtime().clone()));
        let engine = DefaultEngineBuilder::new(Arc::clone(&store))
            .with_task_executor(executor)
            .build();
        Ok(Place {
            shown,
            folder: location.folder().map(Path::to_owned),
            url,
            objects,
            store,
            engine: Arc::new(engine),
        })
    }

    /// Checks that of several commits of one version the store takes one.
    pub(crate) fn probe(&self) -> Result<()> {
        match self.folder {
            // A link fails where something is.
            Some(_) => Ok(()),
            None => self.objects.probe(),
        }
    }

    /// Returns what people call it: a path, or a URL without credentials.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// Returns the engine, for the rows of a table.
    #[cfg(test)]
    pub(crate) fn shared_engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Returns the objects, for work that is to stop with `cancel`.
    pub(crate) fn objects(&self, cancel: &CancelToken) -> Objects {
        self.objects.until(cancel)
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.objects.runtime()
    }

    /// Returns the key of what lies at `path` in the folder.
    pub(crate) fn key(&self, path: &str) -> Key {
        self.objects.path(path)
    }

    /// Returns the key of a file that is in the store already.
    pub(crate) fn path_of_file(&self, file: &WholeFile) -> Option<Key> {
        self.objects.path_of_file(file)
    }

    /// Returns where a key lies in the folder.
    pub(crate) fn path_of(&self, key: &Key) -> Option<String> {
        let parts = key.prefix_match(self.objects.root())?;
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// Returns whether there may be something: a folder that is not there has no
    /// table, also where none could be made.
    pub(crate) fn is_there(&self) -> bool {
        self.folder.as_ref().is_none_or(|folder| folder.exists())
    }

    /// Checks that a table could be made here, if none is. Changes nothing.
    pub(crate) fn check_parent(&self) -> Result<()> {
        match &self.folder {
            Some(folder) if folder.is_dir() => Ok(()),
            Some(folder) if folder.exists() => Err(Error::new(
                ErrorKind::Destination,
                format!("cannot write the table `{}`", self.shown),
            )
            .because("there is something that is not a folder")
            .hint("choose another path")),
            Some(folder) => check_folder(folder),
            None => Ok(()),
        }
    }

    /// Lists what is below `path`, in no order; stops after `most`.
    pub(crate) fn list(&self, path: &str, most: usize) -> Result<Vec<(String, ObjectMeta)>> {
        let prefix = self.key(path);
        if self
            .folder()
            .is_some_and(|folder| !folder.join(path).is_dir())
        {
            return Ok(Vec::new());
        }
        let listed: Vec<ObjectMeta> = self
            .runtime()
            .block_on(async {
                self.store
                    .list(Some(&prefix))
                    .take(most)
                    .try_collect()
                    .await
            })
            .map_err(store_failed(format_args!("list `{}`", self.shown)))?;
        Ok(listed
            .into_iter()
            .filter_map(|meta| Some((self.path_of(&meta.location)?, meta)))
            .collect())
    }

    /// Removes what lies at `path`, if anything does.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        self.objects.delete(path)
    }

    /// Reads what lies at `path`; nothing if nothing does.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let found = self.objects.get(path)?;
        Ok(found.map(|bytes| bytes.to_vec()).unwrap_or_default())
    }

    /// Opens the file at `path`; one of a store is fetched first.
    pub(crate) fn open_file(&self, path: &str) -> Result<File> {
        let what = format!("read `{path}` of `{}`", self.shown);
        if let Some(folder) = &self.folder {
            return File::open(folder.join(path)).map_err(cannot(what));
        }
        let mut file = tempfile::tempfile().map_err(cannot("make a temporary file"))?;
        if self.objects.download(path, &mut file)?.is_none() {
            return Err(Error::new(ErrorKind::Destination, format!("cannot {what}"))
                .because("it is not there any more"));
        }
        file.rewind().map_err(cannot("read a temporary file"))?;
        Ok(file)
    }

    /// Returns a function that wraps an error of the kernel.
    pub(crate) fn failed(
        &self,
        what: impl Display,
    ) -> impl FnOnce(delta_kernel::KernelError) -> Error {
        failed(format!("{what} `{}`", self.shown))
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.shown).finish()
    }
}
