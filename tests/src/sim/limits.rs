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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: None,
            per_hour: None,
            concurrent: None,
            retry_after: None,
            hour: Duration::from_secs(3_600),
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
        let refused = over(state.running, concurrent)
            || is_query && (over(this_hour, per_hour) || over(this_second, per_second));
        if refused {
            let of = |limit: Option<usize>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
            return Err(format!(
                "Query rate limit exceeded: this project has {}/{} queries running concurrently \
                 and {this_hour}/{} queries running in the last hour, \
                 {this_second}/{} in the last second.",
                state.running,
                of(concurrent),
                of(per_hour),
                of(per_second),
            ));
        }
        if is_query {
            state.accepted.push_back(now);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    #[test]
    fn the_message_names_the_counters() {
        let gate = Arc::new(Gate::new(Limits {
            per_hour: Some(2),
            concurrent: Some(5),
            ..Limits::default()
        }));
        for _ in 0..2 {
            let _pass = gate.enter();
            gate.admit(true).unwrap();
        }
        let _pass = gate.enter();
        let message = gate.admit(true).unwrap_err();
        let counters = "1/5 queries running concurrently and 3/2 queries running in the last hour";
        assert!(message.contains(counters), "{message}");
        gate.admit(false).unwrap();
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
