//! A store at which things happen, for tests of what several machines share.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::Objects;

/// A call to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `get`, `put`, `list`, `delete` or `copy`.
    pub verb: &'static str,
    /// The object that is read or comes to be, or what is listed.
    pub path: String,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The store does it.
    Done,
    /// Nothing is done, and the call fails.
    Failed,
    /// It is done, and the answer gets lost.
    Lost,
}

/// Decides what becomes of each call; it may do anything before.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&Call) -> Fate + Send + Sync>);

impl Script {
    /// Creates a script that asks `decide` at each call.
    pub fn new(decide: impl Fn(&Call) -> Fate + Send + Sync + 'static) -> Script {
        Script(Arc::new(decide))
    }

    /// Returns objects of the same location, to which this happens.
    #[must_use]
    pub fn over(&self, objects: Objects) -> Objects {
        let script = self.clone();
        objects.through(|store| Arc::new(Scripted { store, script }))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[derive(Clone, Debug)]
struct Scripted {
    store: Arc<dyn ObjectStore>,
    script: Script,
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scripted {}", self.store)
    }
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Scripted {
    async fn decided<T>(
        &self,
        verb: &'static str,
        path: &Path,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let asked = Call {
            verb,
            path: path.to_string(),
        };
        let fate = (self.script.0)(&asked);
        if fate == Fate::Failed {
            return Err(broken());
        }
        let done = call.await?;
        match fate {
            Fate::Lost => Err(broken()),
            _ => Ok(done),
        }
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "scripted",
        source: "the connection broke".into(),
    }
}

// What the crate `async-trait` makes of the methods, without it.
impl ObjectStore for Scripted {
    fn put_opts<'s, 'p, 'a>(
        &'s self,
        location: &'p Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Pending<'a, PutResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        let call = self.store.put_opts(location, payload, options);
        Box::pin(self.decided("put", location, call))
    }

    fn put_multipart_opts<'s, 'p, 'a>(
        &'s self,
        location: &'p Path,
        options: PutMultipartOptions,
    ) -> Pending<'a, Box<dyn MultipartUpload>>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.store.put_multipart_opts(location, options)
    }

    fn get_opts<'s, 'p, 'a>(
        &'s self,
        location: &'p Path,
        options: GetOptions,
    ) -> Pending<'a, GetResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        let call = self.store.get_opts(location, options);
        Box::pin(self.decided("get", location, call))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = locations.then(move |location| {
            let this = this.clone();
            async move {
                let location = location?;
                let one = stream::iter([Ok(location.clone())]).boxed();
                let mut done = this.store.delete_stream(one);
                let call = async { done.next().await.unwrap_or_else(|| Err(broken())) };
                this.decided("delete", &location, call).await
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let asked = async move {
            let root = Path::default();
            let below = prefix.as_ref().unwrap_or(&root);
            let listed = this.decided("list", below, async { Ok(()) }).await;
            match listed {
                Ok(()) => this.store.list(prefix.as_ref()),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(asked).flatten().boxed()
    }

    fn list_with_delimiter<'s, 'p, 'a>(
        &'s self,
        prefix: Option<&'p Path>,
    ) -> Pending<'a, ListResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        self.store.list_with_delimiter(prefix)
    }

    fn copy_opts<'s, 'f, 't, 'a>(
        &'s self,
        from: &'f Path,
        to: &'t Path,
        options: CopyOptions,
    ) -> Pending<'a, ()>
    where
        's: 'a,
        'f: 'a,
        't: 'a,
        Self: 'a,
    {
        let call = self.store.copy_opts(from, to, options);
        Box::pin(self.decided("copy", to, call))
    }
}
