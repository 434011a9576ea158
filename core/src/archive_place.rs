//! Where an archive is, and what it needs of a bucket.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;

/// Where whole bodies are kept.
#[derive(Clone, Debug, Default)]
pub struct ArchivePlace {
    /// A folder, or the address of one in a bucket.
    pub path: PathBuf,
    /// What is there, if it is in a bucket.
    pub remote: Option<Arc<dyn Remote>>,
}

/// Which bucket, as people write it.
#[derive(Clone, Copy, Debug)]
pub struct BucketAddress<'a> {
    /// The address: `s3://bucket/archive`.
    pub path: &'a str,
    /// Which server has it, if not that of the service.
    pub endpoint: Option<&'a str>,
    /// Its region.
    pub region: Option<&'a str>,
}

/// Returns the objects at an address; `None` of what is none. Makes no I/O. Fails, with a
/// reason that can be shown, for one that cannot be used.
pub type OpensBucket = fn(BucketAddress<'_>) -> Result<Option<Arc<dyn Remote>>, String>;

/// The objects of a bucket below an archive's place. Names are relative to it, with `/`
/// between their parts. Every call blocks until it is done.
pub trait Remote: fmt::Debug + Send + Sync {
    /// Returns the objects whose names begin with a folder, in no order.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// Reads small objects; `None` for each that is not there.
    fn read(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Makes a small object if there is none of its name, and returns whether it was
    /// made.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool>;

    /// Writes a small object, over one that may be there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Writes an object from a reader. It appears whole, or not at all if the reader
    /// or the service fails.
    fn upload(&self, name: &str, from: &mut dyn Read) -> Result<()>;

    /// Reads an object into a file, and returns whether there was one.
    fn download(&self, name: &str, to: &mut File) -> Result<bool>;

    /// Removes an object. One that is not there is no error.
    fn delete(&self, name: &str) -> Result<()>;
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was written, by the service's clock, in milliseconds since 1970.
    pub written_ms: i64,
}
