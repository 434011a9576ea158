//! Paths as people write them.

use std::path::{Path, PathBuf};

/// Returns what a path means: `~/` at its beginning is `home`, whoever reads
/// it, a shell or not.
///
/// Fails for what is no path of this machine: a URL, or a name such as `md:db`
/// that DuckDB would take for one of another service's databases.
pub fn local_path(path: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(scheme) = scheme(path) {
        return Err(format!(
            "this begins with `{scheme}:`, so it is no file on this machine; if it is one, write `./` before it"
        ));
    }
    match (path.strip_prefix("~"), home) {
        (Err(_), _) => Ok(path.to_owned()),
        (Ok(rest), Some(home)) => Ok(home.join(rest)),
        (Ok(_), None) => Err("the home folder, which `~` stands for, is not known".to_owned()),
    }
}

/// Returns what stands before the colon of a URL. One letter is a drive.
fn scheme(path: &Path) -> Option<&str> {
    let text = path.as_os_str().to_str()?;
    let (scheme, _) = text.split_once(':')?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let is_one = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(fits);
    is_one.then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(path: &str) -> Result<PathBuf, String> {
        local_path(Path::new(path), Some(Path::new("/home/ann")))
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        for (path, means) in [
            ("~/a/b.db", "/home/ann/a/b.db"),
            ("~", "/home/ann"),
            ("~ann/b.db", "~ann/b.db"),
            ("a/~/b.db", "a/~/b.db"),
            ("/a/b.db", "/a/b.db"),
            ("", ""),
        ] {
            assert_eq!(meant(path), Ok(PathBuf::from(means)), "{path}");
        }
        assert!(local_path(Path::new("~/a"), None).is_err());
        assert_eq!(local_path(Path::new("a"), None), Ok(PathBuf::from("a")));
    }

    #[test]
    fn urls_are_no_paths() {
        for path in [
            "md:",
            "md:mine",
            "s3://bucket/a",
            "https://x/y.db",
            "file:///a",
            "postgres:x",
            "MD:a",
        ] {
            let error = meant(path).expect_err("refused");
            assert!(error.contains("no file on this machine"), "{path}: {error}");
        }
        for path in ["./md:mine", "C:/a", "a b:c", "12:30.jsonl", "a/b:c", ":a"] {
            assert_eq!(meant(path), Ok(PathBuf::from(path)), "{path}");
        }
    }
}
