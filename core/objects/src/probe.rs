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
            _ => Err(Error::new(
                ErrorKind::Destination,
                format!("cannot use `{}`", self.location()),
            )
            .because("the service overwrites an object that is there although it is told not to, so two machines that write at once would lose what one of them has written")
            .hint("use a service that knows conditional writes (`If-None-Match: *`): S3 itself, MinIO, R2, Google Cloud Storage, Azure")),
        }
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
        assert_eq!(objects.list("").unwrap(), []);
    }
}
