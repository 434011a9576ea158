//! Where the store of a workspace is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::Store;

/// Where the store is.
#[derive(Clone, Debug, Default)]
pub(super) enum StorePlace {
    #[default]
    Default,
    File(PathBuf),
    ReadOnly(PathBuf),
    Ephemeral,
}

/// The store of a workspace, from when it is first asked for.
#[derive(Debug)]
pub(super) struct Shelf {
    place: StorePlace,
    /// Held so that the file stays open, and an ephemeral one there; whoever
    /// asks gets a connection of their own.
    store: Mutex<Option<Store>>,
}

impl Shelf {
    pub(super) fn new(place: StorePlace) -> Shelf {
        Shelf {
            place,
            store: Mutex::new(None),
        }
    }

    /// Returns a connection to the store; opens it with the first call.
    pub(super) fn store(&self, home: Option<&Path>, project: Option<&str>) -> Result<Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*store {
            return store.try_clone();
        }
        let opened = self.place.open(home, project)?;
        let handed_out = opened.try_clone();
        *store = Some(opened);
        handed_out
    }

    pub(super) fn close(self) -> Result<()> {
        let store = self.store.into_inner();
        let Some(store) = store.unwrap_or_else(PoisonError::into_inner) else {
            return Ok(());
        };
        let (path, is_ephemeral) = (store.path().to_owned(), store.is_ephemeral());
        store.close()?;
        if is_ephemeral && path.exists() {
            let message = format!("cannot remove `{}`", path.display());
            return Err(Error::new(ErrorKind::Locked, message)
                .because("this program still uses it")
                .hint("drop what `store()` has returned first"));
        }
        Ok(())
    }
}

impl StorePlace {
    fn open(&self, home: Option<&Path>, project: Option<&str>) -> Result<Store> {
        match (self, home, project) {
            (StorePlace::File(path), ..) => Store::open(path),
            (StorePlace::ReadOnly(path), ..) => Store::open_read_only(path),
            (StorePlace::Ephemeral, ..) => Store::ephemeral(),
            (StorePlace::Default, Some(home), Some(project)) => Store::open_default(home, project),
            (StorePlace::Default, ..) => Err(Error::new(
                ErrorKind::Config,
                "it is not known where the store is",
            )
            .hint("set `project_id`, or a `path`")),
        }
    }
}
