//! Objects of one location, for callers that block.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload, WriteMultipart,
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::failure::from_store;
use crate::location::Location;
use crate::store::{StoreOptions, check};

/// Parts of an upload; S3 takes none below 5 MB but the last.
const PART: usize = 8 << 20;

/// Parts of an upload that are under way at once, so that memory is bounded.
const PARTS_AT_ONCE: usize = 2;

/// Objects that are read at once where there are many: a receipt of a plan of 10,000
/// units is some 20 ms away.
const READS_AT_ONCE: usize = 32;

/// How often a call that waits for a service looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The objects of one location. Cheap to clone.
///
/// Every call blocks until it is done, and no longer than half a second once the
/// run is cancelled. Names are relative to the location and have `/` between
/// their parts.
#[derive(Clone)]
pub struct Objects {
    location: Location,
    /// Which server has them, if not that of the service.
    server: Option<String>,
    store: Arc<dyn ObjectStore>,
    root: Path,
    runtime: Arc<Runtime>,
    cancel: CancelToken,
}

/// What became of an object that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// There was one already, which is as it was.
    Existed,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, relative to the location.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was written, by the service's clock, in milliseconds since 1970.
    pub written_ms: i64,
}

/// What a service says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many bytes it has.
    pub bytes: u64,
    /// What changes whenever the object does.
    pub etag: Option<String>,
}

impl Location {
    /// Opens the location. Asks no service, and makes nothing.
    ///
    /// Fails with [`ErrorKind::Config`] when the options do not fit.
    pub fn open(&self, options: &StoreOptions) -> Result<Objects> {
        check(options, self)?;
        let (store, root) = options.open(self)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mixflow-objects")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot start a thread for object stores")
                    .with_source(error)
            })?;
        Ok(Objects {
            location: self.clone(),
            server: options.service(self),
            store,
            root,
            runtime: Arc::new(runtime),
            cancel: CancelToken::never(),
        })
    }
}

impl Objects {
    /// Returns the same objects, for work that is to stop with `cancel`.
    #[must_use]
    pub fn until(&self, cancel: &CancelToken) -> Objects {
        Objects {
            cancel: cancel.clone(),
            ..self.clone()
        }
    }

    /// Returns where they are.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the store of the whole bucket, or file system.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Returns which part of the [`store`](Objects::store) the location is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the objects of the folder that the location is in, and what it is
    /// called there; `None` for a whole bucket.
    pub fn parent(&self) -> Option<(Objects, String)> {
        let mut parts: Vec<_> = self.root.parts().collect();
        let name = parts.pop()?.as_ref().to_owned();
        let parent = Objects {
            location: self.location.parent(),
            root: parts.into_iter().collect(),
            ..self.clone()
        };
        Some((parent, name))
    }

    /// Returns the same objects, of which every call goes through what `wrap` makes
    /// of the store.
    #[must_use]
    pub fn through(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Objects {
            store: wrap(self.store()),
            ..self
        }
    }

    /// Returns what runs the calls.
    pub fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Returns which server has them, if not that of the service.
    pub(crate) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Returns what tells that the work is to stop.
    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Returns the path of a name in the [`store`](Objects::store).
    pub fn path(&self, name: &str) -> Path {
        let parts = self.root.parts();
        let below = name.split('/').filter(|part| !part.is_empty());
        parts.chain(below.map(Into::into)).collect()
    }

    /// Reads an object; `None` if there is none.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let read = self.block_on(async {
            match self.store.get(&path).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        read.map_err(|error| self.failed(error, "read", name))
    }

    /// Reads several objects, some at a time; `None` for each that is not there.
    pub fn get_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>> {
        let reads = names.iter().map(|name| {
            let path = self.path(name);
            async move {
                match self.store.get(&path).await {
                    Ok(found) => found.bytes().await.map(Some),
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        });
        let all = stream::iter(reads)
            .buffered(READS_AT_ONCE)
            .collect::<Vec<_>>();
        let all = self.block_on(all)?;
        let named = names.iter().zip(all);
        named
            .map(|(name, read)| read.map_err(|error| self.failed(error, "read", name)))
            .collect()
    }

    /// Returns how many bytes an object has; `None` if there is none.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.look(name)?.map(|seen| seen.bytes))
    }

    /// Looks at an object without reading it; `None` if there is none.
    pub fn look(&self, name: &str) -> Result<Option<Seen>> {
        let path = self.path(name);
        match self.block_on(self.store.head(&path))? {
            Ok(meta) => Ok(Some(Seen {
                bytes: meta.size,
                etag: meta.e_tag,
            })),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error, "look at", name)),
        }
    }

    /// Makes an object if there is none of its name, in one step: of several that
    /// try, one does.
    ///
    /// A service that ignores the condition would overwrite; see
    /// [`probe`](Objects::probe).
    pub fn create(&self, name: &str, bytes: impl Into<Bytes>) -> Result<Created> {
        let path = self.path(name);
        let payload = PutPayload::from_bytes(bytes.into());
        let options = PutOptions::from(PutMode::Create);
        match self.block_on(self.store.put_opts(&path, payload, options))? {
            Ok(_) => Ok(Created::New),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                Ok(Created::Existed)
            }
            Err(error) => Err(self.failed(error, "make", name)),
        }
    }

    /// Copies an object, over one that may be there, without it coming here.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.path(from), self.path(to));
        let copied = self.block_on(self.store.copy(&source, &target))?;
        copied.map_err(|error| self.failed(error, "make", to))
    }

    /// Makes an object of one of the same bucket, if there is none of its name, as
    /// [`create`](Objects::create) does.
    pub fn create_from(&self, from: &Path, to: &str) -> Result<Created> {
        let path = self.path(to);
        match self.block_on(self.store.copy_if_not_exists(from, &path))? {
            Ok(()) => Ok(Created::New),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                Ok(Created::Existed)
            }
            Err(error) => Err(self.failed(error, "make", to)),
        }
    }

    /// Writes an object, over one that may be there. It appears whole.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let path = self.path(name);
        let payload = PutPayload::from_bytes(bytes.into());
        let put = self.block_on(self.store.put(&path, payload))?;
        put.map(drop)
            .map_err(|error| self.failed(error, "write", name))
    }

    /// Writes an object from a reader, in parts, and returns its bytes. It appears
    /// whole; takes some 16 MB of memory.
    ///
    /// What was sent of one that fails is given up.
    pub fn upload(&self, name: &str, mut from: impl Read) -> Result<u64> {
        let path = self.path(name);
        let upload = self.block_on(self.store.put_multipart(&path))?;
        let upload = upload.map_err(|error| self.failed(error, "write", name))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let sent = self.send(&mut upload, &mut from, name);
        let total = match sent {
            Ok(total) => total,
            Err(error) => {
                // Of a service that does not answer, some parts may stay.
                let _ = self.runtime.block_on(upload.abort());
                return Err(error);
            }
        };
        let finished = self.block_on(upload.finish())?;
        finished.map_err(|error| self.failed(error, "write", name))?;
        Ok(total)
    }

    fn send(&self, upload: &mut WriteMultipart, from: &mut impl Read, name: &str) -> Result<u64> {
        let mut total = 0;
        loop {
            let mut part = Vec::with_capacity(PART);
            let read = from.by_ref().take(PART as u64).read_to_end(&mut part);
            let read = read.map_err(|error| {
                let message = format!("cannot read what `{name}` is to be");
                Error::new(ErrorKind::Io, message).with_source(error)
            })?;
            if read == 0 {
                return Ok(total);
            }
            total += read as u64;
            let room = async { upload.wait_for_capacity(PARTS_AT_ONCE).await };
            self.block_on(room)?
                .map_err(|error| self.failed(error, "write", name))?;
            let _inside = self.runtime.enter();
            upload.put(Bytes::from(part));
        }
    }

    /// Reads an object into a file, and returns its bytes; `None` if there is none.
    pub fn download(&self, name: &str, to: &mut File) -> Result<Option<u64>> {
        let path = self.path(name);
        let found = match self.block_on(self.store.get(&path))? {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(error, "read", name)),
        };
        let mut stream = found.into_stream();
        let mut total = 0;
        while let Some(piece) = self.block_on(stream.next())? {
            let piece = piece.map_err(|error| self.failed(error, "read", name))?;
            to.write_all(&piece).map_err(|error| {
                let message = format!("cannot keep what is read of `{}`", self.shown(name));
                Error::new(ErrorKind::Io, message).with_source(error)
            })?;
            total += piece.len() as u64;
        }
        Ok(Some(total))
    }

    /// Returns the objects below a name, in no order.
    pub fn list(&self, below: &str) -> Result<Vec<Found>> {
        let prefix = self.path(below);
        let listed = self.block_on(self.store.list(Some(&prefix)).try_collect::<Vec<_>>())?;
        let listed = listed.map_err(|error| self.failed(error, "list", below))?;
        Ok(listed.iter().filter_map(|meta| self.found(meta)).collect())
    }

    fn found(&self, meta: &ObjectMeta) -> Option<Found> {
        let below: Vec<_> = meta.location.prefix_match(&self.root)?.collect();
        let names: Vec<&str> = below.iter().map(AsRef::as_ref).collect();
        Some(Found {
            name: names.join("/"),
            bytes: meta.size,
            written_ms: meta.last_modified.timestamp_millis(),
        })
    }

    /// Removes an object. One that is not there is no error.
    pub fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.block_on(self.store.delete(&path))? {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(error, "remove", name)),
        }
    }

    /// Waits for a call, or until the run is to stop.
    pub(crate) fn block_on<T>(&self, call: impl Future<Output = T>) -> Result<T> {
        self.cancel.check()?;
        self.runtime.block_on(async {
            let mut call = std::pin::pin!(call);
            loop {
                match tokio::time::timeout(LOOK, call.as_mut()).await {
                    Ok(done) => return Ok(done),
                    Err(_) => self.cancel.check()?,
                }
            }
        })
    }

    fn failed(&self, error: StoreError, what: &str, name: &str) -> Error {
        from_store(error, format!("cannot {what} `{}`", self.shown(name)))
    }

    fn shown(&self, name: &str) -> Location {
        self.location.join(name)
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.location)
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::cancel::cancellation;

    use super::*;

    fn objects() -> (tempfile::TempDir, Objects) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let location = Location::Folder(folder.path().join("deep/er"));
        let objects = location
            .open(&StoreOptions::default())
            .expect("a folder opens");
        (folder, objects)
    }

    #[test]
    fn an_object_is_made_once() {
        let (_folder, objects) = objects();
        assert_eq!(objects.get("a/b").unwrap(), None);
        assert_eq!(objects.create("a/b", "one").unwrap(), Created::New);
        assert_eq!(objects.create("a/b", "two").unwrap(), Created::Existed);
        assert_eq!(objects.get("a/b").unwrap(), Some("one".into()));
        objects.put("a/b", "three").expect("it is written");
        assert_eq!(objects.size("a/b").unwrap(), Some(5));
        let names = |below| -> Vec<String> {
            let found = objects.list(below).expect("it lists");
            found.into_iter().map(|found| found.name).collect()
        };
        assert_eq!(names(""), ["a/b"]);
        assert_eq!(names("a"), ["a/b"]);
        assert_eq!(names("b"), Vec::<String>::new());
        objects.delete("a/b").unwrap();
        objects.delete("a/b").unwrap();
        assert_eq!(objects.size("a/b").unwrap(), None);
    }

    #[test]
    fn an_object_that_is_copied_is_made_once() {
        let (_folder, objects) = objects();
        objects.put("staged", "one").unwrap();
        let from = objects.path("staged");
        assert_eq!(objects.create_from(&from, "a").unwrap(), Created::New);
        objects.put("staged", "three").unwrap();
        assert_eq!(objects.create_from(&from, "a").unwrap(), Created::Existed);
        assert_eq!(objects.get("a").unwrap(), Some("one".into()));
        objects.copy("staged", "a").unwrap();
        assert_eq!(objects.get("a").unwrap(), Some("three".into()));
    }

    #[test]
    fn what_is_beside_is_in_the_folder_above() {
        let (_folder, objects) = objects();
        let (parent, name) = objects.parent().expect("it is in a folder");
        assert_eq!(name, "er");
        parent.put("er/a", "one").unwrap();
        assert_eq!(objects.get("a").unwrap(), Some("one".into()));
        let location = Location::parse("s3://bucket/a/b", None).unwrap();
        assert_eq!(location.parent().to_string(), "s3://bucket/a");
    }

    #[test]
    fn looking_makes_nothing() {
        let (folder, objects) = objects();
        assert_eq!(objects.list("").unwrap(), Vec::new());
        assert_eq!(objects.get("a").unwrap(), None);
        assert!(!folder.path().join("deep").exists());
    }

    #[test]
    fn of_many_that_make_an_object_one_does() {
        let (_folder, objects) = objects();
        let created: Vec<Created> = std::thread::scope(|scope| {
            let make = |n: usize| {
                let objects = objects.clone();
                move || objects.create("slot", format!("{n}")).expect("it answers")
            };
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(make(n))).collect();
            let ends = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            ends.collect()
        });
        let new = created.iter().filter(|created| **created == Created::New);
        assert_eq!(new.count(), 1);
    }

    #[test]
    fn what_is_larger_than_a_part_goes_up_and_comes_down() {
        let (_folder, objects) = objects();
        let content: Vec<u8> = (0..PART * 2 + 17).map(|n| (n % 251) as u8).collect();
        assert_eq!(
            objects.upload("large", &content[..]).unwrap(),
            content.len() as u64
        );
        let mut file = tempfile::tempfile().expect("a temp file");
        assert_eq!(
            objects.download("large", &mut file).unwrap(),
            Some(content.len() as u64)
        );
        assert_eq!(objects.get("large").unwrap(), Some(content.into()));
        assert_eq!(objects.download("none", &mut file).unwrap(), None);
    }

    #[test]
    fn an_upload_that_fails_leaves_nothing() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let left = self.0.min(buffer.len());
                self.0 -= left;
                match left {
                    0 => Err(std::io::Error::other("broken")),
                    _ => Ok(left),
                }
            }
        }
        let (_folder, objects) = objects();
        let error = objects.upload("a", Broken(PART + 1)).expect_err("broken");
        assert!(error.in_a_line().contains("broken"), "{error}");
        assert_eq!(objects.list("").unwrap(), Vec::new());
    }

    #[test]
    fn nothing_is_begun_for_a_run_that_is_to_stop() {
        let (_folder, objects) = objects();
        let (guard, cancel) = cancellation();
        let objects = objects.until(&cancel);
        drop(guard);
        let error = objects.get("a").expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
