//! The address that is told in a POST.

use std::time::Duration;

use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, SecretSource};
use mixflow_core::report::RunReport;
use mixflow_core::{Error, ErrorKind, Result};
use serde::Serialize;
use ureq::Agent;
use ureq::http::Uri;

/// What is sent, as Slack takes it.
#[derive(Serialize)]
struct Body<'a> {
    text: &'a str,
    report: &'a RunReport,
}

/// Returns what is sent.
pub(super) fn body(text: &str, report: &RunReport) -> Vec<u8> {
    serde_json::to_vec(&Body { text, report }).unwrap_or_default()
}

/// Sends it, within `most`. Follows no redirect, which would lose the body.
///
/// Nothing of the address is in an error: whoever knows it may write there.
pub(super) fn send(
    url: &SecretSource,
    env: &Env,
    body: Vec<u8>,
    most: Duration,
    cancel: &CancelToken,
) -> Result<()> {
    let url = url.resolve("webhook's `url`", env, cancel)?;
    if !is_address(url.expose()) {
        let message = "its `url` is none such as `https://hooks.example.com/…`";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(most))
        .user_agent(concat!("mixflow/", env!("CARGO_PKG_VERSION")))
        .build();
    let answer = Agent::new_with_config(config)
        .post(url.expose())
        .header("content-type", "application/json")
        .send(&body[..])
        .map_err(|error| Error::new(ErrorKind::Network, reason(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = status.canonical_reason().unwrap_or_default();
    let message = format!("the server answered {} {said}", status.as_u16());
    Err(Error::new(ErrorKind::Network, message.trim_end()))
}

fn is_address(text: &str) -> bool {
    let uri = text.parse::<Uri>().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    matches!(scheme, Some("http" | "https"))
        && uri.and_then(|uri| uri.host().map(str::len)) > Some(0)
}

/// Says what happened without the words of the HTTP library, which may name
/// the address.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "it did not answer within 10 seconds".to_owned(),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        ureq::Error::Io(error) => format!("the connection failed: {}", error.kind()),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            "no secure connection could be made".to_owned()
        }
        _ => "the connection failed".to_owned(),
    }
}
