//! Whether a service keeps its word.

use mixflow_core::error::{Error, ErrorKind, Result};

use crate::objects::{Created, Objects};

/// What probes are called; what a dead process has left of them does no harm.
const NAME: &str = "_mixflow_probe";

impl Objects {
    /// Finds out whether the service makes an object only where there is none: some
    /// that speak S3 ignore the condition, and what several machines share would
    /// get lost there.
    ///
    /// Writes an object twice and removes it. Fails with
    /// [`ErrorKind::Destination`] for such a service, and as any other call.
    pub fn probe(&self) -> Result<()> {
        let name = format!("{NAME}-{:016x}", fastrand::u64(..));
        let made = self.create(&name, "1")?;
        let again = self.create(&name, "2");
        self.delete(&name)?;
        match (made, again?) {
            (Created::New, Created::Existed) => Ok(()),
            _ => Err(self.overwrites()
            .hint("use a service that knows conditional writes (`If-None-Match: *`): S3 itself, MinIO, R2, Google Cloud Storage, Azure")),
        }
    }

    /// Finds out whether the service copies an object only to where there is none, as
    /// [`create_from`](Objects::create_from) wants, and [`probes`](Objects::probe).
    pub fn probe_copies(&self) -> Result<()> {
        self.probe()?;
        let name = format!("{NAME}-{:016x}", fastrand::u64(..));
        let copy = format!("{name}-copy");
        self.put(&name, "1")?;
        let from = self.path(&name);
        let copied = || {
            Ok((
                self.create_from(&from, &copy)?,
                self.create_from(&from, &copy)?,
            ))
        };
        let copied: Result<_> = copied();
        self.delete(&name)?;
        self.delete(&copy)?;
        match copied? {
            (Created::New, Created::Existed) => Ok(()),
            _ => Err(self.overwrites().hint(
                "R2 needs `AWS_COPY_IF_NOT_EXISTS=header: cf-copy-destination-if-none-match: *` in the environment; with other services set `mode` to `replace`, or write a folder",
            )),
        }
    }

    fn overwrites(&self) -> Error {
        let what = format!("cannot use `{}`", self.location());
        Error::new(ErrorKind::Destination, what).because("the service overwrites an object that is there although it is told not to, so two machines that write at once would lose what one of them has written")
    }
}

#[cfg(test)]
mod tests {
    use crate::{Location, StoreOptions};

    #[test]
    fn a_folder_keeps_its_word_and_is_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let location = Location::Folder(folder.path().to_owned());
        let objects = location.open(&StoreOptions::default()).expect("it opens");
        objects.probe().unwrap();
        objects.probe_copies().unwrap();
        assert_eq!(objects.list("").unwrap(), []);
    }
}
