//! Rate limits, and the count of requests in flight.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Limits of one endpoint. `None` means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests within one second.
    pub per_second: Option<usize>,
    /// Requests within `hour`.
    pub per_hour: Option<usize>,
    /// Requests at once.
    pub concurrent: Option<usize>,
    /// The text of `Retry-After` in the answer, if it is to have one.
    pub retry_after: Option<String>,
    /// How long an hour takes; a test can shorten it.
    pub hour: Duration,
    /// How the answers speak of the limits.
    pub dialect: Dialect,
}

/// How answers speak of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As in 2026: `RateLimit` headers on each answer, and a body that names
    /// what is exceeded in brackets.
    #[default]
    Today,
    /// As before: no header, and a body that names all counters.
    Counters,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: None,
            per_hour: None,
            concurrent: None,
            retry_after: None,
            hour: Duration::from_secs(3_600),
            dialect: Dialect::default(),
        }
    }
}

impl Limits {
    /// Returns the documented limits of the export endpoint.
    pub fn of_export() -> Self {
        Self {
            per_second: Some(3),
            per_hour: Some(60),
            concurrent: Some(100),
            ..Self::default()
        }
    }

    /// Returns the documented limits of the engage endpoint.
    pub fn of_engage() -> Self {
        Self {
            per_hour: Some(60),
            concurrent: Some(5),
            ..Self::default()
        }
    }
}

/// Counts the requests of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Gate {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    peak: usize,
    accepted: VecDeque<Instant>,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a request as running until the pass is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Pass {
        let mut state = self.lock();
        state.running += 1;
        state.peak = state.peak.max(state.running);
        Pass(Arc::clone(self))
    }

    pub(super) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Accepts a running request, or returns the message of the 429.
    ///
    /// Further pages of a session do not count as queries of the hour, hence
    /// `is_query`. Refused requests do not count either.
    pub(super) fn admit(&self, is_query: bool) -> Result<(), String> {
        let Limits {
            per_second,
            per_hour,
            concurrent,
            hour,
            ..
        } = self.limits;
        let now = Instant::now();
        let mut state = self.lock();
        while let Some(&oldest) = state.accepted.front()
            && now.duration_since(oldest) >= hour
        {
            state.accepted.pop_front();
        }
        let within = |at: &&Instant| now.duration_since(**at) < Duration::from_secs(1);
        let this_second = state.accepted.iter().rev().take_while(within).count() + 1;
        let this_hour = state.accepted.len() + 1;
        let over = |count, limit: Option<usize>| limit.is_some_and(|limit| count > limit);
        let exceeded = [
            (
                over(state.running, concurrent),
                state.running,
                concurrent,
                "queries running concurrently",
            ),
            (
                is_query && over(this_hour, per_hour),
                this_hour,
                per_hour,
                "queries running in the last hour",
            ),
            (
                is_query && over(this_second, per_second),
                this_second,
                per_second,
                "queries in the last second",
            ),
        ];
        if exceeded.iter().any(|(exceeded, ..)| *exceeded) {
            let counter = |(_, count, limit, what): &(bool, usize, Option<usize>, &str)| {
                let limit = limit.map_or("unlimited".to_owned(), |n| n.to_string());
                format!("{count}/{limit} {what}")
            };
            let named = |all| {
                let named = exceeded.iter().filter(|(exceeded, ..)| all || *exceeded);
                named.map(counter).collect::<Vec<_>>().join(" and ")
            };
            return Err(match self.limits.dialect {
                Dialect::Today => too_many(&named(false)),
                Dialect::Counters => format!(
                    "Query rate limit exceeded: this project has {}.",
                    named(true)
                ),
            });
        }
        if is_query {
            state.accepted.push_back(now);
        }
        Ok(())
    }

    /// Returns the headers that tell of the limits, as they are now.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let Limits {
            per_hour: Some(limit),
            concurrent,
            hour,
            dialect: Dialect::Today,
            ..
        } = self.limits
        else {
            return Vec::new();
        };
        let state = self.lock();
        let left = limit.saturating_sub(state.accepted.len());
        let oldest = state
            .accepted
            .front()
            .map_or(Duration::ZERO, Instant::elapsed);
        // Rounded up: who comes at the second is not too early.
        let resets_in = hour.saturating_sub(oldest).as_secs_f64().ceil();
        rate_limit(limit, left, resets_in as u64, hour.as_secs(), concurrent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the text of a 429 of today.
pub(super) fn too_many(counters: &str) -> String {
    format!("Too many requests: the project's rate limit is exceeded ({counters}).")
}

/// Returns the headers of today: what is left, and what the limits are.
pub(super) fn rate_limit(
    limit: usize,
    left: usize,
    resets_in: u64,
    window: u64,
    concurrent: Option<usize>,
) -> Vec<(&'static str, String)> {
    let mut policy = format!("\"project\";q={limit};w={window}");
    if let Some(most) = concurrent {
        policy.push_str(&format!(
            ", \"project-concurrency\";q={most};qu=\"concurrent-requests\""
        ));
    }
    vec![
        ("RateLimit", format!("\"project\";r={left};t={resets_in}")),
        ("RateLimit-Policy", policy),
    ]
}

/// A running request. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted(dialect: Dialect) -> Arc<Gate> {
        let gate = Arc::new(Gate::new(Limits {
            per_hour: Some(2),
            concurrent: Some(5),
            dialect,
            ..Limits::default()
        }));
        for _ in 0..2 {
            let _pass = gate.enter();
            gate.admit(true).unwrap();
        }
        gate
    }

    #[test]
    fn todays_message_names_what_is_exceeded_and_headers_tell_the_rest() {
        let gate = exhausted(Dialect::Today);
        let _pass = gate.enter();
        let message = gate.admit(true).unwrap_err();
        assert!(
            message.contains("(3/2 queries running in the last hour)"),
            "{message}"
        );
        gate.admit(false).unwrap();
        let [left, policy] = &gate.headers()[..] else {
            panic!("two headers");
        };
        assert!(left.1.starts_with("\"project\";r=0;t=3"), "{left:?}");
        assert!(
            policy
                .1
                .starts_with("\"project\";q=2;w=3600, \"project-concurrency\";q=5;"),
            "{policy:?}"
        );
    }

    #[test]
    fn the_message_of_before_names_all_counters_and_there_are_no_headers() {
        let gate = exhausted(Dialect::Counters);
        let _pass = gate.enter();
        let message = gate.admit(true).unwrap_err();
        let counters = "1/5 queries running concurrently and 3/2 queries running in the last hour";
        assert!(message.contains(counters), "{message}");
        assert_eq!(gate.headers(), []);
    }

    #[test]
    fn requests_at_once_are_counted() {
        let gate = Arc::new(Gate::new(Limits {
            concurrent: Some(1),
            ..Limits::default()
        }));
        let first = gate.enter();
        gate.admit(true).unwrap();
        let second = gate.enter();
        assert!(gate.admit(true).is_err());
        drop((first, second));
        let _third = gate.enter();
        gate.admit(true).unwrap();
        assert_eq!(gate.peak(), 2);
    }

    #[test]
    fn an_hour_passes() {
        let gate = Arc::new(Gate::new(Limits {
            per_hour: Some(1),
            hour: Duration::ZERO,
            ..Limits::default()
        }));
        gate.admit(true).unwrap();
        gate.admit(true).unwrap();
    }
}
