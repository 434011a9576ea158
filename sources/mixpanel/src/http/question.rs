//! A request that is made to learn whether others would do.
//!
//! It is made once, and counts as every other one. Of its answer only the
//! beginning is read.

use std::io::Read;

use flate2::read::GzDecoder;
use mixflow_core::context::UnitContext;
use mixflow_core::error::{Error, ErrorKind};
use serde_json::Value;

use super::answer::Refusal;
use super::body::Wire;
use super::client::{Client, Request, Unanswered};
use super::encoding::Encoding;
use super::retry::Failure;

/// More of an answer is not looked at.
const BEGINNING: u64 = 64 << 10;

/// What has come of a question.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Data.
    Answered,
    /// The day that it asks for has not come yet.
    NotYet(Error),
    /// Whoever asks may not, or is not known.
    NoAccess(Error),
    /// Something else.
    Failed(Error),
}

impl Client {
    /// Makes a request once, and says what comes of it.
    pub(crate) fn ask(&self, request: &Request, label: &str, cx: &UnitContext) -> Reply {
        let permit = match self.quota.acquire(request.counts, label, &self.retry, cx) {
            Ok(permit) => permit,
            Err(error) if error.kind() == ErrorKind::Quota => {
                return Reply::Failed(used_up(&error));
            }
            Err(error) => return Reply::Failed(error),
        };
        if let Err(error) = cx.count_request() {
            self.quota.give_back(request.counts, permit);
            return Reply::Failed(error);
        }
        log::debug!("{label}: {}", self.what());
        match self.exchange(request) {
            Ok(wire) => match error_in(wire) {
                None => Reply::Answered,
                Some(said) => Reply::Failed(self.error_in_200(&said)),
            },
            Err(Unanswered::ByNobody(error)) => {
                self.quota.give_back(request.counts, permit);
                Reply::Failed(error)
            }
            Err(Unanswered::WithData(refusal, failure)) => {
                let (Failure::Final(error) | Failure::Again { error, .. }) = failure;
                match refusal {
                    Refusal::Access => Reply::NoAccess(error),
                    Refusal::NotYet => Reply::NotYet(error),
                    Refusal::Other => Reply::Failed(error),
                }
            }
        }
    }

    fn error_in_200(&self, said: &str) -> Error {
        let said = self.shown(said.as_bytes());
        Error::new(ErrorKind::Network, format!("cannot read {}", self.what()))
            .because(format!("the server answered 200 with an error: {said}"))
    }
}

/// Returns the error of a limit that is used up: nobody waits for an answer of
/// a check.
fn used_up(error: &Error) -> Error {
    let limit = error.causes().pop();
    Error::new(ErrorKind::Quota, "no request may be made just now")
        .because(limit.unwrap_or_else(|| error.to_string()))
        .hint("check it again later")
}

/// Returns the server's word for what went wrong, where it says so with 200.
fn error_in(wire: Wire) -> Option<String> {
    let mut beginning = Vec::new();
    let reader: Box<dyn Read> = match wire.encoding {
        Encoding::Gzip => Box::new(GzDecoder::new(wire.reader)),
        Encoding::Identity => Box::new(wire.reader),
    };
    // What breaks off later is the run's to find out.
    let _ = reader.take(BEGINNING).read_to_end(&mut beginning);
    let line = beginning.split(|byte| *byte == b'\n').next()?;
    let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
        return None;
    };
    let is_data =
        object.contains_key("event") || object.get("results").is_some_and(Value::is_array);
    let error = object.get("error").filter(|_| !is_data)?;
    Some(match error {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
