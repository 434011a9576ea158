//! Mixpanel's limits, kept by the processes of a machine before the server
//! has to.
//!
//! Each project's endpoint has a [`ledger`] of the requests of the last hour in
//! the state, and a folder of [`places`] for the requests of the moment.
//! Without a state folder the process keeps them for itself.

mod book;
mod ledger;
mod limits;
mod places;
mod server_limits;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mixflow_core::context::{Notice, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::slots::{RequestSlots, Taken};

use self::book::Wait;
use self::ledger::{Ledger, now_ms};
use self::places::Places;
use crate::http::retry::{RetryOptions, too_long};
use crate::time::in_words;

pub(crate) use self::ledger::Shared;
pub use self::limits::{LimitOptions, Limits};
pub(crate) use self::places::Permit;
pub(crate) use self::server_limits::ServerLimits;

/// Waits shorter than this are not worth telling.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// Hands out permissions to make a request.
#[derive(Debug)]
pub(crate) struct Quota {
    limits: Limits,
    ledger: Ledger,
    places: Places,
    /// What other machines share the hour by, and the endpoint's name there.
    elsewhere: Option<(Arc<dyn RequestSlots>, String)>,
    /// What the server last said of the hour; 0 if nothing.
    heard: AtomicU32,
    /// Whether a 429 came since the last request that went through.
    refused: AtomicBool,
}

impl Quota {
    /// Creates a quota that processes share, or one of this process's own. Makes
    /// no I/O.
    pub(crate) fn new(limits: Limits, shared: Option<&Shared>) -> Quota {
        let folder = shared.map(|shared| shared.state.join("quota").join(&shared.endpoint));
        Quota {
            limits,
            ledger: Ledger::new(shared),
            places: Places::new(limits.concurrent, folder),
            elsewhere: None,
            heard: AtomicU32::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// Shares the hour with other machines, too.
    pub(crate) fn shared_by(self, slots: Option<Arc<dyn RequestSlots>>, endpoint: String) -> Quota {
        let elsewhere = slots.map(|slots| (slots, endpoint));
        Quota { elsewhere, ..self }
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
        cx: &UnitContext,
    ) -> Result<Permit<'_>> {
        // The place first: a booking that waits for a place would be too old.
        let mut permit = self.places.take(cx)?;
        let patience = options.max_wait.0;
        let reserve = || {
            self.ledger
                .with(|book, now| book.reserve(self.limits, counts, patience, now))
        };
        loop {
            let (wait, reason) = match reserve() {
                Ok(booked) => {
                    permit.booked = booked;
                    match self.slot(counts)? {
                        Ok(slot) => {
                            permit.slot = slot;
                            return Ok(permit);
                        }
                        Err(waits) => {
                            self.ledger.with(|book, _| book.give_back(counts, booked));
                            waits
                        }
                    }
                }
                Err(waits) => waits,
            };
            if wait > patience {
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
    }

    /// Takes one of the slots that machines share; there is none where a request
    /// does not count, or nothing is shared.
    fn slot(&self, counts: bool) -> Result<Result<Option<String>, Wait>> {
        let Some((slots, endpoint)) = self.elsewhere.as_ref().filter(|_| counts) else {
            return Ok(Ok(None));
        };
        let per_hour = self.per_hour();
        Ok(match slots.take(endpoint, per_hour)? {
            Taken::Slot(slot) => Ok(Some(slot)),
            Taken::None(wait) => {
                let reason =
                    format!("all machines together made {per_hour} requests within the hour");
                Err((wait, reason))
            }
        })
    }

    /// Takes a permission back whose request reached no server.
    pub(crate) fn give_back(&self, counts: bool, permit: Permit<'_>) {
        if let (Some((slots, _)), Some(slot)) = (&self.elsewhere, &permit.slot) {
            slots.give_back(slot);
        }
        let booked = permit.booked;
        self.ledger.with(|book, _| book.give_back(counts, booked));
    }

    /// Takes in what a good answer says of the limits.
    pub(crate) fn hear(&self, said: &ServerLimits) {
        let heard = said.per_hour.unwrap_or(0);
        // It is written when it is news only.
        let news = heard != 0 && self.heard.swap(heard, Ordering::Relaxed) != heard;
        if news || self.refused.swap(false, Ordering::Relaxed) {
            self.ledger.with(|book, _| {
                book.learn(said.per_hour);
                book.went_through();
            });
        }
    }

    /// Takes in what a 429 says, and returns how long to wait for it.
    ///
    /// All workers wait, and all processes.
    pub(crate) fn refused(&self, said: &ServerLimits) -> Option<Duration> {
        self.refused.store(true, Ordering::Relaxed);
        self.ledger.with(|book, now| {
            let wait = book.wait_for(said, self.limits, now)?;
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            book.pause(now_ms().saturating_add(ms), "the server asked to wait");
            Some(wait)
        })
    }

    /// Returns the requests of an hour, as far as they are known without
    /// asking.
    pub(crate) fn per_hour(&self) -> u32 {
        self.ledger
            .look(self.limits.per_hour, |book| book.per_hour(self.limits))
    }

    /// Returns the requests of the last hour, of all processes.
    pub(crate) fn used(&self) -> u64 {
        self.ledger.used() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_pauses_everybody_for_as_long_as_it_says() {
        let quota = Quota::new(Limits::EXPORT, None);
        let wait = |quota: &Quota| {
            let reserved = quota
                .ledger
                .with(|book, now| book.reserve(Limits::EXPORT, false, Duration::MAX, now));
            reserved
                .err()
                .map_or(0.0, |(wait, _)| wait.as_secs_f64().round())
        };
        assert_eq!(quota.refused(&ServerLimits::of_body("slow down")), None);
        assert_eq!(wait(&quota), 0.0);
        let hour = ServerLimits::of_body(
            "1/5 queries running concurrently and 61/60 queries running in the last hour",
        );
        let asked = ServerLimits {
            wait: Some(Duration::from_secs(70)),
            ..hour.clone()
        };
        assert_eq!(quota.refused(&asked), Some(Duration::from_secs(70)));
        assert_eq!(wait(&quota), 70.0);
        // Nobody here has made a request, so it is not known when the hour began.
        assert_eq!(quota.refused(&hour), Some(Duration::from_secs(3600)));
        assert_eq!(wait(&quota), 3600.0);
    }
}
