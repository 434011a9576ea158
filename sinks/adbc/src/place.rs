//! Where a database is, as far as everybody may know.

use std::path::{Path, PathBuf};

use mixflow_core::config::Secret;

use crate::dialect::Dialect;

/// What of a URI may be shown, and what may not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown {
    /// Host, port and database: `postgresql://host:5432/db`.
    pub(crate) uri: String,
    /// The file, if it is one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) secrets: Vec<Secret>,
}

/// Parameters of a URI, and words of a connection string, that say where a
/// database is.
const WHERE: [&str; 6] = ["host", "hostaddr", "port", "dbname", "service", "database"];

impl Shown {
    /// Takes a URI of a driver apart. `home` is what `~` stands for.
    pub(crate) fn of(dialect: Dialect, driver: &str, uri: &str, home: Option<&Path>) -> Shown {
        if dialect.is_file() {
            return Shown::of_file(uri, home);
        }
        let scheme = match dialect {
            Dialect::Postgres => "postgresql".to_owned(),
            _ => name_of(driver),
        };
        let (own_scheme, rest) = match uri.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, uri),
        };
        // A password may have a `/` or `@` in it that nobody has encoded.
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
        if own_scheme.is_none() && user.is_empty() && uri.contains('=') {
            return Shown::of_words(&scheme, uri);
        }
        let mut secrets = vec![Secret::new(uri)];
        let password = user.split_once(':').map(|(_, password)| password);
        secrets.extend(password.into_iter().flat_map(spellings));
        let scheme = match (dialect, own_scheme) {
            (Dialect::Other, Some(own)) => own.to_owned(),
            _ => scheme,
        };
        let mut shown = format!("{scheme}://{place}");
        let mut separator = '?';
        for (name, value) in parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='))
        {
            if WHERE.contains(&name) {
                shown = format!("{shown}{separator}{name}={value}");
                separator = '&';
            } else if is_secret(name) {
                secrets.extend(spellings(value));
            }
        }
        Shown {
            uri: shown,
            path: None,
            secrets,
        }
    }

    /// Takes the words of a connection string: `host=a dbname=b password=c`.
    fn of_words(scheme: &str, text: &str) -> Shown {
        let mut shown = Vec::new();
        let mut secrets = vec![Secret::new(text)];
        for (name, value) in text
            .split([' ', ';'])
            .filter_map(|word| word.trim().split_once('='))
        {
            if WHERE.contains(&name.to_lowercase().as_str()) {
                shown.push(format!("{name}={value}"));
            } else if is_secret(name) {
                secrets.extend(spellings(value.trim_matches('\'')));
            }
        }
        shown.sort();
        Shown {
            uri: format!("{scheme}://?{}", shown.join("&")),
            path: None,
            secrets,
        }
    }

    fn of_file(uri: &str, home: Option<&Path>) -> Shown {
        let (path, _) = file_of(uri);
        let path = match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        };
        Shown {
            uri: path.display().to_string(),
            path: Some(path),
            secrets: Vec::new(),
        }
    }
}

/// Returns the path in a URI of a file, and what comes after it.
fn file_of(uri: &str) -> (&str, &str) {
    let schemes = ["sqlite:", "duckdb:", "file:"];
    let scheme = schemes.iter().find_map(|scheme| uri.strip_prefix(scheme));
    let Some(rest) = scheme else {
        return (uri, "");
    };
    // `//` is followed by a host, which is none here.
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    rest.split_once('?').unwrap_or((rest, ""))
}

/// Returns the name of a driver, without what is of a library's file.
pub(crate) fn name_of(driver: &str) -> String {
    let stem = Path::new(driver).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy().to_lowercase();
    let stem = stem.strip_prefix("lib").unwrap_or(&stem);
    stem.strip_prefix("adbc_driver_").unwrap_or(stem).to_owned()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = ["password", "passwd", "pwd", "token", "secret", "key"];
    words.iter().any(|word| name.contains(word))
}

/// Returns a secret as it is written, and as it is meant: `p%40ss` is `p@ss`.
fn spellings(text: &str) -> Vec<Secret> {
    let (bytes, mut meant, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3);
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                meant.push(decoded);
                at += 3;
            }
            _ => {
                meant.push(*byte);
                at += 1;
            }
        }
    }
    let mut all = vec![text.to_owned()];
    all.extend(String::from_utf8(meant).ok().filter(|meant| meant != text));
    // One of a few letters would hide half of every message.
    let all = all.into_iter().filter(|text| text.len() >= 4);
    all.map(Secret::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(driver: &str, uri: &str) -> String {
        let shown = Shown::of(
            Dialect::of_driver(driver),
            driver,
            uri,
            Some(Path::new("/home/ann")),
        );
        assert!(!shown.uri.contains("s3cret"), "{}", shown.uri);
        shown.uri
    }

    #[test]
    fn host_and_database_are_shown_and_no_more() {
        for (driver, uri, is) in [
            (
                "postgresql",
                "postgres://ann:s3cret@db.example:5432/events?sslmode=require&host=/tmp/x",
                "postgresql://db.example:5432/events?host=/tmp/x",
            ),
            (
                "postgresql",
                "postgresql://ann:s3/cr@et:s3cret@h/d?password=s3cret",
                "postgresql://h/d",
            ),
            (
                "postgresql",
                "host=h user=ann password=s3cret dbname=d",
                "postgresql://?dbname=d&host=h",
            ),
            (
                "snowflake",
                "ann:s3cret@account/db/schema?warehouse=w",
                "snowflake://account/db/schema",
            ),
            (
                "libadbc_driver_flightsql.so",
                "grpc+tls://ann:s3cret@h:31337",
                "grpc+tls://h:31337",
            ),
            ("sqlite", "file:a.db?mode=rw", "a.db"),
            ("sqlite", "~/a.db", "/home/ann/a.db"),
            ("sqlite", "sqlite:///tmp/a.db", "/tmp/a.db"),
        ] {
            assert_eq!(shown(driver, uri), is, "{uri}");
        }
    }

    #[test]
    fn a_password_is_hidden_as_it_is_written_and_as_it_is_meant() {
        let shown = Shown::of(
            Dialect::Postgres,
            "postgresql",
            "postgres://a:p%40ss%20w@h/d",
            None,
        );
        let hide = |text: &str| {
            let secrets = shown.secrets.iter();
            secrets.fold(text.to_owned(), |text, secret| secret.hide_in(&text))
        };
        assert_eq!(hide("x p@ss w y p%40ss%20w z"), "x … y … z");
    }
}
