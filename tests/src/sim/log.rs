//! The log of requests.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::json;

/// The endpoint that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/api/2.0/export`: events.
    Export,
    /// `/api/query/engage` or `/api/2.0/engage`: profiles.
    Engage,
    /// Any other path; answered with 404.
    Other,
}

impl Endpoint {
    pub(super) fn of(path: &str) -> Self {
        match path.trim_end_matches('/') {
            "/api/2.0/export" => Self::Export,
            "/api/query/engage" | "/api/2.0/engage" => Self::Engage,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Engage => "engage",
            Self::Other => "other",
        }
    }
}

/// A request and what became of it.
///
/// The entry is made before the first byte of the answer is sent, so that a
/// client which has its answer finds its request here.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// The moment when the whole request had arrived.
    pub at: Instant,
    /// The endpoint of the path.
    pub endpoint: Endpoint,
    /// The method, such as `GET`.
    pub method: String,
    /// The path without the query string.
    pub path: String,
    /// The decoded query string.
    pub query: Vec<(String, String)>,
    /// The decoded body, if it is a form or a JSON object.
    pub form: Vec<(String, String)>,
    /// The headers as sent, credentials included.
    pub headers: Vec<(String, String)>,
    /// The user name of HTTP Basic authorization.
    pub authorization_user: Option<String>,
    /// Whether `Accept-Encoding` names gzip.
    pub accepts_gzip: bool,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// The faults that took part in the answer, in their text form.
    pub fault: Option<String>,
    /// The number of whole rows in the answer before any cut.
    pub rows: usize,
}

impl LoggedRequest {
    /// Returns a parameter, from the query string or else from the form.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.query.iter().chain(&self.form);
        let found = params.find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns a header by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns one line of JSON, without the headers: they hold a secret.
    fn to_json(&self, started: Instant) -> String {
        let pairs = |pairs: &[(String, String)]| -> serde_json::Map<_, _> {
            let pairs = pairs.iter().cloned();
            pairs.map(|(key, value)| (key, value.into())).collect()
        };
        let line = json!({
            "ms": self.at.duration_since(started).as_millis() as u64,
            "endpoint": self.endpoint.name(),
            "method": self.method,
            "path": self.path,
            "query": pairs(&self.query),
            "form": pairs(&self.form),
            "gzip": self.accepts_gzip,
            "status": self.status,
            "rows": self.rows,
            "fault": self.fault,
        });
        line.to_string()
    }
}

/// Keeps the requests in memory and writes them to a file if there is one.
#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    entries: Mutex<Vec<LoggedRequest>>,
    file: Option<Mutex<File>>,
}

impl Log {
    pub(super) fn new(path: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            entries: Mutex::default(),
            file: path.map(File::create).transpose()?.map(Mutex::new),
        })
    }

    pub(super) fn add(&self, entry: LoggedRequest) {
        if let Some(file) = &self.file {
            let line = entry.to_json(self.started) + "\n";
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not change what the client under test sees.
            let _ = file.write_all(line.as_bytes());
        }
        self.lock().push(entry);
    }

    pub(super) fn entries(&self) -> Vec<LoggedRequest> {
        self.lock().clone()
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<LoggedRequest>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LoggedRequest {
        let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        LoggedRequest {
            at: Instant::now(),
            endpoint: Endpoint::Engage,
            method: "POST".to_owned(),
            path: "/api/query/engage".to_owned(),
            query: pair("page", "1"),
            form: pair("where", "x"),
            headers: pair("Authorization", "Basic c2VjcmV0"),
            authorization_user: Some("sim".to_owned()),
            accepts_gzip: true,
            status: 200,
            fault: None,
            rows: 3,
        }
    }

    #[test]
    fn parameters_come_from_query_and_form() {
        assert_eq!(entry().param("page"), Some("1"));
        assert_eq!(entry().param("where"), Some("x"));
        assert_eq!(entry().param("limit"), None);
        assert_eq!(entry().header("authorization"), Some("Basic c2VjcmV0"));
    }

    #[test]
    fn the_json_line_has_no_credentials() {
        let entry = entry();
        let line = entry.to_json(entry.at);
        assert!(
            line.starts_with(r#"{"ms":0,"endpoint":"engage","#),
            "{line}"
        );
        assert!(!line.contains("c2VjcmV0"), "{line}");
    }
}
