//! What a destination really is, however it is written.

use std::path::{Path, PathBuf};

use mixflow_core::destination::Destination;
use mixflow_core::staged::folder_of;

use crate::place::identity;

/// Links that are followed; no system follows more.
const LINKS: usize = 40;

/// Returns the path of a file without links in it, whether it is there or not.
pub fn real(path: &Path) -> PathBuf {
    // A link may lead to a file that is not there yet.
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(real) = std::fs::canonicalize(&path) {
            return real;
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    match (path.parent(), path.file_name()) {
        (Some(_), Some(name)) => real(folder_of(&path)).join(name),
        _ => path,
    }
}

/// Returns what the history knows a destination by: its real path or its URI, the
/// table, and the service if one is named.
pub(crate) fn key(destination: &Destination) -> String {
    match &destination.service {
        Some(service) => {
            serde_json::json!([place(destination), destination.table, service]).to_string()
        }
        None => serde_json::json!([place(destination), destination.table]).to_string(),
    }
}

/// Returns what a destination of a service was known by until services were told
/// apart; `None` if it has none.
pub(crate) fn key_of_before(destination: &Destination) -> Option<String> {
    destination.service.as_ref()?;
    Some(key(&destination.clone().with_service(None)))
}

/// Returns what the history knows the destinations of a pipeline by: of one its
/// key, of several their keys in any order.
pub(crate) fn key_of_all(destinations: &[Destination]) -> String {
    joined(destinations.iter().map(key))
}

/// Returns what it knew them by until services were told apart, be it the same.
pub(crate) fn key_of_all_before(destinations: &[Destination]) -> String {
    joined(
        destinations
            .iter()
            .map(|one| key_of_before(one).unwrap_or_else(|| key(one))),
    )
}

fn joined(keys: impl Iterator<Item = String>) -> String {
    let mut keys: Vec<String> = keys.collect();
    keys.sort();
    keys.join("\n")
}

/// Returns where a destination is, for an order that is the same in every
/// process: a real path, or a URI.
pub fn place(destination: &Destination) -> String {
    match &destination.path {
        Some(path) => real(path).to_string_lossy().into_owned(),
        None => normalized(&destination.uri).unwrap_or_else(|| destination.uri.clone()),
    }
}

/// Returns whether two destinations are one to the lock: the same file or folder,
/// by whatever names.
pub fn is_one(destination: &Destination, other: &Destination) -> bool {
    let others = marks(other);
    marks(destination).iter().any(|mark| others.contains(mark))
}

/// Whether a destination is something that two runs could both write to: not
/// a stream or a program.
pub fn is_lockable(destination: &Destination) -> bool {
    destination.path.is_some() || normalized(&destination.uri).is_some()
}

/// Returns a name for each thing that a destination may be known by, sorted.
///
/// These are its path without links, as systems compare it that take capital
/// letters for small ones; the link that is written, as it may come to lead
/// elsewhere; and the file itself, which may have several names, if it is
/// there. A URI is known by itself.
pub(crate) fn marks(destination: &Destination) -> Vec<String> {
    let texts = match (&destination.path, normalized(&destination.uri)) {
        // Of a database each table is written by itself.
        (_, Some(uri)) => {
            let service = destination.service.as_ref();
            let at = service.map_or(String::new(), |service| format!(" at {service}"));
            match &destination.table {
                Some(table) => vec![format!("{uri} {table}{at}")],
                None => vec![uri + &at],
            }
        }
        (Some(path), None) => {
            let link = path
                .file_name()
                .map(|name| real(folder_of(path)).join(name));
            let paths = link.into_iter().chain([real(path)]);
            let names = paths.map(|path| path.to_string_lossy().to_lowercase());
            let file = identity(path).filter(|_| cfg!(unix));
            let file = file.map(|(device, number)| format!("file {device} {number}"));
            names.chain(file).collect()
        }
        (None, None) => Vec::new(),
    };
    let hash = |text: &String| xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    let marks = texts.iter().map(|text| format!("{:032x}.lock", hash(text)));
    let mut marks: Vec<String> = marks.collect();
    marks.sort();
    marks.dedup();
    marks
}

/// Returns a URI in the one form that all its spellings have; `None` for a
/// text that is none.
///
/// Scheme and host are in small letters, the usual port, `.`, `..` and slashes
/// at the end or twice are left out.
pub(crate) fn normalized(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    // One letter is a disk.
    if scheme.len() < 2
        || !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme.chars().all(is_scheme)
    {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("{scheme}://{host}/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_one_form() {
        for spelling in [
            "s3://Bucket/a/b",
            "S3://bucket//a/./b/",
            "s3://bucket/a/c/../b",
        ] {
            assert_eq!(normalized(spelling).as_deref(), Some("s3://bucket/a/b"));
        }
        assert_eq!(
            normalized("https://example.org:443").as_deref(),
            Some("https://example.org/")
        );
        // What comes after the host may be told apart by its case.
        assert_ne!(normalized("s3://b/A"), normalized("s3://b/a"));
        assert_eq!(normalized("standard output"), None);
        assert_eq!(normalized("C:/a://b"), None);
    }

    #[test]
    fn one_uri_of_two_services_is_two_destinations() {
        let at = |service: Option<&str>| {
            let service = service.map(str::to_owned);
            Destination::named("s3://bucket/a").with_service(service)
        };
        let (one, two) = (at(Some("http://one:9000")), at(Some("http://two:9000")));
        assert!(!is_one(&one, &two) && !is_one(&one, &at(None)));
        assert!(is_one(&one, &one));
        assert_ne!(key(&one), key(&two));
        assert_eq!(key_of_before(&one), Some(key(&at(None))));
        assert_eq!(key_of_before(&at(None)), None);
        assert_eq!(
            key_of_all_before(&[one.clone(), at(None)]),
            key_of_all(&[at(None), at(None)])
        );
    }

    #[test]
    fn a_relative_path_is_the_file_that_it_leads_to() {
        let here = std::env::current_dir().expect("it is there");
        let absolute = here.join("src/../no.db");
        assert_eq!(
            key(&Destination::at("no.db")),
            key(&Destination::at(absolute))
        );
        let table = Destination::at("no.db").with_table("events");
        assert_ne!(key(&table), key(&Destination::at("no.db")));
        assert_ne!(
            key(&Destination::at("ano.db")),
            key(&Destination::at("no.db"))
        );
    }
}
