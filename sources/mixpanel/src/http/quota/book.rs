//! What an endpoint has been asked lately, and what it has said of its limits.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::server_limits::{Exceeded, ServerLimits};

const HOUR_MS: u64 = 3_600_000;
const SECOND_MS: u64 = 1_000;

/// A time to wait, and why.
pub(super) type Wait = (Duration, String);

/// The requests of the last hour and second. Times are milliseconds since 1970.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    /// The requests that count for the hour.
    hour: VecDeque<u64>,
    second: VecDeque<u64>,
    /// What a 429 asked for; it holds for everybody.
    paused_until: u64,
    pause_reason: String,
    /// The requests of an hour that the server says the project has.
    per_hour: Option<u32>,
    /// When the hour was to be over, as the last 429 said that asked for
    /// moments; 0 once a request went through.
    over_at: u64,
}

/// The wait for a place at the server, when it has too many requests at once.
const BRIEFLY: Duration = Duration::from_secs(2);

/// Waits shorter than this are no wait for an hour to pass.
const SHORTLY: Duration = Duration::from_secs(60);

/// A place at the server is free when any of its queries ends. It is not known
/// whether a 429 for them carries the `Retry-After: 3600` of the hour, so a
/// longer wait than [`SHORTLY`] is not believed, and this is waited instead.
const UNTIL_A_PLACE_IS_FREE: Duration = Duration::from_secs(10);

impl Book {
    /// Reads a book as it was written; one that nobody can read starts anew.
    pub(super) fn read(text: Option<&str>) -> Book {
        let Some(text) = text else {
            return Book::default();
        };
        serde_json::from_str(text).unwrap_or_else(|error| {
            log::warn!("the quota starts anew: {error}");
            Book::default()
        })
    }

    /// Adds what another book has and this one has not.
    pub(super) fn add(&mut self, other: &Book) {
        let add = |window: &mut VecDeque<u64>, other: &VecDeque<u64>| {
            let mut known = window.clone();
            for time in other {
                match known.iter().position(|known| known == time) {
                    Some(at) => drop(known.remove(at)),
                    None => window.push_back(*time),
                }
            }
            window.make_contiguous().sort_unstable();
        };
        add(&mut self.hour, &other.hour);
        add(&mut self.second, &other.second);
        self.pause(other.paused_until, &other.pause_reason);
        self.learn(other.per_hour);
        self.over_at = self.over_at.max(other.over_at);
    }

    /// Books a request now and returns its time, or says how long to wait and
    /// why.
    ///
    /// A pause longer than `patience` is none: who would not wait for it asks
    /// the server, which may have thought better of it.
    pub(super) fn reserve(
        &mut self,
        limits: Limits,
        counts: bool,
        patience: Duration,
        now: u64,
    ) -> Result<u64, Wait> {
        self.forget(now);
        let pause = Duration::from_millis(self.paused_until.saturating_sub(now));
        if !pause.is_zero() && pause <= patience {
            return Err((pause, self.pause_reason.clone()));
        }
        let wait = |window: &VecDeque<u64>, length: u64, most: u32| {
            // With more in it than allowed (another process has a larger
            // limit), it is a later one that has to leave.
            let leaves = window.len().checked_sub(most as usize)?;
            window
                .get(leaves)
                .map(|time| Duration::from_millis(time + length - now))
        };
        let most = self.per_hour(limits);
        if counts && let Some(wait) = wait(&self.hour, HOUR_MS, most) {
            return Err((wait, format!("{most} requests were made within the hour")));
        }
        if let Some(wait) = wait(&self.second, SECOND_MS, limits.per_second) {
            let most = limits.per_second;
            return Err((wait, format!("{most} requests were made within the second")));
        }
        if counts {
            self.hour.push_back(now);
        }
        self.second.push_back(now);
        Ok(now)
    }

    /// Takes back the booking of a request that reached no server.
    pub(super) fn give_back(&mut self, counts: bool, booked: u64) {
        let strike = |window: &mut VecDeque<u64>| {
            if let Some(at) = window.iter().rposition(|time| *time == booked) {
                window.remove(at);
            }
        };
        if counts {
            strike(&mut self.hour);
        }
        strike(&mut self.second);
    }

    /// Returns the requests of an hour: what a pipeline says, or else the
    /// server, or else the documentation.
    pub(super) fn per_hour(&self, limits: Limits) -> u32 {
        match self.per_hour {
            Some(learned) if !limits.hour_is_given => learned,
            _ => limits.per_hour,
        }
    }

    /// Notes what the server says of the hour.
    pub(super) fn learn(&mut self, per_hour: Option<u32>) {
        self.per_hour = per_hour.or(self.per_hour);
    }

    /// Returns how long a 429 is waited for; `None` if nothing tells.
    pub(super) fn wait_for(
        &mut self,
        said: &ServerLimits,
        limits: Limits,
        now: u64,
    ) -> Option<Duration> {
        self.learn(said.per_hour);
        // Of a server that names no limit it is the one that we know used up.
        let used_up = self.used(now) >= self.per_hour(limits) as usize;
        let exceeded = said.exceeded.or(used_up.then_some(Exceeded::Hour));
        let asked = said.wait.map(|wait| match exceeded {
            Some(Exceeded::AtOnce) if wait > SHORTLY => UNTIL_A_PLACE_IS_FREE,
            _ => wait,
        });
        let wait = asked.or(match exceeded {
            Some(Exceeded::Hour) => Some(self.until_hour_has_room(now)),
            Some(Exceeded::AtOnce) => Some(BRIEFLY),
            Some(Exceeded::Second) => Some(Duration::from_millis(SECOND_MS)),
            None => None,
        })?;
        if exceeded != Some(Exceeded::Hour) || wait >= SHORTLY {
            return Some(wait);
        }
        // An hour that was to be over in moments, and is not, is waited for:
        // the tries are not spent against it.
        if self.over_at > 0 && now >= self.over_at && now - self.over_at < HOUR_MS {
            return Some(wait.max(self.until_hour_has_room(now)));
        }
        // Workers that ask at once are refused at once.
        let moment = wait.max(Duration::from_millis(SECOND_MS));
        let ms = u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        self.over_at = self.over_at.max(now.saturating_add(ms));
        Some(wait)
    }

    /// Notes that the server has let a request through.
    pub(super) fn went_through(&mut self) {
        self.over_at = 0;
    }

    /// Lets nobody make a request before `until`.
    pub(super) fn pause(&mut self, until: u64, reason: &str) {
        if until > self.paused_until {
            self.paused_until = until;
            reason.clone_into(&mut self.pause_reason);
        }
    }

    /// Returns how long until the oldest request of the hour is one no more.
    pub(super) fn until_hour_has_room(&self, now: u64) -> Duration {
        let oldest = self.hour.front().copied().unwrap_or(now).min(now);
        Duration::from_millis((oldest + HOUR_MS).saturating_sub(now))
    }

    /// Returns the requests of the last hour.
    pub(super) fn used(&mut self, now: u64) -> usize {
        self.forget(now);
        self.hour.len()
    }

    fn forget(&mut self, now: u64) {
        let keep = |window: &mut VecDeque<u64>, length: u64| {
            // What lies in the future is from before the clock was set back.
            window.retain(|time| *time <= now && now - time < length);
        };
        keep(&mut self.hour, HOUR_MS);
        keep(&mut self.second, SECOND_MS);
        if self.paused_until > now + 24 * HOUR_MS {
            self.paused_until = 0;
        }
        if self.over_at > now + HOUR_MS {
            self.over_at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn limits(per_second: u32, per_hour: u32) -> Limits {
        Limits {
            per_second,
            per_hour,
            concurrent: 10,
            hour_is_given: true,
        }
    }

    #[test]
    fn a_burst_is_allowed_up_to_each_limit() {
        let mut book = Book::default();
        let limits = limits(2, 3);
        let mut reserve = |counts, seconds: u64| {
            book.reserve(limits, counts, Duration::MAX, NOW + seconds * 1000)
        };
        assert!(reserve(true, 0).is_ok());
        assert!(reserve(true, 0).is_ok());
        let (wait, reason) = reserve(true, 0).expect_err("two a second");
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(reason, "2 requests were made within the second");
        assert!(reserve(true, 1).is_ok());
        let (wait, _) = reserve(true, 2).expect_err("three an hour");
        assert_eq!(wait, Duration::from_secs(3_598));
        // Pages of a session do not count for the hour.
        assert!(reserve(false, 2).is_ok());
        assert!(reserve(true, 3600).is_ok());
    }

    #[test]
    fn a_pause_holds_for_everybody_until_it_is_over() {
        let mut book = Book::default();
        book.pause(NOW + 5_000, "the server said so");
        book.pause(NOW + 1_000, "something shorter");
        let (wait, reason) = book
            .reserve(limits(9, 9), false, Duration::MAX, NOW)
            .expect_err("paused");
        assert_eq!(
            (wait, reason.as_str()),
            (Duration::from_secs(5), "the server said so")
        );
        assert!(
            book.reserve(limits(9, 9), true, Duration::MAX, NOW + 5_000)
                .is_ok()
        );
    }

    #[test]
    fn who_would_not_wait_for_a_pause_asks() {
        let mut book = Book::default();
        book.pause(NOW + 80_000_000, "the server asked to wait");
        let patience = Duration::from_secs(3_600);
        assert!(book.reserve(limits(9, 9), true, patience, NOW).is_ok());
        let patient = Duration::from_secs(90_000);
        assert!(book.reserve(limits(9, 9), true, patient, NOW).is_err());
    }

    #[test]
    fn a_request_that_reached_nobody_is_given_back() {
        let mut book = Book::default();
        let limits = limits(9, 1);
        let booked = book
            .reserve(limits, true, Duration::MAX, NOW)
            .expect("there is room");
        assert!(book.reserve(limits, true, Duration::MAX, NOW).is_err());
        book.give_back(true, booked);
        assert_eq!(book.used(NOW), 0);
        assert!(book.reserve(limits, true, Duration::MAX, NOW).is_ok());
        book.give_back(true, booked + 1);
        assert_eq!(book.used(NOW), 1);
    }

    #[test]
    fn the_server_teaches_its_limit_unless_the_pipeline_says_one() {
        let documented = Limits {
            hour_is_given: false,
            ..limits(9, 1)
        };
        let mut book = Book::default();
        book.learn(Some(2));
        book.learn(None);
        for _ in 0..2 {
            assert!(book.reserve(documented, true, Duration::MAX, NOW).is_ok());
        }
        assert!(book.reserve(documented, true, Duration::MAX, NOW).is_err());
        assert_eq!(book.per_hour(limits(9, 7)), 7);
    }

    #[test]
    fn an_hour_that_is_over_in_moments_is_believed_once() {
        let mut book = Book::default();
        let said = |seconds| ServerLimits {
            wait: Some(Duration::from_secs(seconds)),
            exceeded: Some(Exceeded::Hour),
            ..ServerLimits::default()
        };
        let wait = |book: &mut Book, seconds, at: u64| {
            let now = NOW + at * 1000;
            let wait = book.wait_for(&said(seconds), limits(9, 60), now);
            wait.map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&mut book, 2, 0), Some(2));
        // Another worker, which had asked before that was known.
        assert_eq!(wait(&mut book, 2, 1), Some(2));
        assert_eq!(wait(&mut book, 2, 3), Some(3_600));
        assert_eq!(wait(&mut book, 1_800, 4), Some(1_800));
        // What goes through restores the belief: the window slides.
        book.went_through();
        assert_eq!(wait(&mut book, 2, 5), Some(2));
    }

    #[test]
    fn a_place_at_the_server_is_not_waited_for_by_the_hour() {
        let mut book = Book::default();
        let mut wait = |seconds, exceeded| {
            let said = ServerLimits {
                wait: Some(Duration::from_secs(seconds)),
                exceeded,
                ..ServerLimits::default()
            };
            book.wait_for(&said, limits(9, 60), NOW)
        };
        let at_once = Some(Exceeded::AtOnce);
        assert_eq!(wait(30, at_once), Some(Duration::from_secs(30)));
        assert_eq!(wait(3_600, at_once), Some(UNTIL_A_PLACE_IS_FREE));
        assert_eq!(wait(3_600, None), Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_429_without_a_word_is_about_the_hour_that_we_know_used_up() {
        let mut book = Book::default();
        let mut wait =
            |at: u64| book.wait_for(&ServerLimits::default(), limits(9, 1), NOW + at * 1000);
        assert_eq!(wait(0), None);
        let limits = limits(9, 1);
        assert!(book.reserve(limits, true, Duration::MAX, NOW).is_ok());
        let wait = book.wait_for(&ServerLimits::default(), limits, NOW + 600_000);
        assert_eq!(wait, Some(Duration::from_secs(3_000)));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut book = Book::default();
        for _ in 0..3 {
            assert!(
                book.reserve(limits(9, 3), true, Duration::MAX, NOW + 90 * HOUR_MS)
                    .is_ok()
            );
        }
        book.pause(NOW + 90 * HOUR_MS, "long ago");
        assert!(book.reserve(limits(9, 3), true, Duration::MAX, NOW).is_ok());
        assert_eq!(book.used(NOW), 1);
    }

    #[test]
    fn what_a_process_counted_alone_is_counted_by_all_later() {
        let mut shared = Book::default();
        let limits = limits(9, 9);
        for at in [0, 1, 1] {
            let booked = shared.reserve(limits, true, Duration::MAX, NOW + at);
            assert!(booked.is_ok());
        }
        let text = serde_json::to_string(&shared).expect("it is JSON");
        let mut alone = Book::read(Some(&text));
        for at in [1, 2] {
            assert!(alone.reserve(limits, true, Duration::MAX, NOW + at).is_ok());
        }
        alone.pause(NOW + 9, "the server asked to wait");
        assert!(shared.reserve(limits, true, Duration::MAX, NOW + 3).is_ok());
        shared.add(&alone);
        assert_eq!(shared.hour, [0, 1, 1, 1, 2, 3].map(|at| NOW + at));
        assert_eq!(shared.paused_until, NOW + 9);
    }
}
