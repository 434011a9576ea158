//! Requests to Mixpanel: addresses, credentials, and what an answer means.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, Secret};
use mixflow_core::context::TaskContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use ureq::http::{Response, StatusCode, Version};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, RustlsConnector, TcpConnector,
};
use ureq::{Agent, Body, Timeout};

use super::body::{Encoding, Wire};
use super::proxy;
use super::quota::{Permit, Quota, Said};
use super::retry::{Failure, RetryOptions};
use crate::options::{Credentials, Endpoint};

/// How much of an unexpected answer is read, and how much of it is shown.
const EXCERPT: u64 = 16 << 10;
const SHOWN: usize = 200;

/// How long it may take. A body that drips never pauses for long.
const EXCERPT_WAIT: Duration = Duration::from_secs(5);

/// Makes requests to one endpoint of one project.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    url: String,
    project_id: Option<String>,
    authorization: Secret,
    /// What must not appear in an error although the server may echo it.
    secrets: Vec<Secret>,
    pub(crate) retry: RetryOptions,
    quota: Quota,
}

/// What a request carries besides the project.
pub(crate) struct Request {
    pub(crate) query: Vec<(&'static str, String)>,
    /// The form of a POST; `None` makes a GET.
    pub(crate) form: Option<Vec<(&'static str, String)>>,
    /// Whether it counts for the hourly quota.
    pub(crate) counts: bool,
}

/// An answer whose status is 200; its body has yet to be read.
pub(crate) struct Answer<'c> {
    pub(crate) wire: Wire,
    /// The place at the server is taken until the body is read.
    pub(crate) permit: Permit<'c>,
}

impl Client {
    /// Creates a client whose requests end at once when `cancel` is cancelled.
    /// Fails if a proxy is wanted that cannot be used.
    ///
    /// Starts a thread that waits for that, and ends with it.
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: &Credentials,
        retry: RetryOptions,
        quota: Quota,
        env: &Env,
        cancel: &CancelToken,
    ) -> Result<Client> {
        proxy::check(env)?;
        let agent = agent(&retry, cancel);
        let (watched, cancel) = (agent.clone(), cancel.clone());
        let watcher = std::thread::Builder::new()
            .name("mixflow-cancel".to_owned())
            .spawn(move || {
                cancel.wait_until_cancelled();
                watched.shutdown();
            });
        if let Err(error) = watcher {
            // Requests then end by their time-outs only.
            log::warn!("cannot start the thread that cancels requests: {error}");
        }
        let authorization = match credentials {
            Credentials::ServiceAccount { username, secret } => basic(username, secret.expose()),
            Credentials::ProjectSecret(secret) => basic(secret.expose(), ""),
            Credentials::Token(token) => format!("Bearer {}", token.expose()),
        };
        let secret = match credentials {
            Credentials::ServiceAccount { secret, .. } => secret,
            Credentials::ProjectSecret(secret) | Credentials::Token(secret) => secret,
        };
        let encoded = authorization.split_once(' ').map_or("", |(_, text)| text);
        Ok(Client {
            agent,
            url: endpoint.url(),
            project_id: endpoint.project_id.clone(),
            secrets: vec![secret.clone(), escaped(secret), Secret::new(encoded)],
            authorization: Secret::new(authorization),
            endpoint,
            retry,
            quota,
        })
    }

    /// Makes a request, once there is quota for it.
    pub(crate) fn send(
        &self,
        request: &Request,
        label: &str,
        cx: &TaskContext,
    ) -> Result<Answer<'_>, Failure> {
        let permit = self.quota.acquire(request.counts, label, &self.retry, cx)?;
        cx.count_request();
        log::debug!("{label}: {} {}", request.method(), self.url);
        let response = match self.call(request) {
            Ok(response) => response,
            Err(error) => {
                let nobody = reached_nobody(&error);
                let mut error = self.unreachable(&error);
                if nobody {
                    self.quota.give_back(request.counts, permit);
                    // The next window would reach nobody either.
                    error = error.fatal();
                }
                return Err(Failure::again(error));
            }
        };
        let status = response.status();
        if status != StatusCode::OK {
            return Err(self.refused(response));
        }
        if is_html(&response) {
            return Err(self.not_an_answer(response));
        }
        self.quota
            .hear(&Said::by(response.headers(), SystemTime::now()));
        let gzip = response
            .headers()
            .get("content-encoding")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let wire = Wire {
            encoding: match gzip {
                true => Encoding::Gzip,
                false => Encoding::Identity,
            },
            framed: is_framed(&response),
            reader: Box::new(unlimited(response)),
        };
        Ok(Answer { wire, permit })
    }

    /// Returns what tells a request apart from every other.
    ///
    /// For hashing alone: the credentials are in it.
    pub(crate) fn identity<'a>(&'a self, request: &'a Request) -> Vec<&'a str> {
        let mut parts = vec![
            self.authorization.expose(),
            &self.url,
            self.project_id.as_deref().unwrap_or_default(),
        ];
        for (key, value) in &request.query {
            parts.extend([*key, value.as_str()]);
        }
        parts
    }

    fn call(&self, request: &Request) -> Result<Response<Body>, ureq::Error> {
        let project = self.project_id.as_deref().map(|id| ("project_id", id));
        let query = request.query.iter().map(|(key, value)| (*key, &**value));
        let query = project.into_iter().chain(query);
        match &request.form {
            None => self
                .agent
                .get(&self.url)
                .query_pairs(query)
                .header("authorization", self.authorization.expose())
                .header("accept-encoding", "gzip")
                .call(),
            Some(form) => self
                .agent
                .post(&self.url)
                .query_pairs(query)
                .header("authorization", self.authorization.expose())
                .header("accept-encoding", "gzip")
                .header("accept", "application/json")
                .send_form(form.iter().map(|(key, value)| (*key, &**value))),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        Error::new(
            ErrorKind::Network,
            format!("cannot reach {}", self.endpoint.base()),
        )
        .because(error.to_string())
        .hint("check the network, a proxy in between, and `base_url` if it is set")
    }

    /// Reads what a status other than 200 means.
    fn refused(&self, response: Response<Body>) -> Failure {
        let status = response.status();
        let limits = Said::by(response.headers(), SystemTime::now());
        let location = self.location(&response);
        let text = self.excerpt(response);
        let mut said = format!("the server answered {}", status_line(status));
        if let Some(location) = location {
            said.push_str(&format!(", which points to `{location}`"));
        }
        if !text.is_empty() {
            said.push_str(": ");
            said.push_str(&text);
        }
        let what = self.endpoint.what();
        let error = |kind| Error::new(kind, format!("cannot read {what}")).because(said.clone());
        match status.as_u16() {
            400 if text.contains("Unable to authenticate") => error(ErrorKind::Auth)
                .hint("the credentials are wrong or have expired: check the secret and the project")
                .into(),
            401 => error(ErrorKind::Auth)
                .hint(format!(
                    "check that the credentials are right and belong to {}",
                    self.endpoint.project()
                ))
                .into(),
            402 => error(ErrorKind::Auth)
                .hint(format!(
                    "the account's plan does not include {}; the other endpoints still work",
                    self.endpoint.path()
                ))
                .into(),
            403 => error(ErrorKind::Auth)
                .hint(format!(
                    "check that the account may use {}, and that the dates are not too far back",
                    self.endpoint.path()
                ))
                .into(),
            // 301 and 308 are for ever; the others may be an hour of repairs.
            300..400 => {
                let error = error(ErrorKind::Request).hint("check `region` and `base_url`: no redirect is followed, since it would lose the credentials and the filters");
                match status.as_u16() {
                    301 | 308 => error.into(),
                    _ => Failure::again(error),
                }
            }
            429 => Failure::Again {
                retry_after: self.quota.refused(&limits.with_body(&text)),
                error: error(ErrorKind::Quota).hint(format!(
                    "run again later; Mixpanel allows {} requests an hour for each project",
                    self.quota.per_hour()
                )),
            },
            408 | 500.. => Failure::Again {
                error: error(ErrorKind::Network),
                retry_after: limits.wait(),
            },
            400 if text.contains("later than today") => error(ErrorKind::Request)
                .hint(self.endpoint.today_is())
                .into(),
            400 => error(ErrorKind::Request)
                .hint("check `where`, the names and the dates of the source")
                .into(),
            _ => error(ErrorKind::Request).into(),
        }
    }

    /// Returns the failure of a page for people, as proxies and captive
    /// portals send it with status 200.
    fn not_an_answer(&self, response: Response<Body>) -> Failure {
        let error = Error::new(ErrorKind::Network, format!("cannot read {}", self.what()))
            .because(format!(
                "the server answered 200 with an HTML page: {}",
                self.excerpt(response)
            ))
            .hint("check `base_url`, `region`, and what stands between here and Mixpanel");
        Failure::again(error)
    }

    /// Returns where a redirect points to.
    fn location(&self, response: &Response<Body>) -> Option<String> {
        let location = response.headers().get("location")?;
        Some(self.shown(location.as_bytes()))
    }

    /// Returns the beginning of an unexpected answer, on one line.
    fn excerpt(&self, response: Response<Body>) -> String {
        let gzip = response.headers().get("content-encoding").is_some();
        let encoding = if gzip {
            Encoding::Gzip
        } else {
            Encoding::Identity
        };
        let mut bytes = Vec::new();
        let wire = Until {
            inner: unlimited(response),
            deadline: Instant::now() + self.retry.idle_timeout.0.min(EXCERPT_WAIT),
        };
        // Whatever can be read of it is better than nothing.
        let _ = super::body::decoded(Box::new(wire), encoding)
            .take(EXCERPT)
            .read_to_end(&mut bytes);
        // What was cut off may be the rest of a secret.
        if bytes.len() as u64 == EXCERPT {
            let longest = self.secrets.iter().map(|secret| secret.expose().len());
            bytes.truncate(bytes.len() - longest.max().unwrap_or(0).min(bytes.len()));
        }
        self.shown(&bytes)
    }

    /// Returns what of a server's text may be shown.
    pub(crate) fn shown(&self, bytes: &[u8]) -> String {
        #[derive(serde::Deserialize)]
        struct Said {
            error: String,
        }
        // Before anything of it is changed, or a secret is not found; and once
        // more when JSON's escapes are gone.
        let text = self.without_secrets(&String::from_utf8_lossy(bytes));
        let text = match serde_json::from_str::<Said>(&text) {
            Ok(said) => self.without_secrets(&said.error),
            Err(_) => text,
        };
        let mut text: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|char| !char.is_control())
            .collect();
        let mut end = text.len().min(SHOWN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end < text.len() {
            text.truncate(end);
            text.push('…');
        }
        text
    }

    fn without_secrets(&self, text: &str) -> String {
        let secrets = self.secrets.iter();
        secrets.fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }

    /// Returns what the client reads, for errors: `events of project 12345`.
    pub(crate) fn what(&self) -> String {
        self.endpoint.what()
    }
}

impl Request {
    fn method(&self) -> &'static str {
        match self.form {
            None => "GET",
            Some(_) => "POST",
        }
    }
}

fn agent(retry: &RetryOptions, cancel: &CancelToken) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Another address would get neither the credentials nor, from a POST
        // that became a GET, the filters.
        .max_redirects(0)
        .user_agent(concat!("mixflow/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(retry.connect_timeout.0))
        .timeout_recv_response(Some(retry.first_byte_timeout.0))
        .timeout_send_request(Some(Duration::from_secs(60)))
        .timeout_send_body(Some(Duration::from_secs(60)))
        // Bodies are read in pieces of 64 KB.
        .input_buffer_size(256 << 10)
        .build();
    // ureq's default chain, with the idle time-out below TLS and the judge of
    // ends above it.
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(super::connector::IdleTimeout(retry.idle_timeout.0))
            .chain(RustlsConnector::default())
            .chain(super::connector::ProperEnd(cancel.clone()));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// Returns whether an error came before there was a server to charge for the
/// request.
fn reached_nobody(error: &ureq::Error) -> bool {
    use std::io::ErrorKind as Io;
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            Io::ConnectionRefused
                | Io::HostUnreachable
                | Io::NetworkUnreachable
                | Io::NetworkDown
                | Io::AddrNotAvailable
        ),
        _ => false,
    }
}

/// Reads a body of any length; ureq stops at 10 MB unless told otherwise.
fn unlimited(response: Response<Body>) -> impl Read + Send + 'static {
    response
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader()
}

/// Gives out nothing after its deadline.
struct Until<R> {
    inner: R,
    deadline: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Ok(0);
        }
        self.inner.read(buffer)
    }
}

/// Returns whether a length or chunks end the body, by ureq's own rules.
fn is_framed(response: &Response<Body>) -> bool {
    let codings = response.headers().get_all("transfer-encoding");
    let is_chunked = codings
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    let is_old = response.version() == Version::HTTP_10;
    // Of a length of 0 ureq makes no body, and no length.
    let is_empty = response
        .headers()
        .get("content-length")
        .is_some_and(|length| length.as_bytes() == b"0");
    is_empty || response.body().content_length().is_some() || (is_chunked && !is_old)
}

fn is_html(response: &Response<Body>) -> bool {
    let kind = response.headers().get("content-type");
    kind.is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html")
    })
}

/// Returns a secret as it stands in JSON.
fn escaped(secret: &Secret) -> Secret {
    let json = serde_json::Value::from(secret.expose()).to_string();
    Secret::new(&json[1..json.len() - 1])
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
}

fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// A client that is shared by the partitions of a plan.
pub(crate) type SharedClient = Arc<Client>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reached_nobody_is_told_from_what_broke_off() {
        let io = |kind: std::io::ErrorKind| ureq::Error::Io(kind.into());
        assert!(reached_nobody(&io(std::io::ErrorKind::ConnectionRefused)));
        assert!(reached_nobody(&ureq::Error::HostNotFound));
        assert!(reached_nobody(&ureq::Error::Timeout(Timeout::Connect)));
        assert!(!reached_nobody(&io(std::io::ErrorKind::ConnectionReset)));
        assert!(!reached_nobody(&ureq::Error::Timeout(
            Timeout::RecvResponse
        )));
    }
}
