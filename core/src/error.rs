//! The one error type that crosses component boundaries.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::remedy::Remedy;

/// Says which sort of trouble an error is, as far as a caller decides by it.
///
/// Some kinds are a finer word for another one, their [class](ErrorKind::class):
/// whoever only asks whether it is the destination's fault compares that. More
/// kinds come with time, so a program's `match` needs an arm for the rest; the
/// command line, which maps every kind to an exit code, has core's feature
/// `exhaustive` and none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ErrorKind {
    /// The pipeline file or an argument is wrong; nothing was attempted.
    Config,
    /// The credentials are wrong, or lack a permission.
    Auth,
    /// A quota or rate limit would take longer than the run may wait.
    Quota,
    /// The destination is missing, has another shape, or cannot be used for
    /// another reason.
    Destination,
    /// What was to be made, a table, file or folder, is there already. A sort of
    /// [`Destination`](ErrorKind::Destination).
    TableExists,
    /// There is no table of that name. A sort of
    /// [`Destination`](ErrorKind::Destination).
    TableNotFound,
    /// Somebody else has the destination: another run, another program, or
    /// another part of this one. A sort of
    /// [`Destination`](ErrorKind::Destination).
    Locked,
    /// The server said no for good.
    Request,
    /// The database cannot answer a query. A sort of
    /// [`Request`](ErrorKind::Request).
    Query,
    /// The server could not be reached, or broke off, until the tries ran out.
    Network,
    /// A partition could not be had whole.
    Incomplete,
    /// The rows are not what they should be: too many rejects, too few rows.
    Data,
    /// Reading or writing a local file did not work.
    Io,
    /// The reader of the output went away. Not a failure: the run stops.
    Closed,
    /// The user or the system asked to stop.
    Interrupted,
    /// A component panicked.
    Panic,
    /// Anything else, such as a kind that a newer version has.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: &'static [ErrorKind] = &[
        ErrorKind::Config,
        ErrorKind::Auth,
        ErrorKind::Quota,
        ErrorKind::Destination,
        ErrorKind::TableExists,
        ErrorKind::TableNotFound,
        ErrorKind::Locked,
        ErrorKind::Request,
        ErrorKind::Query,
        ErrorKind::Network,
        ErrorKind::Incomplete,
        ErrorKind::Data,
        ErrorKind::Io,
        ErrorKind::Closed,
        ErrorKind::Interrupted,
        ErrorKind::Panic,
        ErrorKind::Other,
    ];

    /// Returns the kind that this one is a sort of, or itself.
    pub fn class(self) -> ErrorKind {
        match self {
            ErrorKind::TableExists | ErrorKind::TableNotFound | ErrorKind::Locked => {
                ErrorKind::Destination
            }
            ErrorKind::Query => ErrorKind::Request,
            class => class,
        }
    }

    /// Returns the name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Auth => "auth",
            ErrorKind::Quota => "quota",
            ErrorKind::Destination => "destination",
            ErrorKind::TableExists => "table_exists",
            ErrorKind::TableNotFound => "table_not_found",
            ErrorKind::Locked => "locked",
            ErrorKind::Request => "request",
            ErrorKind::Query => "query",
            ErrorKind::Network => "network",
            ErrorKind::Incomplete => "incomplete",
            ErrorKind::Data => "data",
            ErrorKind::Io => "io",
            ErrorKind::Closed => "closed",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Panic => "panic",
            ErrorKind::Other => "other",
        }
    }
}

/// What was attempted and on which thing, with its cause and what to do.
///
/// The message covers its own level only; causes are in
/// [`source`](StdError::source). A hint is set where the knowledge of the way
/// out lives, and printed by the command line.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    remedy: Option<Remedy>,
    severity: Severity,
    in_doubt: bool,
    busy: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// How much an error costs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The partition that it happened in.
    Partition,
    /// The run.
    Run,
    /// The plan: the run may make another one.
    Plan,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                hint: None,
                remedy: None,
                severity: Severity::Partition,
                in_doubt: false,
                busy: false,
                source: None,
            }),
        }
    }

    /// Creates the error of a run that was asked to stop.
    pub fn interrupted() -> Error {
        Error::new(ErrorKind::Interrupted, "the run was interrupted")
    }

    /// Creates an error from a panic's payload.
    ///
    /// Pass `&*payload`: a `&Box<dyn Any>` is itself an `Any` and its text
    /// would not be found.
    pub fn panicked(what: &str, payload: &(dyn std::any::Any + Send)) -> Error {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without text".to_owned());
        Error::new(ErrorKind::Panic, format!("{what} panicked")).because(text)
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds a cause that is only a text.
    pub fn because(self, cause: impl Into<String>) -> Error {
        self.with_source(Cause {
            text: cause.into(),
            source: None,
        })
    }

    /// Adds causes that are only texts, outermost first.
    fn with_causes(self, causes: Vec<String>) -> Error {
        let innermost_first = causes.into_iter().rev();
        let chain = innermost_first.fold(None, |source: Option<Box<Cause>>, text| {
            Some(Box::new(Cause { text, source }))
        });
        match chain {
            Some(cause) => self.with_source(*cause),
            None => self,
        }
    }

    /// Adds what to do about it, starting with a verb.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.inner.hint = Some(hint.into());
        self.inner.remedy = None;
        self
    }

    /// Adds what can be done about it, for whoever reports it to say in its own
    /// terms. The hint is its text.
    pub fn with_remedy(mut self, remedy: Remedy) -> Error {
        self.inner.hint = Some(remedy.to_string());
        self.inner.remedy = Some(remedy);
        self
    }

    /// Marks the error as one that ends the run even under `on_failure = "keep"`.
    pub fn fatal(mut self) -> Error {
        self.inner.severity = Severity::Run;
        self
    }

    /// Marks the error as one that makes the whole plan void, such as a
    /// snapshot that has expired. The engine makes a new plan once, if nothing
    /// of the old one is visible.
    pub fn voids_plan(mut self) -> Error {
        self.inner.severity = Severity::Plan;
        self
    }

    /// Marks the error of a commit that may have happened all the same, such as
    /// one whose answer did not arrive. The report then says so.
    pub fn in_doubt(mut self) -> Error {
        self.inner.in_doubt = true;
        self
    }

    /// Marks the error of a commit of which it was found out that it did not happen.
    pub fn without_doubt(mut self) -> Error {
        self.inner.in_doubt = false;
        self
    }

    /// Marks the error of a destination that somebody else has just now, so that
    /// waiting for it makes sense.
    pub fn busy(mut self) -> Error {
        self.inner.busy = true;
        self
    }

    /// Wraps this error as the cause of a new one of the same kind and hint.
    pub fn context(mut self, message: impl Into<String>) -> Error {
        let (hint, remedy) = (self.inner.hint.take(), self.inner.remedy.take());
        let (kind, severity) = (self.inner.kind, self.inner.severity);
        let (in_doubt, busy) = (self.inner.in_doubt, self.inner.busy);
        let mut outer = Error::new(kind, message).with_source(self);
        outer.inner.hint = hint;
        outer.inner.remedy = remedy;
        outer.inner.severity = severity;
        outer.inner.in_doubt = in_doubt;
        outer.inner.busy = busy;
        outer
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whether the error ends the run under any failure policy.
    pub fn is_fatal(&self) -> bool {
        self.inner.severity != Severity::Partition || self.inner.kind == ErrorKind::Interrupted
    }

    /// Returns whether the error makes the whole plan void.
    pub fn is_plan_void(&self) -> bool {
        self.inner.severity == Severity::Plan
    }

    /// Returns whether a commit that failed may have happened all the same.
    pub fn is_in_doubt(&self) -> bool {
        self.inner.in_doubt
    }

    /// Returns whether somebody else has the destination just now.
    pub fn is_busy(&self) -> bool {
        self.inner.busy
    }

    /// Returns the message of this level.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns what to do about it, if somebody knew.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Returns what can be done about it, if that is something with a name.
    pub fn remedy(&self) -> Option<&Remedy> {
        self.inner.remedy.as_ref()
    }

    /// Returns the messages of all causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// Returns the message with all causes behind it, as one line.
    pub fn in_a_line(&self) -> String {
        let mut line = self.message().to_owned();
        for cause in self.causes() {
            line.push_str(": ");
            line.push_str(&cause);
        }
        line
    }
}

impl Clone for Error {
    /// Copies the error for another place where it is told: of its causes the
    /// copy has the texts.
    fn clone(&self) -> Error {
        let Inner {
            kind,
            message,
            hint,
            remedy,
            severity,
            in_doubt,
            busy,
            source: _,
        } = &*self.inner;
        let mut copy = Error::new(*kind, message.clone()).with_causes(self.causes());
        copy.inner.hint.clone_from(hint);
        copy.inner.remedy.clone_from(remedy);
        copy.inner.severity = *severity;
        copy.inner.in_doubt = *in_doubt;
        copy.inner.busy = *busy;
        copy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.inner.message)?;
        for cause in self.causes() {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(source: arrow::error::ArrowError) -> Error {
        Error::new(ErrorKind::Other, "cannot build an Arrow batch").with_source(source)
    }
}

/// A cause that is only a text, with its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    source: Option<Box<Cause>>,
}

/// An error as reports have it: `{kind, message, causes, hint}`, `in_doubt`
/// where it is, and `detail` where the kind, which is a class, has one.
#[derive(Serialize, Deserialize)]
struct Shape {
    kind: ErrorKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<ErrorKind>,
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_doubt: bool,
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (kind, class) = (self.kind(), self.kind().class());
        let shape = Shape {
            kind: class,
            detail: Some(kind).filter(|kind| *kind != class),
            message: self.message().to_owned(),
            causes: self.causes(),
            hint: self.hint_text().map(str::to_owned),
            in_doubt: self.is_in_doubt(),
        };
        shape.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Error, D::Error> {
        let shape = Shape::deserialize(from)?;
        // A detail that only a newer version has is left out.
        let detail = shape.detail.filter(|detail| *detail != ErrorKind::Other);
        let error = Error::new(detail.unwrap_or(shape.kind), shape.message);
        let mut error = error.with_causes(shape.causes);
        error.inner.hint = shape.hint;
        error.inner.in_doubt = shape.in_doubt;
        Ok(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_all_that_the_error_does() {
        let error = Error::new(ErrorKind::TableExists, "it is there")
            .because("somebody made it")
            .context("cannot begin")
            .with_remedy(Remedy::Wait)
            .in_doubt()
            .busy()
            .fatal();
        let copy = error.clone();
        assert_eq!(
            serde_json::to_string(&copy).expect("JSON"),
            serde_json::to_string(&error).expect("JSON")
        );
        assert_eq!(copy.causes(), ["it is there", "somebody made it"]);
        assert!(copy.is_busy() && copy.is_fatal() && copy.is_in_doubt());
        assert_eq!(copy.remedy(), Some(&Remedy::Wait));
    }

    #[test]
    fn context_keeps_kind_and_hint_and_lists_causes_outermost_first() {
        let error = Error::new(ErrorKind::Auth, "the server answered 401")
            .because("no such user")
            .hint("check the secret")
            .context("cannot read project 1");
        assert_eq!(error.kind(), ErrorKind::Auth);
        assert_eq!(error.hint_text(), Some("check the secret"));
        assert_eq!(error.to_string(), "cannot read project 1");
        assert_eq!(error.causes(), ["the server answered 401", "no such user"]);
    }

    #[test]
    fn a_panic_keeps_its_text() {
        let payload = std::panic::catch_unwind(|| panic!("row {}", 7)).expect_err("it panics");
        let error = Error::panicked("partition `a`", &*payload);
        assert_eq!(error.to_string(), "partition `a` panicked");
        assert_eq!(error.causes(), ["row 7"]);
    }

    #[test]
    fn reports_have_the_class_of_a_kind_and_its_detail() {
        for kind in ErrorKind::ALL.iter().copied() {
            let json = serde_json::to_value(Error::new(kind, "no")).expect("texts");
            let class = kind.class();
            assert_eq!(json["kind"], class.as_str());
            let detail = json.get("detail").and_then(|detail| detail.as_str());
            assert_eq!(detail, (kind != class).then(|| kind.as_str()));
            let back: Error = serde_json::from_value(json).expect("as it was");
            assert_eq!(back.kind(), kind);
        }
        let newer = r#"{"kind":"destination","detail":"on_fire","message":"no"}"#;
        let error: Error = serde_json::from_str(newer).expect("a report");
        assert_eq!(error.kind(), ErrorKind::Destination);
    }

    #[test]
    fn every_kind_is_listed_once() {
        let mut listed = std::collections::HashSet::new();
        assert!(ErrorKind::ALL.iter().all(|kind| listed.insert(*kind)));
        // A kind that this match does not name is to be listed, too.
        match ErrorKind::Other {
            ErrorKind::Config
            | ErrorKind::Auth
            | ErrorKind::Quota
            | ErrorKind::Destination
            | ErrorKind::TableExists
            | ErrorKind::TableNotFound
            | ErrorKind::Locked
            | ErrorKind::Request
            | ErrorKind::Query
            | ErrorKind::Network
            | ErrorKind::Incomplete
            | ErrorKind::Data
            | ErrorKind::Io
            | ErrorKind::Closed
            | ErrorKind::Interrupted
            | ErrorKind::Panic
            | ErrorKind::Other => assert_eq!(listed.len(), 17),
        }
    }
}
