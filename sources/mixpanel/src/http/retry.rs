//! One policy for trying again, for every endpoint.

use std::time::{Duration, SystemTime};

use mixflow_core::config::Seconds;
use mixflow_core::context::{Notice, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::time::in_words;

/// The `[source.retry]` table, with its defaults.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// Tries of one partition, the first one included.
    pub max_attempts: u32,
    /// The wait before the second try; it doubles from there.
    pub base_delay: Seconds,
    /// The longest wait between two tries, unless the server asks for more.
    pub max_delay: Seconds,
    /// The longest wait that a server or a quota may ask for.
    pub max_wait: Seconds,
    /// How long a connection may take.
    pub connect_timeout: Seconds,
    /// How long the first byte may take; for an export this can be minutes.
    pub first_byte_timeout: Seconds,
    /// How long a body may pause.
    pub idle_timeout: Seconds,
}

impl Default for RetryOptions {
    fn default() -> RetryOptions {
        let seconds = |n| Seconds(Duration::from_secs(n));
        RetryOptions {
            max_attempts: 5,
            base_delay: seconds(1),
            max_delay: seconds(60),
            max_wait: seconds(3600),
            connect_timeout: seconds(10),
            first_byte_timeout: seconds(600),
            idle_timeout: seconds(120),
        }
    }
}

/// Why a try did not do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try would not do either.
    Final(Error),
    /// Another try may.
    Again {
        /// What becomes of it when the tries run out.
        error: Error,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
        /// Whether less might do.
        size: Size,
    },
}

/// What a failure says of the size of what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Size {
    /// Nothing.
    #[default]
    NoMatter,
    /// There was no answer in time.
    NoAnswer,
    /// The answer began, and broke off.
    BrokeOff {
        /// The bytes that came.
        after: u64,
    },
}

impl Failure {
    pub(crate) fn again(error: Error) -> Failure {
        Failure::of_size(error, Size::NoMatter)
    }

    /// Returns a failure after which less may be asked for.
    pub(crate) fn of_size(error: Error, size: Size) -> Failure {
        Failure::Again {
            error,
            retry_after: None,
            size,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// The tries of one partition.
pub(crate) struct Tries<'a> {
    pub(crate) options: &'a RetryOptions,
    pub(crate) cx: &'a UnitContext,
    pub(crate) label: &'a str,
    pub(crate) failed: u32,
    /// After how many what seems too large is not tried again.
    too_large_after: u32,
    /// What the last failure says of the size.
    pub(crate) size: Size,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(options: &'a RetryOptions, cx: &'a UnitContext, label: &'a str) -> Tries<'a> {
        Tries {
            options,
            cx,
            label,
            failed: 0,
            too_large_after: options.max_attempts,
            size: Size::NoMatter,
        }
    }

    /// Makes at most so many tries of what seems too large, where the options
    /// allow more.
    pub(crate) fn too_large_after(self, tries: u32) -> Tries<'a> {
        Tries {
            too_large_after: self.too_large_after.min(tries),
            ..self
        }
    }

    /// Makes tries until one does.
    pub(crate) fn run<T>(&mut self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => self.again(failure)?,
            }
        }
    }

    /// Waits for the next try; an error if there is none.
    pub(crate) fn again(&mut self, failure: Failure) -> Result<()> {
        // A cancelled request fails in its own way; what happened is this.
        self.size = Size::NoMatter;
        self.cx.cancel.check()?;
        let (error, retry_after, size) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again {
                error,
                retry_after,
                size,
            } => (error, retry_after, size),
        };
        self.failed += 1;
        let most = match size {
            Size::NoMatter => self.options.max_attempts,
            Size::NoAnswer | Size::BrokeOff { .. } => self.too_large_after,
        };
        if self.failed >= most {
            self.size = size;
            let error = error.context(format!(
                "{} could not be had in {} {}",
                self.label,
                self.failed,
                if self.failed == 1 { "try" } else { "tries" },
            ));
            return Err(match error.hint_text() {
                Some(_) => error,
                None => error.hint(
                    "run it again later, or raise `source.retry.max_attempts`; what has been fetched whole is not asked for again",
                ),
            });
        }
        let wait = retry_after.unwrap_or_default().max(backoff(
            self.options,
            self.failed,
            fastrand::f64(),
        ));
        if wait > self.options.max_wait.0 {
            return Err(too_long(self.label, wait, self.options, error));
        }
        let reason = reason(&error);
        log::info!(
            "{}: {reason}; try {} of {} in {}",
            self.label,
            self.failed + 1,
            most,
            in_words(wait)
        );
        self.cx.notify(Notice::Retry {
            label: self.label.to_owned(),
            wait,
            reason,
        });
        self.cx.cancel.wait(wait)
    }
}

/// Returns the error of a wait that is longer than the run may wait.
pub(crate) fn too_long(label: &str, wait: Duration, options: &RetryOptions, cause: Error) -> Error {
    Error::new(
        ErrorKind::Quota,
        format!(
            "{label} would have to wait {}, longer than `max_wait` ({})",
            in_words(wait),
            in_words(options.max_wait.0)
        ),
    )
    .with_source(cause)
    .hint("run again later, or raise `source.retry.max_wait`")
    // The others would have to wait as long.
    .fatal()
}

/// Returns the innermost cause: what went wrong, in a line.
fn reason(error: &Error) -> String {
    error
        .causes()
        .pop()
        .unwrap_or_else(|| error.message().to_owned())
}

/// Returns the wait before try `failed` + 1: doubled each time, capped, and
/// between half and all of that, so that workers do not return in step.
fn backoff(options: &RetryOptions, failed: u32, random: f64) -> Duration {
    let doubled = options
        .base_delay
        .0
        .saturating_mul(1u32.checked_shl(failed - 1).unwrap_or(u32::MAX));
    doubled.min(options.max_delay.0).mul_f64(0.5 + random / 2.0)
}

/// Reads a `Retry-After`: seconds, or a date. The past is no wait.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return seconds
            .is_finite()
            .then(|| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let read = |header: &str| retry_after(header, now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(read("-3"), Some(Duration::ZERO));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read("Sun, 06 Nov 1994 08:49:20 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("NaN"), None);
        assert_eq!(read("1e300"), Some(Duration::MAX));
    }

    #[test]
    fn waits_double_up_to_the_cap_with_jitter() {
        let options = RetryOptions::default();
        let seconds = |failed, random| backoff(&options, failed, random).as_secs_f64();
        assert!((seconds(1, 1.0) - 1.0).abs() < 1e-9);
        assert!((seconds(1, 0.0) - 0.5).abs() < 1e-9);
        assert!((seconds(4, 1.0) - 8.0).abs() < 1e-9);
        assert!((seconds(40, 1.0) - 60.0).abs() < 1e-9);
    }
}
