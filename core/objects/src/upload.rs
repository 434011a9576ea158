//! An object that is written in parts, for whoever does not know its size.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use mixflow_core::cancel::CancelToken;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Handle;

use crate::objects::Objects;

/// The bytes of a part: the least that S3 takes.
const PART: usize = 5 << 20;

/// Parts that are under way at once, so that memory is bounded.
const PARTS_AT_ONCE: usize = 2;

/// How often a call that waits for a service looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// An object that is being written. It appears whole when it is
/// [finished](Upload::finish), and not at all if it is [given up](Upload::give_up);
/// takes some 15 MB of memory.
pub struct Upload {
    inner: BufWriter,
    runtime: Handle,
    cancel: CancelToken,
    bytes: u64,
}

impl Objects {
    /// Begins to write an object, over one that may be there.
    pub fn writer(&self, name: &str) -> Upload {
        let inner = BufWriter::with_capacity(self.store(), self.path(name), PART);
        Upload {
            inner: inner.with_max_concurrency(PARTS_AT_ONCE),
            runtime: self.runtime().clone(),
            cancel: self.cancel().clone(),
            bytes: 0,
        }
    }
}

impl Upload {
    /// Has the object appear, and returns its bytes.
    pub fn finish(mut self) -> io::Result<u64> {
        self.end()
    }

    /// Has the object appear, and returns its bytes; nothing more can be written.
    pub fn end(&mut self) -> io::Result<u64> {
        until(&self.runtime, &self.cancel, self.inner.shutdown())?;
        Ok(self.bytes)
    }

    /// Returns the bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives up what was sent. Of a service that does not answer, some parts may
    /// stay, which nobody sees.
    pub fn give_up(&mut self) {
        if let Err(error) = self.runtime.block_on(self.inner.abort()) {
            log::debug!("parts of an upload may stay: {error}");
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = until(&self.runtime, &self.cancel, self.inner.write(bytes))?;
        self.bytes += written as u64;
        Ok(written)
    }

    /// Does nothing: a part goes when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({} bytes)", self.bytes)
    }
}

/// Waits for a call, or until the run is to stop.
fn until<T>(
    runtime: &Handle,
    cancel: &CancelToken,
    call: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    runtime.block_on(async {
        let mut call = std::pin::pin!(call);
        loop {
            match tokio::time::timeout(LOOK, call.as_mut()).await {
                Ok(done) => return done,
                Err(_) => cancel.check().map_err(io::Error::other)?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Location, StoreOptions};

    #[test]
    fn an_object_appears_when_it_is_finished_and_not_when_it_is_given_up() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let location = Location::Folder(folder.path().to_owned());
        let objects = location.open(&StoreOptions::default()).expect("it opens");
        let piece = vec![7; PART - 1];
        for given_up in [true, false] {
            let mut upload = objects.writer("a/b");
            for _ in 0..3 {
                upload.write_all(&piece).expect("it is written");
            }
            assert_eq!(objects.size("a/b").expect("it answers"), None);
            if given_up {
                upload.give_up();
                assert_eq!(objects.size("a/b").expect("it answers"), None);
            } else {
                let bytes = upload.finish().expect("it is written");
                assert_eq!(bytes, 3 * piece.len() as u64);
                assert_eq!(objects.size("a/b").expect("it answers"), Some(bytes));
            }
        }
    }
}
