//! What mixflow's normalised rows should be, written down a second time.
//!
//! Slow and obvious on purpose. A test compares the rows of a destination
//! with these, made from the lines that the simulator says it sent.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::json::{self, Member};

/// A normalised event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The record's `event`.
    pub event_name: String,
    /// The record's `time` in microseconds since 1970.
    pub event_time_us: i64,
    /// The record's `distinct_id` as text; empty if it is missing or null.
    pub distinct_id: String,
    /// The record's `$insert_id` as text; `None` if it is missing, null or
    /// empty, which is where mixflow puts a hash of the record's bytes.
    pub insert_id: Option<String>,
    /// The remaining properties.
    pub properties: Properties,
}

/// A normalised profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The profile's `$distinct_id` as text.
    pub distinct_id: String,
    /// The profile's `$last_seen` in microseconds since 1970, if it can be read.
    pub last_seen_us: Option<i64>,
    /// The remaining properties, with a `$last_seen` that cannot be read.
    pub properties: Properties,
}

/// Properties in their order and as they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// Keys, unescaped, with the text of their values.
    pub members: Vec<(String, String)>,
    /// The object with its members' text unchanged and no space between them;
    /// mended and without any white space, where a key stood twice or half a
    /// surrogate pair alone.
    pub text: String,
}

impl Properties {
    /// Parses the object; `None` if `serde_json` cannot hold it (a number out
    /// of range, deep nesting).
    pub fn value(&self) -> Option<Value> {
        serde_json::from_str(&self.text).ok()
    }

    /// Returns the text of the last value under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.members.iter().rev();
        found
            .find(|(name, _)| name == key)
            .map(|(_, text)| text.as_str())
    }

    fn of(members: &[Member<'_>], keep: impl Fn(&Member<'_>) -> bool) -> Self {
        let kept: Vec<_> = members.iter().filter(|member| keep(member)).collect();
        let texts: Vec<_> = kept
            .iter()
            .map(|member| format!("{}:{}", member.raw_key, member.value))
            .collect();
        let text = format!("{{{}}}", texts.join(","));
        let mended = json::mended(&text);
        Self {
            members: kept
                .iter()
                .map(|member| (json::text_of(member.raw_key), member.value.to_owned()))
                .collect(),
            text: if mended == json::compact(&text) {
                text
            } else {
                mended
            },
        }
    }
}

/// Returns whether properties that were found are what they should be; where
/// they were mended, white space does not count.
pub fn same_properties(found: &str, expected: &str) -> bool {
    found == expected || (json::compact(expected) == expected && json::compact(found) == expected)
}

/// Normalises a line of an export, or says why it is a reject.
///
/// Of duplicate keys the last one counts; all `time`, `distinct_id` and
/// `$insert_id` leave the properties.
pub fn normalize_event(line: &[u8], time_in_ms: bool) -> Result<Event, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let record = json::members(text)?;
    let name = json::last(&record, "event").ok_or("`event` is missing")?;
    let event_name = json::string(name).ok_or("`event` is not a string")?;
    let properties = json::last(&record, "properties").ok_or("`properties` is missing")?;
    let properties = json::members(properties)?;
    let time = json::last(&properties, "time").ok_or("`time` is missing")?;
    let event_time_us = json::micros(time, time_in_ms)
        .filter(|&micros| Timestamp::from_microsecond(micros).is_ok())
        .ok_or_else(|| format!("cannot read the time {time}"))?;
    let text_of = |name| json::last(&properties, name).map_or_else(String::new, json::text_of);
    let own_column = |member: &Member<'_>| {
        ["time", "distinct_id", "$insert_id"]
            .iter()
            .any(|n| member.is(n))
    };
    Ok(Event {
        event_name,
        event_time_us,
        distinct_id: text_of("distinct_id"),
        insert_id: Some(text_of("$insert_id")).filter(|id| !id.is_empty()),
        properties: Properties::of(&properties, |member| !own_column(member)),
    })
}

/// Normalises a profile of an engage page, or says why it is a reject.
pub fn normalize_profile(record: &[u8]) -> Result<Profile, String> {
    let text = std::str::from_utf8(record).map_err(|error| error.to_string())?;
    let record = json::members(text)?;
    let properties = json::last(&record, "$properties").ok_or("`$properties` is missing")?;
    let properties = json::members(properties)?;
    let last_seen_us = json::last(&properties, "$last_seen")
        .and_then(json::string)
        .and_then(|text| last_seen(&text));
    Ok(Profile {
        distinct_id: json::last(&record, "$distinct_id").map_or_else(String::new, json::text_of),
        last_seen_us,
        properties: Properties::of(&properties, |member| {
            last_seen_us.is_none() || !member.is("$last_seen")
        }),
    })
}

/// Reads a `$last_seen`: without an offset it is UTC.
fn last_seen(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil = text.parse::<DateTime>().ok()?;
    let instant = TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(instant.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_split_into_columns() {
        let line = br#"{"event":"buy","properties":{"time":1704067200,"distinct_id":7,"$insert_id":"x","a":1.10,"b":"\u00e9"}}"#;
        let event = normalize_event(line, false).unwrap();
        assert_eq!(event.event_name, "buy");
        assert_eq!(event.event_time_us, 1_704_067_200_000_000);
        assert_eq!(event.distinct_id, "7");
        assert_eq!(event.insert_id.as_deref(), Some("x"));
        assert_eq!(event.properties.text, r#"{"a":1.10,"b":"\u00e9"}"#);
        assert_eq!(event.properties.get("a"), Some("1.10"));
        assert_eq!(event.properties.value().unwrap()["b"], "é");
    }

    #[test]
    fn missing_ids_are_empty_or_none() {
        for id in [
            "",
            r#","distinct_id":null,"$insert_id":null"#,
            r#","$insert_id":"""#,
        ] {
            let line = format!(r#"{{"event":"a","properties":{{"time":"1"{id}}}}}"#);
            let event = normalize_event(line.as_bytes(), false).unwrap();
            assert_eq!((event.distinct_id.as_str(), event.insert_id), ("", None));
        }
    }

    #[test]
    fn rejects_say_why() {
        for (line, reason) in [
            (r#"{"properties":{"time":1}}"#, "`event` is missing"),
            (
                r#"{"event":1,"properties":{"time":1}}"#,
                "`event` is not a string",
            ),
            (r#"{"event":"a"}"#, "`properties` is missing"),
            (r#"{"event":"a","properties":[]}"#, "expected an object"),
            (r#"{"event":"a","properties":{}}"#, "`time` is missing"),
            (
                r#"{"event":"a","properties":{"time":"x"}}"#,
                "cannot read the time \"x\"",
            ),
        ] {
            assert_eq!(normalize_event(line.as_bytes(), false).unwrap_err(), reason);
        }
    }

    #[test]
    fn profiles_have_a_last_seen_or_keep_it() {
        for (text, expected) in [
            (r#""2008-06-09T23:08:40""#, Some(1_213_052_920_000_000)),
            (r#""2008-06-09T23:08:40Z""#, Some(1_213_052_920_000_000)),
            (
                r#""2008-06-10T01:08:40+02:00""#,
                Some(1_213_052_920_000_000),
            ),
            (r#""2008-06-09T23:08:40.5""#, Some(1_213_052_920_500_000)),
            (r#""""#, None),
            ("null", None),
            (r#""yesterday""#, None),
        ] {
            let record =
                format!(r#"{{"$distinct_id":4,"$properties":{{"$last_seen":{text},"k":1}}}}"#);
            let profile = normalize_profile(record.as_bytes()).unwrap();
            assert_eq!(profile.distinct_id, "4");
            assert_eq!(profile.last_seen_us, expected, "{text}");
            let kept = profile.properties.get("$last_seen");
            assert_eq!(kept.is_none(), expected.is_some(), "{text}");
        }
    }
}
