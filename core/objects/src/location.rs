//! Where objects are, as people write it.

use std::fmt;
use std::path::{Path, PathBuf};

use mixflow_core::config::local_path;
use url::Url;

/// A folder of this machine, or one in a bucket.
///
/// Shows what was written; there is nothing secret in it, which is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this machine.
    Folder(PathBuf),
    /// In a bucket: `s3://bucket/a/b`.
    Bucket(Url),
}

/// What a bucket's address may begin with.
const SCHEMES: [&str; 9] = [
    "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "memory",
];

impl Location {
    /// Returns whether a text is the address of a bucket, rather than a path.
    pub fn is_bucket(text: &str) -> bool {
        text.split_once("://")
            .is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
    }

    /// Reads a path or the address of a bucket. `home` is what `~` stands for.
    ///
    /// Fails, with a reason that can be shown, for another scheme and for an
    /// address with credentials or parameters in it.
    pub fn parse(text: &str, home: Option<&Path>) -> Result<Location, String> {
        let Some((scheme, _)) = text.split_once("://") else {
            return local_path(Path::new(text), home).map(Location::Folder);
        };
        if scheme == "file" {
            let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
            let path = url.to_file_path();
            return path
                .map(Location::Folder)
                .map_err(|()| "a `file://` address is followed by an absolute path".to_owned());
        }
        if !SCHEMES.contains(&scheme) {
            return Err(
                "it is neither a path nor an address that begins with `s3://`, `gs://` or `az://`"
                    .to_owned(),
            );
        }
        // The text is not shown: it may have a password in it.
        let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
        let has_user = !url.username().is_empty() && !scheme.starts_with("abfs");
        if has_user || url.password().is_some() || url.query().is_some() {
            return Err(
                "credentials and parameters do not belong into the address: they come from the environment, such as `AWS_ACCESS_KEY_ID`"
                    .to_owned(),
            );
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(format!("the bucket is missing: `{scheme}://bucket/folder`"));
        }
        Ok(Location::Bucket(url))
    }

    /// Returns the location of what is below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Location {
        match self {
            Location::Folder(folder) => Location::Folder(folder.join(name)),
            Location::Bucket(url) => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().extend(name.split('/'));
                }
                Location::Bucket(url)
            }
        }
    }

    /// Returns the location that this one is in; a whole bucket is in itself.
    #[must_use]
    pub fn parent(&self) -> Location {
        match self {
            Location::Folder(folder) => {
                Location::Folder(folder.parent().unwrap_or(folder).to_owned())
            }
            Location::Bucket(url) => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().pop();
                }
                Location::Bucket(url)
            }
        }
    }

    /// Returns the folder, if it is one of this machine.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Location::Folder(folder) => Some(folder),
            Location::Bucket(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(folder) => write!(f, "{}", folder.display()),
            Location::Bucket(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Location, String> {
        Location::parse(text, Some(Path::new("/home/ann")))
    }

    #[test]
    fn paths_and_addresses_are_told_apart() {
        assert_eq!(
            parsed("~/stage"),
            Ok(Location::Folder("/home/ann/stage".into()))
        );
        assert_eq!(
            parsed("file:///tmp/a"),
            Ok(Location::Folder("/tmp/a".into()))
        );
        for text in [
            "s3://bucket/a/b",
            "gs://bucket",
            "az://container/a",
            "abfss://container@account.dfs.core.windows.net/a",
        ] {
            let location = parsed(text).expect("it is an address");
            assert_eq!(location.to_string(), text);
            assert!(Location::is_bucket(text), "{text}");
        }
        assert!(!Location::is_bucket("events"));
        assert!(parsed("ftp://host/a").is_err_and(|why| why.contains("s3://")));
        assert!(parsed("s3:///a").is_err_and(|why| why.contains("bucket is missing")));
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for text in [
            "s3://AKIA123:s3cr3t@bucket/a",
            "s3://AKIA123@bucket/a",
            "az://container/a?sig=s3cr3t",
        ] {
            let why = parsed(text).expect_err("it has credentials");
            assert!(why.contains("environment"), "{why}");
            assert!(!why.contains("s3cr3t") && !why.contains("AKIA"), "{why}");
        }
    }

    #[test]
    fn what_is_below_is_joined_with_slashes() {
        let below = |text| parsed(text).expect("a location").join("a/b").to_string();
        assert_eq!(below("s3://bucket/c/"), "s3://bucket/c/a/b");
        assert_eq!(below("s3://bucket"), "s3://bucket/a/b");
        assert_eq!(below("/tmp"), "/tmp/a/b");
    }
}
