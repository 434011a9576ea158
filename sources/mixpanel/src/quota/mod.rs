//! Mixpanel's limits, kept by the processes of a machine before the server
//! has to.
//!
//! Each project's endpoint has a folder of state: a [`ledger`] of the requests
//! of the last hour, and [`places`] for the requests of the moment. Without a
//! folder the process keeps them for itself.

mod ledger;
mod places;

use std::path::PathBuf;
use std::time::Duration;

use mixflow_core::context::{Notice, TaskContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use serde::Deserialize;

use self::ledger::{Ledger, now_ms};
use self::places::Places;
use crate::retry::{RetryOptions, too_long};
use crate::time::in_words;

pub(crate) use self::places::Permit;

/// Waits shorter than this are not worth telling.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// The wait for a place at the server, when it has too many requests at once.
const BRIEFLY: Duration = Duration::from_secs(2);

/// The `[source.limits]` table.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOptions {
    /// Requests a second.
    pub per_second: Option<u32>,
    /// Requests an hour.
    pub per_hour: Option<u32>,
    /// Requests at once.
    pub concurrent: Option<u32>,
}

/// The limits of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second.
    pub per_second: u32,
    /// Requests an hour.
    pub per_hour: u32,
    /// Requests at once.
    pub concurrent: u32,
}

impl Limits {
    /// What Mixpanel documents for the export endpoint.
    pub const EXPORT: Limits = Limits {
        per_second: 3,
        per_hour: 60,
        concurrent: 100,
    };

    /// What Mixpanel documents for the query endpoints, profiles among them.
    ///
    /// It names no figure a second for these.
    pub const ENGAGE: Limits = Limits {
        per_second: u32::MAX,
        per_hour: 60,
        concurrent: 5,
    };

    /// Returns these limits with what a pipeline file says put in.
    pub fn with(self, options: LimitOptions) -> Limits {
        Limits {
            per_second: options.per_second.unwrap_or(self.per_second),
            per_hour: options.per_hour.unwrap_or(self.per_hour),
            concurrent: options.concurrent.unwrap_or(self.concurrent),
        }
    }
}

/// Hands out permissions to make a request.
#[derive(Debug)]
pub(crate) struct Quota {
    limits: Limits,
    ledger: Ledger,
    places: Places,
}

impl Quota {
    /// Creates a quota whose state is in `folder`. Makes no I/O.
    pub(crate) fn new(limits: Limits, folder: Option<PathBuf>) -> Quota {
        let ledger = folder.as_ref().map(|folder| folder.join("ledger.json"));
        Quota {
            limits,
            ledger: Ledger::new(ledger),
            places: Places::new(limits.concurrent, folder),
        }
    }

    /// Waits until a request may be made.
    ///
    /// `counts` says whether it counts for the hour. Fails when the wait would
    /// be longer than `max_wait`, or the run is cancelled.
    pub(crate) fn acquire(
        &self,
        counts: bool,
        label: &str,
        options: &RetryOptions,
        cx: &TaskContext,
    ) -> Result<Permit<'_>> {
        // The place first: a booking that waits for a place would be too old.
        let permit = self.places.take(cx)?;
        let reserve = || {
            self.ledger
                .with(|book, now| book.reserve(self.limits, counts, now))
        };
        while let Err((wait, reason)) = reserve() {
            if wait > options.max_wait.0 {
                let cause = Error::new(ErrorKind::Quota, reason);
                return Err(too_long(label, wait, options, cause));
            }
            if wait >= WORTH_TELLING {
                log::info!("{label} waits {}: {reason}", in_words(wait));
                cx.notify(Notice::Wait {
                    label: label.to_owned(),
                    wait,
                    reason,
                });
            }
            cx.cancel.wait(wait)?;
        }
        Ok(permit)
    }

    /// Takes in what a 429 says, and returns how long to wait for it.
    ///
    /// `asked` is its `Retry-After`. All workers wait, and all processes.
    pub(crate) fn refused(&self, asked: Option<Duration>, said: &str) -> Option<Duration> {
        let exceeded = Exceeded::read(said);
        self.ledger.with(|book, now| {
            let wait = asked.or_else(|| match exceeded {
                Some(Exceeded::Hour) => Some(book.until_hour_has_room(now)),
                Some(Exceeded::AtOnce) => Some(BRIEFLY),
                None => None,
            })?;
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            book.pause(now_ms().saturating_add(ms), "the server asked to wait");
            Some(wait)
        })
    }

    /// Returns the requests of the last hour, of all processes.
    pub(crate) fn used(&self) -> u64 {
        self.ledger.used() as u64
    }
}

/// Which limit a 429 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceeded {
    Hour,
    AtOnce,
}

impl Exceeded {
    /// Reads `1/5 queries running concurrently and 61/60 queries running in
    /// the last hour`; `None` if no figure is over its limit.
    fn read(said: &str) -> Option<Exceeded> {
        let over = |what: &str| {
            let before = said.get(..said.find(what)?)?;
            let (used, most) = before.trim_end().rsplit(' ').next()?.split_once('/')?;
            Some(used.parse::<u64>().ok()? >= most.parse::<u64>().ok()?)
        };
        // An hour outlasts a moment.
        if over("queries running in the last hour") == Some(true) {
            return Some(Exceeded::Hour);
        }
        (over("queries running concurrently") == Some(true)).then_some(Exceeded::AtOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_names_the_limit_that_is_exceeded() {
        let text = |at_once: &str, hour: &str| {
            format!(
                "too many: {at_once} queries running concurrently and {hour} queries running in the last hour"
            )
        };
        assert_eq!(Exceeded::read(&text("1/5", "61/60")), Some(Exceeded::Hour));
        assert_eq!(Exceeded::read(&text("6/5", "61/60")), Some(Exceeded::Hour));
        assert_eq!(Exceeded::read(&text("6/5", "9/60")), Some(Exceeded::AtOnce));
        assert_eq!(Exceeded::read(&text("1/5", "9/60")), None);
        assert_eq!(Exceeded::read("slow down"), None);
        assert_eq!(Exceeded::read("queries running concurrently"), None);
    }

    #[test]
    fn a_429_pauses_everybody_for_as_long_as_it_says() {
        let quota = Quota::new(Limits::EXPORT, None);
        let wait = |quota: &Quota| {
            let reserved = quota
                .ledger
                .with(|book, now| book.reserve(Limits::EXPORT, false, now));
            reserved
                .err()
                .map_or(0.0, |(wait, _)| wait.as_secs_f64().round())
        };
        assert_eq!(quota.refused(None, "slow down"), None);
        assert_eq!(wait(&quota), 0.0);
        let hour = "1/5 queries running concurrently and 61/60 queries running in the last hour";
        assert_eq!(
            quota.refused(Some(Duration::from_secs(7)), hour),
            Some(Duration::from_secs(7))
        );
        assert_eq!(wait(&quota), 7.0);
        // Nobody here has made a request, so it is not known when the hour began.
        assert_eq!(quota.refused(None, hour), Some(Duration::from_secs(3600)));
        assert_eq!(wait(&quota), 3600.0);
    }
}
