//! What an answer says of the server's limits: headers, and the body of a 429.
//!
//! ```text
//! RateLimit: "project";r=0;t=3600
//! RateLimit-Policy: "project";q=60;w=3600, "project-concurrency";q=5
//! Retry-After: 3600
//!
//! … (61/60 queries running in the last hour)
//! ```
//!
//! Any of these may be missing; before 2026 the body named all counters,
//! whether or not they were exceeded.

use std::time::{Duration, SystemTime};

use ureq::http::HeaderMap;

use crate::http::retry::retry_after;

/// The window of the limit that a run has to live with.
const HOUR: u64 = 3_600;

/// A limit that is not one; more than this an hour is a header misread.
const MOST_PER_HOUR: u64 = 1_000_000;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerLimits {
    /// Its `Retry-After`, or when a limit that is used up has room again.
    pub(super) wait: Option<Duration>,
    /// The requests of an hour that the project really has.
    pub(super) per_hour: Option<u32>,
    /// The limit that is used up.
    pub(super) exceeded: Option<Exceeded>,
}

/// Which limit a 429 names. A longer one outlasts a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exceeded {
    Second,
    AtOnce,
    Hour,
}

impl ServerLimits {
    /// Reads the headers of any answer.
    pub(crate) fn by(headers: &HeaderMap, now: SystemTime) -> ServerLimits {
        let policies = items(headers, "ratelimit-policy");
        let hourly = |item: &&Item| item.number("w") == Some(HOUR);
        let hour = policies.iter().find(hourly);
        let mut said = ServerLimits {
            per_hour: hour.and_then(|item| item.number("q")).and_then(per_hour),
            ..ServerLimits::default()
        };
        for item in items(headers, "ratelimit") {
            if item.number("r") != Some(0) {
                continue;
            }
            let of_hour = policies
                .iter()
                .any(|policy| policy.name == item.name && hourly(&policy));
            let exceeded = if of_hour {
                Exceeded::Hour
            } else {
                Exceeded::AtOnce
            };
            said.exceeded = said.exceeded.max(Some(exceeded));
            said.wait = said.wait.max(item.number("t").map(Duration::from_secs));
        }
        let asked = headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|header| retry_after(header, now));
        said.wait = asked.or(said.wait);
        said
    }

    /// Returns how long the answer asks to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Adds what the body of a 429 says.
    pub(crate) fn with_body(mut self, body: &str) -> ServerLimits {
        let mut counter = None;
        for word in body.split_whitespace() {
            let bare = word.trim_matches(|char: char| !char.is_ascii_digit());
            if let Some((used, most)) = bare.split_once('/')
                && let (Ok(used), Ok(most)) = (used.parse::<u64>(), most.parse::<u64>())
            {
                counter = Some((used, most));
                continue;
            }
            let limit = match word {
                _ if word.starts_with("concurrent") => Exceeded::AtOnce,
                _ if word.starts_with("hour") => Exceeded::Hour,
                _ if word.starts_with("second") => Exceeded::Second,
                _ => continue,
            };
            let Some((used, most)) = counter.take() else {
                continue;
            };
            if limit == Exceeded::Hour {
                self.per_hour = self.per_hour.or(per_hour(most));
            }
            if used >= most {
                self.exceeded = self.exceeded.max(Some(limit));
            }
        }
        self
    }

    /// Returns what a body says whose answer had no headers worth reading.
    #[cfg(test)]
    pub(super) fn of_body(body: &str) -> ServerLimits {
        ServerLimits::default().with_body(body)
    }
}

fn per_hour(most: u64) -> Option<u32> {
    u32::try_from(most)
        .ok()
        .filter(|most| (1..=MOST_PER_HOUR).contains(&u64::from(*most)))
}

/// A member of a list such as `"project";r=0;t=3600`.
struct Item {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Item {
    fn number(&self, key: &str) -> Option<u64> {
        let found = self.parameters.iter().find(|(name, _)| name == key);
        found?.1.parse().ok()
    }
}

fn items(headers: &HeaderMap, name: &str) -> Vec<Item> {
    let lines = headers.get_all(name).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| split(line, ','))
        .map(|item| {
            let mut parts = split(item, ';').into_iter();
            let name = parts.next().unwrap_or_default().trim().trim_matches('"');
            let parameter = |part: &str| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                (key.trim().to_ascii_lowercase(), value.trim().to_owned())
            };
            Item {
                name: name.to_owned(),
                parameters: parts.map(parameter).collect(),
            }
        })
        .collect()
}

/// Splits at `by` outside quotes.
fn split(text: &str, by: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|char| {
        quoted ^= char == '"';
        char == by && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::{HeaderName, HeaderValue};

    fn said(headers: &[(&'static str, &'static str)]) -> ServerLimits {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        ServerLimits::by(&map, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_body_names_the_limit_that_is_exceeded() {
        let all = |at_once: &str, hour: &str| {
            let body = format!(
                "too many: {at_once} queries running concurrently and {hour} queries running in the last hour"
            );
            ServerLimits::of_body(&body).exceeded
        };
        assert_eq!(all("1/5", "61/60"), Some(Exceeded::Hour));
        assert_eq!(all("6/5", "61/60"), Some(Exceeded::Hour));
        assert_eq!(all("6/5", "9/60"), Some(Exceeded::AtOnce));
        assert_eq!(all("1/5", "9/60"), None);
        let bracketed =
            ServerLimits::of_body("Slow down (241/240 queries running in the last hour).");
        assert_eq!(bracketed.exceeded, Some(Exceeded::Hour));
        assert_eq!(bracketed.per_hour, Some(240));
        let second = ServerLimits::of_body("too many (4/3 queries in the last second)");
        assert_eq!(second.exceeded, Some(Exceeded::Second));
        let at_once = ServerLimits::of_body("(6/5 queries running concurrently)");
        assert_eq!(at_once.exceeded, Some(Exceeded::AtOnce));
        for nothing in ["slow down", "queries running concurrently", "1/ /2 hour"] {
            assert_eq!(
                ServerLimits::of_body(nothing),
                ServerLimits::default(),
                "{nothing}"
            );
        }
    }

    #[test]
    fn headers_tell_the_limit_what_is_left_and_for_how_long() {
        let policy = (
            "ratelimit-policy",
            "\"project\";q=240;w=3600, \"project-concurrency\";q=5;qu=\"a,b;c\"",
        );
        let exhausted = said(&[("ratelimit", "\"project\";r=0;t=1800"), policy]);
        assert_eq!(exhausted.per_hour, Some(240));
        assert_eq!(exhausted.exceeded, Some(Exceeded::Hour));
        assert_eq!(exhausted.wait, Some(Duration::from_secs(1800)));
        let room = said(&[("ratelimit", "\"project\";r=9;t=1800"), policy]);
        assert_eq!((room.exceeded, room.wait), (None, None));
        let busy = said(&[
            ("ratelimit", "\"project\";r=9;t=1800"),
            ("ratelimit", "\"project-concurrency\";r=0"),
            policy,
        ]);
        assert_eq!((busy.exceeded, busy.wait), (Some(Exceeded::AtOnce), None));
        // What is asked for in so many words is what is done.
        let asked = said(&[
            ("ratelimit", "\"project\";r=0;t=1800"),
            ("retry-after", "7"),
        ]);
        assert_eq!(asked.wait, Some(Duration::from_secs(7)));
        for garbage in ["", ";;", "\"", "a;q=x;w=3600", "\"p\";q=0;w=3600"] {
            let headers = [("ratelimit", garbage), ("ratelimit-policy", garbage)];
            assert_eq!(said(&headers), ServerLimits::default(), "{garbage}");
        }
    }
}
