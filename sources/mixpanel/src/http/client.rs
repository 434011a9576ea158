//! Requests to Mixpanel: addresses, credentials, and what comes of them.

use std::io::Read;
use std::time::SystemTime;

use jiff::Timestamp;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, Secret};
use mixflow_core::context::UnitContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::answer::{
    Again, Meaning, Refusal, is_framed, is_html, reached_nobody, size_of_status, status_line,
};
use super::body::Wire;
use super::connector::agent;
use super::encoding::Encoding;
use super::endpoint::{Credentials, Endpoint};
use super::proxy;
use super::quota::{Permit, Quota, ServerLimits};
use super::retry::{Failure, RetryOptions, Size};
use super::shown::Secrets;

/// Makes requests to one endpoint of one project.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    url: String,
    project_id: Option<String>,
    authorization: Secret,
    secrets: Secrets,
    pub(crate) retry: RetryOptions,
    pub(super) quota: Quota,
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

/// Why a request has no answer that is data.
pub(super) enum Unanswered {
    /// There was no server, and so nobody who counts the request.
    ByNobody(Error),
    /// There was one, or may have been.
    WithData(Refusal, Failure),
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
        let authorization = credentials.authorization();
        let encoded = authorization.split_once(' ').map_or("", |(_, text)| text);
        Ok(Client {
            agent,
            url: endpoint.url(),
            project_id: endpoint.project_id.clone(),
            secrets: Secrets::new(credentials.secret(), encoded),
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
        cx: &UnitContext,
    ) -> Result<Answer<'_>, Failure> {
        let permit = self.quota.acquire(request.counts, label, &self.retry, cx)?;
        if let Err(error) = cx.count_request() {
            self.quota.give_back(request.counts, permit);
            return Err(error.into());
        }
        log::debug!("{label}: {} {}", request.method(), self.url);
        match self.exchange(request) {
            Ok(wire) => Ok(Answer { wire, permit }),
            Err(Unanswered::ByNobody(error)) => {
                self.quota.give_back(request.counts, permit);
                Err(Failure::again(error))
            }
            Err(Unanswered::WithData(_, failure)) => Err(failure),
        }
    }

    /// Makes a request, and returns the body of its answer if that is data.
    pub(super) fn exchange(&self, request: &Request) -> Result<Wire, Unanswered> {
        let asked_at = to_the_millisecond(mixflow_core::clock::now());
        let other = |failure| Unanswered::WithData(Refusal::Other, failure);
        let response = self.call(request).map_err(|error| {
            let unreachable = self.unreachable(&error);
            if reached_nobody(&error) {
                // The next window would reach nobody either.
                Unanswered::ByNobody(unreachable.fatal())
            } else if matches!(error, ureq::Error::Timeout(_)) {
                other(Failure::of_size(unreachable, Size::NoAnswer))
            } else {
                other(Failure::again(unreachable))
            }
        })?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response));
        }
        if is_html(&response) {
            return Err(other(self.not_an_answer(response)));
        }
        self.quota.hear(&ServerLimits::by(
            response.headers(),
            SystemTime::from(mixflow_core::clock::now()),
        ));
        let coding = response.headers().get("content-encoding");
        let is_gzip = coding.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        Ok(Wire {
            encoding: if is_gzip {
                Encoding::Gzip
            } else {
                Encoding::Identity
            },
            framed: is_framed(&response),
            asked_at,
            reader: Box::new(unlimited(response)),
        })
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
    fn refused(&self, response: Response<Body>) -> Unanswered {
        let status = response.status();
        let limits = ServerLimits::by(
            response.headers(),
            SystemTime::from(mixflow_core::clock::now()),
        );
        let location = response.headers().get("location").cloned();
        let text = self.excerpt(response);
        let mut said = format!("the server answered {}", status_line(status));
        if let Some(location) = location {
            let location = self.shown(location.as_bytes());
            said.push_str(&format!(", which points to `{location}`"));
        }
        if !text.is_empty() {
            said.push_str(": ");
            said.push_str(&text);
        }
        let meaning = Meaning::of_status(status, &text, &self.endpoint);
        let mut error =
            Error::new(meaning.kind, format!("cannot read {}", self.what())).because(said);
        if let Some(hint) = meaning.hint {
            error = error.hint(hint);
        }
        let failure = match meaning.again {
            Again::Never => Failure::Final(error),
            Again::Later => Failure::again(error),
            Again::WhenAsked => Failure::Again {
                retry_after: limits.wait(),
                error,
                size: size_of_status(status),
            },
            Again::WithinLimits => Failure::Again {
                retry_after: self.quota.refused(&limits.with_body(&text)),
                error: error.hint(format!(
                    "run again later; Mixpanel allows {} requests an hour for each project",
                    self.quota.per_hour()
                )),
                size: Size::NoMatter,
            },
        };
        Unanswered::WithData(Refusal::of_status(status, &text), failure)
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

    /// Returns the beginning of an unexpected answer, on one line.
    fn excerpt(&self, response: Response<Body>) -> String {
        let encoding = match response.headers().get("content-encoding") {
            Some(_) => Encoding::Gzip,
            None => Encoding::Identity,
        };
        let idle_timeout = self.retry.idle_timeout.0;
        self.secrets
            .excerpt(unlimited(response), encoding, idle_timeout)
    }

    /// Returns what of a server's text may be shown.
    pub(crate) fn shown(&self, bytes: &[u8]) -> String {
        self.secrets.shown(bytes)
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

/// Returns a time as precise as it is written down.
fn to_the_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Reads a body of any length; ureq stops at 10 MB unless told otherwise.
fn unlimited(response: Response<Body>) -> impl Read + Send + 'static {
    response
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;
    use std::time::Duration;

    use crate::http::endpoint::{Region, SERVICE};
    use crate::http::quota::Limits;

    use super::*;

    const SECRET: &str = "hunter2-17";

    /// A server that gives these answers, one a connection; returns the heads of
    /// the requests when it has given all.
    fn server(answers: &[&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let answers = answers.to_vec();
        let serving = std::thread::spawn(move || {
            let heads = answers.into_iter().map(|answer| {
                let (stream, _) = listener.accept().expect("somebody asks");
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                let head = lines.by_ref().map_while(Result::ok);
                let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
                let written = (&stream).write_all(answer.as_bytes());
                written.expect("it is read");
                head.join("\n")
            });
            heads.collect()
        });
        (base, serving)
    }

    fn client(base: String) -> Client {
        let endpoint = Endpoint::new(&SERVICE, Region::Us, Some(base), None, &mut Vec::new());
        let credentials = Credentials::ProjectSecret(Secret::new(SECRET));
        let quota = Quota::new(Limits::EXPORT, None);
        let retry = RetryOptions::default();
        let (env, cancel) = (Env::empty(), CancelToken::never());
        let client = Client::new(endpoint, &credentials, retry, quota, &env, &cancel);
        client.expect("it needs no proxy")
    }

    fn get() -> Request {
        Request {
            query: vec![("from_date", "2024-01-01".to_owned())],
            form: None,
            counts: true,
        }
    }

    /// What comes of one answer.
    fn exchange(answer: &'static str) -> Result<Wire, Unanswered> {
        let (base, serving) = server(&[answer]);
        let wire = client(base).exchange(&get());
        serving.join().expect("the server has answered");
        wire
    }

    /// Why it is no data, and the wait if it is to be asked again.
    fn failure(answer: &'static str) -> (Error, Option<Option<Duration>>) {
        match exchange(answer) {
            Err(Unanswered::WithData(_, Failure::Final(error))) => (error, None),
            Err(Unanswered::WithData(
                _,
                Failure::Again {
                    error, retry_after, ..
                },
            )) => (error, Some(retry_after)),
            Err(Unanswered::ByNobody(error)) => panic!("{error:?}"),
            Ok(_) => panic!("that is data"),
        }
    }

    #[test]
    fn a_request_carries_its_query_and_the_credentials() {
        let (base, serving) = server(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]);
        let wire = client(base).exchange(&get());
        let mut body = String::new();
        let mut reader = wire.ok().expect("it is data").reader;
        reader.read_to_string(&mut body).expect("it is whole");
        assert_eq!(body, "{}");
        let head = serving.join().expect("no panic").remove(0).to_lowercase();
        assert!(
            head.starts_with("get /api/2.0/export?from_date=2024-01-01 http/1.1"),
            "{head}"
        );
        assert!(
            head.contains("authorization: basic ahvudgvymi0xnzo="),
            "{head}"
        );
        assert!(head.contains("accept-encoding: gzip"), "{head}");
    }

    #[test]
    fn an_answer_says_whether_it_can_prove_its_end() {
        let proves = |answer| exchange(answer).is_ok_and(|wire| wire.proves_its_end());
        assert!(proves("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(proves("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(proves(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ));
        assert!(proves("HTTP/1.1 200 OK\r\ncontent-encoding: GZIP\r\n\r\n"));
        assert!(!proves("HTTP/1.1 200 OK\r\n\r\n{}"));
        assert!(!proves("HTTP/1.0 200 OK\r\n\r\n{}"));
    }

    #[test]
    fn a_server_asks_for_a_wait_and_gets_it() {
        let wait = |answer| failure(answer).1;
        let seconds = |n| Some(Some(Duration::from_secs(n)));
        assert_eq!(
            wait("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"),
            seconds(7)
        );
        assert_eq!(
            wait("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n"),
            Some(None)
        );
        assert_eq!(
            wait("HTTP/1.1 429 Slow\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n"),
            seconds(30)
        );
        // What is wrong for good stays wrong, whatever it asks for.
        assert_eq!(
            wait("HTTP/1.1 401 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"),
            None
        );
    }

    #[test]
    fn a_429_tells_all_of_the_hour_that_is_left() {
        let (base, serving) = server(&[
            "HTTP/1.1 429 Slow\r\nratelimit-policy: \"p\";q=20;w=3600\r\ncontent-length: 0\r\n\r\n",
        ]);
        let client = client(base);
        let refused = client.exchange(&get()).err();
        serving.join().expect("no panic");
        let Some(Unanswered::WithData(_, Failure::Again { error, .. })) = refused else {
            panic!("it is asked again");
        };
        assert_eq!(error.kind(), ErrorKind::Quota);
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("20 requests an hour"))
        );
    }

    #[test]
    fn what_the_server_says_is_shown_without_the_secret() {
        let (error, _) =
            failure("HTTP/1.1 400 No\r\ncontent-length: 22\r\n\r\n{\"error\":\"hunter2-17\"}");
        assert_eq!(error.causes(), ["the server answered 400 Bad Request: …"]);
        let (error, again) = failure(
            "HTTP/1.1 302 Found\r\nlocation: http://x/?s=hunter2-17\r\ncontent-length: 0\r\n\r\n",
        );
        assert_eq!(
            error.causes(),
            ["the server answered 302 Found, which points to `http://x/?s=…`"]
        );
        assert!(again.is_some());
        let (error, again) = failure(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\nlog in",
        );
        assert_eq!(
            error.causes(),
            ["the server answered 200 with an HTML page: log in"]
        );
        assert!(again.is_some());
    }

    #[test]
    fn a_server_that_is_not_there_ends_the_run_and_counts_nothing() {
        let gone = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let base = format!("http://{}", gone.local_addr().expect("it is bound"));
        drop(gone);
        let Err(Unanswered::ByNobody(error)) = client(base).exchange(&get()) else {
            panic!("nobody is there");
        };
        assert!(error.is_fatal());
    }

    #[test]
    fn a_server_that_hangs_up_may_have_counted_the_request() {
        let (error, again) = failure("");
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(!error.is_fatal() && again.is_some());
    }
}
