//! What an answer means: what its body is, or why it is none.

use mixflow_core::error::ErrorKind;
use ureq::http::{Response, StatusCode, Version};
use ureq::{Body, Timeout};

use super::endpoint::Endpoint;
use super::retry::Size;

/// What is to be done about a status other than 200.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: ErrorKind,
    pub(super) again: Again,
    pub(super) hint: Option<String>,
}

/// Whether the request is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Another try would get the same.
    Never,
    /// After the usual wait.
    Later,
    /// After the wait that the answer asks for, if that is longer.
    WhenAsked,
    /// When the limits allow it, which the answer may tell more of.
    WithinLimits,
}

/// What a refusal says of the one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The credentials are not known, or may not.
    Access,
    /// The day that is asked for has not come yet.
    NotYet,
    /// Nothing, such as that the account's plan lacks the endpoint.
    Other,
}

impl Refusal {
    /// Says what a status means, of which `text` is what the server says.
    pub(super) fn of_status(status: StatusCode, text: &str) -> Refusal {
        match status.as_u16() {
            401 | 403 => Refusal::Access,
            400 if is_unknown(text) => Refusal::Access,
            400 if is_not_yet(text) => Refusal::NotYet,
            _ => Refusal::Other,
        }
    }
}

fn is_unknown(text: &str) -> bool {
    text.contains("Unable to authenticate")
}

fn is_not_yet(text: &str) -> bool {
    text.contains("later than today")
}

impl Meaning {
    fn of(kind: ErrorKind, again: Again) -> Meaning {
        Meaning {
            kind,
            again,
            hint: None,
        }
    }

    fn hint(self, hint: impl Into<String>) -> Meaning {
        Meaning {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Says what a status means, of which `text` is what the server says.
    pub(super) fn of_status(status: StatusCode, text: &str, endpoint: &Endpoint) -> Meaning {
        let path = endpoint.path();
        match status.as_u16() {
            400 => Meaning::of_bad_request(text, endpoint),
            401 => refused_access().hint(format!(
                "check that the credentials are right and belong to {}",
                endpoint.project()
            )),
            402 => refused_access().hint(format!(
                "the account's plan does not include {path}; the other endpoints still work"
            )),
            403 => refused_access().hint(format!(
                "check that the account may use {path}, and that the dates are not too far back"
            )),
            // These two are for ever; the others may be an hour of repairs.
            301 | 308 => redirected(Again::Never),
            300..400 => redirected(Again::Later),
            429 => Meaning::of(ErrorKind::Quota, Again::WithinLimits),
            408 | 500.. => Meaning::of(ErrorKind::Network, Again::WhenAsked),
            _ => Meaning::of(ErrorKind::Request, Again::Never),
        }
    }

    fn of_bad_request(text: &str, endpoint: &Endpoint) -> Meaning {
        let wrong = Meaning::of(ErrorKind::Request, Again::Never);
        if is_unknown(text) {
            refused_access()
                .hint("the credentials are wrong or have expired: check the secret and the project")
        } else if is_not_yet(text) {
            wrong.hint(endpoint.today_is())
        } else {
            wrong.hint("check `where`, the names and the dates of the source")
        }
    }
}

fn refused_access() -> Meaning {
    Meaning::of(ErrorKind::Auth, Again::Never)
}

fn redirected(again: Again) -> Meaning {
    Meaning::of(ErrorKind::Request, again).hint("check `region` and `base_url`: no redirect is followed, since it would lose the credentials and the filters")
}

/// Says whether less might do where the server answers with a status: a gateway
/// that does not wait any longer answers 502 or 504.
pub(super) fn size_of_status(status: StatusCode) -> Size {
    match status.as_u16() {
        408 | 502 | 504 => Size::NoAnswer,
        _ => Size::NoMatter,
    }
}

/// Returns whether an error came before there was a server to charge for the
/// request.
pub(super) fn reached_nobody(error: &ureq::Error) -> bool {
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

/// Returns whether a length or chunks end the body, by ureq's own rules.
pub(super) fn is_framed(response: &Response<Body>) -> bool {
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

/// Returns whether it is a page for people, as proxies and captive portals send
/// it with status 200.
pub(super) fn is_html(response: &Response<Body>) -> bool {
    let kind = response.headers().get("content-type");
    kind.is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html")
    })
}

/// Returns a status as people write it: `401 Unauthorized`.
pub(super) fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::http::endpoint::{Region, SERVICE};

    use super::*;

    fn meaning(status: u16, text: &str) -> Meaning {
        let project = Some(mixflow_core::config::TextOrNumber("17".to_owned()));
        let endpoint = Endpoint::new(&SERVICE, Region::Us, None, project, &mut Vec::new());
        let status = StatusCode::from_u16(status).expect("a status");
        Meaning::of_status(status, text, &endpoint)
    }

    /// The whole policy in one table: another row is another promise.
    #[test]
    fn a_status_says_what_failed_and_whether_to_try_again() {
        use Again::{Later, Never, WhenAsked, WithinLimits};
        use ErrorKind::{Auth, Network, Quota, Request};
        for (status, kind, again) in [
            // Success without a body is no export.
            (204, Request, Never),
            (206, Request, Never),
            (301, Request, Never),
            (302, Request, Later),
            (307, Request, Later),
            (308, Request, Never),
            (400, Request, Never),
            (401, Auth, Never),
            (402, Auth, Never),
            (403, Auth, Never),
            (404, Request, Never),
            (408, Network, WhenAsked),
            (413, Request, Never),
            (429, Quota, WithinLimits),
            (500, Network, WhenAsked),
            (502, Network, WhenAsked),
            (503, Network, WhenAsked),
            (504, Network, WhenAsked),
            // What a proxy makes up.
            (599, Network, WhenAsked),
        ] {
            let meaning = meaning(status, "");
            assert_eq!((meaning.kind, meaning.again), (kind, again), "{status}");
        }
    }

    #[test]
    fn a_hint_is_about_what_the_server_says() {
        let hint = |status, text| meaning(status, text).hint.expect("there is one");
        assert!(hint(401, "").contains("project 17"));
        assert!(hint(403, "").contains("/api/2.0/export"));
        assert!(hint(400, "to_date cannot be later than today").contains("where today is"));
        assert!(hint(400, "invalid where").starts_with("check `where`"));
        let wrong = meaning(400, "Unable to authenticate request");
        assert_eq!((wrong.kind, wrong.again), (ErrorKind::Auth, Again::Never));
        assert!(hint(301, "").contains("no redirect is followed"));
    }

    #[test]
    fn a_refusal_says_whether_another_question_makes_sense() {
        let of = |status, text| {
            let status = StatusCode::from_u16(status).expect("a status");
            Refusal::of_status(status, text)
        };
        assert_eq!(of(401, ""), Refusal::Access);
        assert_eq!(of(403, ""), Refusal::Access);
        let unknown = "Unable to authenticate request";
        assert_eq!(of(400, unknown), Refusal::Access);
        let not_yet = "to_date cannot be later than today";
        assert_eq!(of(400, not_yet), Refusal::NotYet);
        for status in [302, 400, 402, 404, 429, 500] {
            assert_eq!(of(status, "no"), Refusal::Other, "{status}");
        }
    }

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

    #[test]
    fn a_page_for_people_is_known_by_its_type() {
        let html = |kind: &str| {
            let response = Response::builder().header("content-type", kind);
            is_html(&response.body(Body::builder().data("")).expect("a response"))
        };
        assert!(html("text/html") && html("Text/HTML; charset=utf-8"));
        assert!(!html("text/plain") && !html("application/json") && !html("text"));
    }
}
