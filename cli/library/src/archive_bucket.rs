//! Archives in buckets.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use mixflow_core::error::Result;
use mixflow_core::source::{BucketAddress, Listed, Remote};
use mixflow_objects::{Created, Location, Objects, StoreOptions};

/// The objects of a bucket, opened when they are first asked for.
#[derive(Debug)]
struct Opening {
    location: Location,
    options: StoreOptions,
    opened: OnceLock<Objects>,
}

/// Opens the bucket at an address.
pub(crate) fn opened(address: BucketAddress<'_>) -> Result<Option<Arc<dyn Remote>>, String> {
    if !Location::is_bucket(address.path) {
        return Ok(None);
    }
    Ok(Some(Arc::new(Opening {
        location: Location::parse(address.path, None)?,
        options: StoreOptions {
            endpoint: address.endpoint.map(ToOwned::to_owned),
            region: address.region.map(ToOwned::to_owned),
        },
        opened: OnceLock::new(),
    })))
}

impl Opening {
    fn objects(&self) -> Result<&Objects> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.location.open(&self.options)?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

impl Remote for Opening {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let found = self.objects()?.list(folder)?.into_iter();
        let listed = found.map(|found| Listed {
            name: found.name,
            written_ms: found.written_ms,
        });
        Ok(listed.collect())
    }

    fn read(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let read = self.objects()?.get_all(names)?.into_iter();
        Ok(read.map(|bytes| bytes.map(Vec::from)).collect())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let created = self.objects()?.create(name, bytes.to_vec())?;
        Ok(created == Created::New)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.objects()?.put(name, bytes.to_vec())
    }

    fn upload(&self, name: &str, from: &mut dyn Read) -> Result<()> {
        self.objects()?.upload(name, from).map(drop)
    }

    fn download(&self, name: &str, to: &mut File) -> Result<bool> {
        Ok(self.objects()?.download(name, to)?.is_some())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.objects()?.delete(name)
    }
}
