//! From a location to a service.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use mixflow_core::error::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3CopyIfNotExists};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
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

/// The variables that name the service instead of [`StoreOptions::endpoint`].
const S3_ENDPOINT: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const GOOGLE_ENDPOINT: [&str; 1] = ["GOOGLE_BASE_URL"];
const AZURE_ENDPOINT: [&str; 2] = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"];

/// What the hosts of the usual services end with.
const USUAL: [&str; 2] = [".amazonaws.com", "storage.googleapis.com"];

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

    /// Returns which service a location means, where its address does not say it all:
    /// one that is not the usual one, and an account of Azure. Asks nobody.
    pub fn service(&self, location: &Location) -> Option<String> {
        let Location::Bucket(url) = location else {
            return None;
        };
        match url.scheme() {
            "s3" | "s3a" => named(&self.endpoint_or(&S3_ENDPOINT)?),
            "gs" => named(&self.endpoint_or(&GOOGLE_ENDPOINT)?),
            "memory" => None,
            _ => {
                let endpoint = self.endpoint_or(&AZURE_ENDPOINT);
                let endpoint = endpoint.and_then(|endpoint| named(&endpoint));
                // Some addresses have the account before the host.
                let account = url.username().is_empty().then(|| {
                    MicrosoftAzureBuilder::from_env().get_config_value(&AzureConfigKey::AccountName)
                });
                let parts = [endpoint, account.flatten()].into_iter().flatten();
                let parts: Vec<String> = parts.collect();
                (!parts.is_empty()).then(|| parts.join(" "))
            }
        }
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
        if let Some(endpoint) = self.endpoint_or(&S3_ENDPOINT) {
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
        if let Some(endpoint) = self.endpoint_or(&GOOGLE_ENDPOINT) {
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
        if let Some(endpoint) = self.endpoint_or(&AZURE_ENDPOINT) {
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

/// Returns what a service is known by, without what may be secret in its address;
/// `None` for the usual one.
fn named(endpoint: &str) -> Option<String> {
    let mut url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?;
    if USUAL.iter().any(|usual| host.ends_with(usual)) {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    // An address without a host has none of these either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(url.as_str().trim_end_matches('/').to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_address_unless_it_is_the_usual_one() {
        let service = |location: &str, endpoint: &str| {
            let options = StoreOptions {
                endpoint: Some(endpoint.to_owned()),
                region: None,
            };
            options.service(&Location::parse(location, None).expect("an address"))
        };
        let minio = service("s3://a/b", "http://Key:s3cr3t@Minio:9000/?x=1");
        assert_eq!(minio.as_deref(), Some("http://minio:9000"));
        assert_eq!(minio, service("s3://a/b", "http://minio:9000/"));
        assert_eq!(
            service("s3://a", "https://s3.eu-west-1.amazonaws.com"),
            None
        );
        assert_eq!(service("gs://a", "https://storage.googleapis.com"), None);
        let azure = service("abfss://a@b.dfs.core.windows.net/c", "https://b.example");
        assert_eq!(azure.as_deref(), Some("https://b.example"));
        assert_eq!(
            StoreOptions::default().service(&Location::Folder("a".into())),
            None
        );
    }
}
