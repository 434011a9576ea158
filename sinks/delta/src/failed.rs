//! Errors of the kernel and of stores, as ours.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use delta_kernel::KernelError;
use mixflow_core::staged::cannot;
use mixflow_core::{Error, ErrorKind};
use mixflow_objects::from_store;

/// Returns a function that wraps an error of the kernel: ``cannot {what}``.
pub(crate) fn failed(what: impl Display) -> impl FnOnce(KernelError) -> Error {
    move |error| match error {
        KernelError::ObjectStore(error) => store_failed(what)(error),
        KernelError::IOError(error) => cannot(what)(error),
        error => Error::new(ErrorKind::Destination, format!("cannot {what}")).with_source(error),
    }
}

/// Returns a function that wraps an error of a store: ``cannot {what}``.
pub(crate) fn store_failed(what: impl Display) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        if let Some(local) = io_error(&error) {
            let local = io::Error::new(local.kind(), error);
            return cannot(what)(local);
        }
        from_store(error, format!("cannot {what}"))
    }
}

/// Returns the error of the file system that lies below, if one does.
fn io_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e io::Error> {
    let mut error = Some(error);
    while let Some(here) = error {
        if let Some(found) = here.downcast_ref::<io::Error>() {
            return Some(found);
        }
        error = here.source();
    }
    None
}
