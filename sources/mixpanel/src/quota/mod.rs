//! Mixpanel's limits, kept by this process before the server has to.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use mixflow_core::context::{Notice, TaskContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::retry::{RetryOptions, too_long};
use crate::time::in_words;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Waits shorter than this are not worth telling.
const WORTH_TELLING: Duration = Duration::from_secs(2);

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
    /// It names no figure a second for these; they are held to the same one.
    pub const ENGAGE: Limits = Limits {
        per_second: 3,
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
pub(crate) struct Quota {
    limits: Limits,
    recent: Mutex<Recent>,
    places: (Sender<()>, Receiver<()>),
}

#[derive(Default)]
struct Recent {
    /// When the requests of the last hour that count were made.
    hour: VecDeque<Instant>,
    /// When the requests of the last second were made.
    second: VecDeque<Instant>,
}

/// A permission to make one request. Dropping it gives the place back.
#[must_use]
pub(crate) struct Permit<'a> {
    places: &'a Receiver<()>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let _ = self.places.try_recv();
    }
}

impl Quota {
    pub(crate) fn new(limits: Limits) -> Quota {
        Quota {
            limits,
            recent: Mutex::default(),
            places: bounded(limits.concurrent.max(1) as usize),
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
        cx.cancel.send(&self.places.0, ())?;
        let permit = Permit {
            places: &self.places.1,
        };
        while let Err((wait, reason)) = self.reserve(counts, Instant::now()) {
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

    /// Books a request now, or says how long to wait and why.
    fn reserve(&self, counts: bool, now: Instant) -> Result<(), (Duration, String)> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = &mut *recent;
        let until = |window: &mut VecDeque<Instant>, length: Duration, most: u32| {
            while window
                .front()
                .is_some_and(|first| now.duration_since(*first) >= length)
            {
                window.pop_front();
            }
            match window.front() {
                Some(first) if window.len() >= most as usize => {
                    Some(length - now.duration_since(*first))
                }
                _ => None,
            }
        };
        if counts && let Some(wait) = until(&mut recent.hour, HOUR, self.limits.per_hour) {
            let most = self.limits.per_hour;
            return Err((wait, format!("{most} requests were made within the hour")));
        }
        if let Some(wait) = until(&mut recent.second, SECOND, self.limits.per_second) {
            let most = self.limits.per_second;
            return Err((wait, format!("{most} requests were made within the second")));
        }
        if counts {
            recent.hour.push_back(now);
        }
        recent.second.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_up_to_each_limit() {
        let quota = Quota::new(Limits {
            per_second: 2,
            per_hour: 3,
            concurrent: 10,
        });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(quota.reserve(true, at(0)).is_ok());
        assert!(quota.reserve(true, at(0)).is_ok());
        let (wait, reason) = quota.reserve(true, at(0)).expect_err("two a second");
        assert_eq!(wait, SECOND);
        assert_eq!(reason, "2 requests were made within the second");
        assert!(quota.reserve(true, at(1)).is_ok());
        let (wait, _) = quota.reserve(true, at(2)).expect_err("three an hour");
        assert_eq!(wait, HOUR - Duration::from_secs(2));
        // Pages of a session do not count for the hour.
        assert!(quota.reserve(false, at(2)).is_ok());
        assert!(quota.reserve(true, at(3600)).is_ok());
    }
}
