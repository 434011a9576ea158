//! One place for objects: a folder, or a bucket of S3, Google Cloud Storage or
//! Azure.
//!
//! A [`Location`] is what a person writes, `s3://bucket/events` or a folder. What
//! [`opens`](Location::open) it are [`Objects`]: calls that block, and that
//! `create` an object only where there is none, which is what everything that
//! several machines share here stands on.
//!
//! Credentials come from the environment, as the crate `object_store` reads them:
//! `AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME` and
//! their like, or what the machine itself is given.

#![forbid(unsafe_code)]

mod copies;
mod failure;
mod location;
mod objects;
mod probe;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod upload;

pub use copies::Copying;
pub use failure::from_store;
pub use location::Location;
pub use objects::{Created, Found, Objects, Seen};
pub use store::StoreOptions;
pub use upload::Upload;

/// The crate that knows the services.
pub use object_store;
