//! Objects that are in the same store already, and copies of them that no byte
//! leaves the service for.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::whole_file::{FilePlace, WholeFile};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _};
use url::Url;

use crate::failure::from_store;
use crate::location::Location;
use crate::objects::Objects;

/// Objects that are copied at once.
const COPIES_AT_ONCE: usize = 16;

/// The most bytes of an object that every service copies at once: S3 does.
const LARGEST: u64 = 5 << 30;

/// An object that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// Its path in the store.
    pub from: Path,
    /// The name of the copy.
    pub to: String,
    /// Its bytes.
    pub bytes: u64,
}

impl Objects {
    /// Returns where an object is, for others who may have the same store.
    pub fn place(&self, name: &str) -> FilePlace {
        match self.location().join(name) {
            Location::Folder(path) => FilePlace::Local(path),
            Location::Bucket(url) => FilePlace::Bucket {
                url: url.into(),
                endpoint: self.server().map(ToOwned::to_owned),
            },
        }
    }

    /// Returns the path in this [`store`](Objects::store) of what is at `place`; `None`
    /// if that is in another store.
    pub fn path_of(&self, place: &FilePlace) -> Option<Path> {
        let FilePlace::Bucket { url, endpoint } = place else {
            return None;
        };
        let Location::Bucket(own) = self.location() else {
            return None;
        };
        let url = Url::parse(url).ok()?;
        let bucket = |url: &Url| {
            let (host, user) = (url.host_str()?.to_owned(), url.username().to_owned());
            // What is in memory is in there by itself.
            (url.scheme() != "memory").then(|| (url.scheme().to_owned(), user, host))
        };
        let is_same = bucket(&url)? == bucket(own)? && endpoint.as_deref() == self.server();
        let path = Path::from_url_path(url.path().trim_end_matches('/')).ok()?;
        is_same.then_some(path)
    }

    /// Returns the path in this [`store`](Objects::store) of a file that can be copied
    /// there without its bytes leaving the service.
    pub fn path_of_file(&self, file: &WholeFile) -> Option<Path> {
        self.path_of(&file.place).filter(|_| file.bytes <= LARGEST)
    }

    /// Makes objects without content, some at a time.
    pub fn put_empty(&self, names: &[String]) -> Result<()> {
        let store = self.store();
        let all = names.iter().map(|name| {
            let (store, path) = (&store, self.path(name));
            async move { store.put(&path, Vec::new().into()).await }
        });
        let all = stream::iter(all).buffer_unordered(COPIES_AT_ONCE);
        let put = self.block_on(all.try_collect::<Vec<_>>())?;
        put.map(drop)
            .map_err(|error| from_store(error, format!("cannot write to `{}`", self.location())))
    }

    /// Copies objects of the [`store`](Objects::store), each to its name here, some at a
    /// time; the bytes stay with the service. Each has as many of them as is said.
    pub fn copy_all(&self, copies: &[Copying]) -> Result<()> {
        let store = self.store();
        let all = copies.iter().map(|copying| {
            let (store, to) = (&store, self.path(&copying.to));
            async move {
                store.copy(&copying.from, &to).await?;
                // Some services answer before they have done it.
                let size = store.head(&to).await?.size;
                Ok::<_, StoreError>((copying, size))
            }
        });
        let mut all = stream::iter(all).buffer_unordered(COPIES_AT_ONCE);
        while let Some(copied) = self.block_on(all.next())? {
            let (copying, size) = copied.map_err(|error| {
                from_store(error, format!("cannot copy to `{}`", self.location()))
            })?;
            if size != copying.bytes {
                let message = format!("cannot copy `{}` to `{}`", copying.from, copying.to);
                return Err(Error::new(ErrorKind::Data, message)
                    .because(format!("it has {size} bytes, and had {}", copying.bytes)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    fn objects(location: &str, endpoint: Option<&str>) -> Objects {
        let location = Location::parse(location, None).expect("an address");
        let options = StoreOptions {
            endpoint: endpoint.map(ToOwned::to_owned),
            region: Some("eu-central-1".to_owned()),
        };
        location.open(&options).expect("it opens")
    }

    #[test]
    fn what_is_in_the_same_bucket_of_the_same_server_has_a_path() {
        let server = Some("http://127.0.0.1:9");
        let sink = objects("s3://lake/events", server);
        let found = |stage: &Objects, name: &str| sink.path_of(&stage.place(name));
        let path = found(&objects("s3://lake/a b/stage", server), "plan/p.parquet");
        assert_eq!(
            path.expect("the same store").as_ref(),
            "a b/stage/plan/p.parquet"
        );
        assert_eq!(found(&objects("s3://other/stage", server), "p"), None);
        assert_eq!(
            found(&objects("s3://lake/stage", Some("http://127.0.0.1:8")), "p"),
            None
        );
        assert_eq!(
            sink.path_of(&FilePlace::Local("/lake/stage/p".into())),
            None
        );
    }
}
