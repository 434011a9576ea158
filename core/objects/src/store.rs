//! From a location to a service.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use mixflow_core::error::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3CopyIfNotExists};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::failure::from_store;
use crate::location::Location;

/// What a service that is not the usual one needs to be said: MinIO, R2, an
/// emulator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreOptions {
    /// The address of the service: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The region of the bucket: `eu-central-1`.
    pub region: Option<String>,
}

/// The longest that a request is tried again. `object_store` alone takes three
/// minutes to say that nobody is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, and which part of it is meant.
pub(crate) type Part = (Arc<dyn ObjectStore>, Path);

impl StoreOptions {
    /// Opens the store of a location. Asks nobody, and makes nothing.
    ///
    /// Fails when the options do not go with the location.
    pub(crate) fn open(&self, location: &Location) -> Result<Part> {
        let opened = match location {
            Location::Folder(folder) => folder_store(folder),
            Location::Bucket(url) => self.bucket(url),
        };
        opened.map_err(|error| from_store(error, format!("cannot use `{location}`")))
    }

    fn bucket(&self, url: &Url) -> object_store::Result<Part> {
        let path = Path::from_url_path(url.path().trim_end_matches('/'))?;
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "s3" | "s3a" => Arc::new(self.s3(url)?),
            "gs" => Arc::new(self.google(url)?),
            "memory" => Arc::new(InMemory::new()),
            _ => Arc::new(self.azure(url)?),
        };
        Ok((store, path))
    }

    fn s3(&self, url: &Url) -> object_store::Result<object_store::aws::AmazonS3> {
        let bucket = url.host_str().unwrap_or_default();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry());
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if builder
            .get_config_value(&AmazonS3ConfigKey::CopyIfNotExists)
            .is_none()
        {
            builder = builder.with_copy_if_not_exists(S3CopyIfNotExists::Multipart);
        }
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        if let Some(endpoint) = self.endpoint_or(&variables) {
            builder = builder
                .with_client_options(client(&endpoint))
                .with_endpoint(endpoint);
        }
        builder.build()
    }

    fn google(&self, url: &Url) -> object_store::Result<object_store::gcp::GoogleCloudStorage> {
        let bucket = url.host_str().unwrap_or_default();
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry());
        if let Some(endpoint) = self.endpoint_or(&["GOOGLE_BASE_URL"]) {
            builder = builder
                .with_client_options(client(&endpoint))
                .with_base_url(&endpoint);
        }
        builder.build()
    }

    fn azure(&self, url: &Url) -> object_store::Result<object_store::azure::MicrosoftAzure> {
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_url(url.as_str())
            .with_retry(retry());
        if let Some(endpoint) = self.endpoint_or(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]) {
            builder = builder
                .with_client_options(client(&endpoint))
                .with_endpoint(endpoint);
        }
        builder.build()
    }

    /// Returns the address of the service: what the options say, else the first of
    /// these variables.
    fn endpoint_or(&self, variables: &[&str]) -> Option<String> {
        let mut variables = variables.iter();
        let said = || variables.find_map(|name| std::env::var(name).ok());
        self.endpoint.clone().or_else(said)
    }
}

fn folder_store(folder: &FilePath) -> object_store::Result<Part> {
    let absolute = std::path::absolute(folder).map_err(|error| object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(error),
    })?;
    // At the root of the file system, so that a folder that is not there can be
    // looked at without being made.
    let store = LocalFileSystem::new().with_fsync(true);
    Ok((Arc::new(store), Path::from_absolute_path(absolute)?))
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: PATIENCE,
        ..RetryConfig::default()
    }
}

/// Without TLS only where the address says so.
fn client(endpoint: &str) -> ClientOptions {
    ClientOptions::new().with_allow_http(endpoint.starts_with("http://"))
}

/// Refuses options that mean nothing for a folder.
pub(crate) fn check(options: &StoreOptions, location: &Location) -> Result<()> {
    let given = options.endpoint.is_some() || options.region.is_some();
    if given && location.folder().is_some() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("`{location}` is a folder, which has neither `endpoint` nor `region`"),
        ));
    }
    Ok(())
}
