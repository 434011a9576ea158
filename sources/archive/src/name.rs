//! The names of bodies: which unit each is of, and when it was fetched.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mixflow_core::unit::UnitKey;

/// What the name of a body ends in.
pub(crate) const BODY: &str = ".jsonl.gz";

/// What the name of what is known of a body ends in.
pub(crate) const NOTE: &str = ".json";

/// What both names begin with: `5b05…1ec2-20240103T020000.123Z`.
///
/// Sorts by the time of fetching among those of one unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stem(String);

impl Stem {
    /// Returns the name of a body of the unit `key`.
    pub(crate) fn new(key: &UnitKey, fetched_at: Timestamp) -> Stem {
        let time = fetched_at.to_zoned(TimeZone::UTC);
        Stem(format!("{key}-{}", time.strftime("%Y%m%dT%H%M%S.%3fZ")))
    }

    /// Reads the name of a body; `None` if it is none of ours.
    pub(crate) fn of_body(name: &str) -> Option<Stem> {
        Stem::read(name.strip_suffix(BODY)?)
    }

    /// Reads the name of what is known of a body.
    pub(crate) fn of_note(name: &str) -> Option<Stem> {
        Stem::read(name.strip_suffix(NOTE)?)
    }

    pub(crate) fn read(text: &str) -> Option<Stem> {
        let (key, time) = text.split_once('-')?;
        let is_key = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_key && time_of(time).is_some()).then(|| Stem(text.to_owned()))
    }

    /// Returns the digits of the unit's key.
    pub(crate) fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(key, _)| key)
    }

    /// Returns when the body was fetched, to the millisecond.
    pub(crate) fn fetched_at(&self) -> Timestamp {
        let time = self.0.split_once('-').and_then(|(_, time)| time_of(time));
        time.unwrap_or_default()
    }

    pub(crate) fn body(&self) -> String {
        format!("{self}{BODY}")
    }

    pub(crate) fn note(&self) -> String {
        format!("{self}{NOTE}")
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn time_of(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%.fZ", text).ok()?;
    let time = time.to_datetime().ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use mixflow_core::unit::Dataset;

    use super::*;

    #[test]
    fn a_name_says_which_unit_and_when() {
        let key = UnitKey::of(&Dataset::default().key(), &serde_json::json!(1));
        let time: Timestamp = "2024-01-03T02:00:00.123Z".parse().expect("a time");
        let stem = Stem::new(&key, time);
        assert_eq!(stem.to_string(), format!("{key}-20240103T020000.123Z"));
        assert_eq!((stem.key(), stem.fetched_at()), (key.as_str(), time));
        assert_eq!(Stem::of_body(&stem.body()).as_ref(), Some(&stem));
        assert_eq!(Stem::of_note(&stem.note()).as_ref(), Some(&stem));
        for other in [
            "notes.json".to_owned(),
            format!("{key}-yesterday.json"),
            format!("x{stem}.json"),
            format!(".{stem}.a.json.tmp"),
            stem.body(),
        ] {
            assert_eq!(Stem::of_note(&other), None, "{other}");
        }
    }
}
