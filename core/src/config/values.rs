//! Values that TOML has no type for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::written_as;

/// A text that may be written as a number: `"12345"` or `12345`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOrNumber(pub String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = TextOrNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
        }
        from.deserialize_any(Text)
    }
}

/// A duration such as `500ms`, `10s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .map(Seconds)
            .ok_or_else(|| {
                format!("`{text}` is not a duration: use one like `500ms`, `10s`, `2m` or `1h`")
            })
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, "a duration such as `10s`")
    }
}

/// A number of days, written `5d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(pub u32);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Days, String> {
        text.strip_suffix('d')
            .and_then(|digits| digits.parse().ok())
            .filter(|days| *days <= 36_500)
            .map(Days)
            .ok_or_else(|| format!("`{text}` is not a number of days: use one like `5d`"))
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, "a number of days such as `5d`")
    }
}

/// A day, absolute or relative to today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateSpec {
    /// `2024-01-31`.
    Day(Date),
    /// `today` (0), `yesterday` (1), `-7d` (7).
    DaysAgo(u32),
}

impl DateSpec {
    /// Returns the day that is meant at `now` in `zone`.
    ///
    /// Fails for a relative day before the first that exists.
    pub fn resolve(self, now: Timestamp, zone: &TimeZone) -> Result<Date, String> {
        match self {
            DateSpec::Day(date) => Ok(date),
            DateSpec::DaysAgo(days) => now
                .to_zoned(zone.clone())
                .date()
                .checked_sub(Span::new().days(i64::from(days)))
                .map_err(|_| format!("{days} days ago is out of range")),
        }
    }
}

impl FromStr for DateSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<DateSpec, String> {
        match text {
            "today" => return Ok(DateSpec::DaysAgo(0)),
            "yesterday" => return Ok(DateSpec::DaysAgo(1)),
            _ => {}
        }
        if let Some(Ok(Days(days))) = text.strip_prefix('-').map(str::parse) {
            return Ok(DateSpec::DaysAgo(days));
        }
        // jiff reads more forms (`20240105`, signed years); the API takes one.
        let shape = |(n, byte): (usize, u8)| match n {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        };
        let date = (text.len() == 10 && text.bytes().enumerate().all(shape))
            .then(|| text.parse().ok())
            .flatten();
        date.map(DateSpec::Day).ok_or_else(|| {
            format!(
                "`{text}` is not a date: use YYYY-MM-DD, `today`, `yesterday` or one like `-7d`"
            )
        })
    }
}

impl<'de> Deserialize<'de> for DateSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, "a date such as `2024-01-31` or `yesterday`")
    }
}

written_as!(TextOrNumber, { "type": ["string", "integer"] });
written_as!(Seconds, { "type": "string" });
written_as!(Days, { "type": "string", "pattern": "^[0-9]+d$" });
written_as!(DateSpec, {
    "type": "string",
    "pattern": "^([0-9]{4}-[0-9]{2}-[0-9]{2}|today|yesterday|-[0-9]+d)$"
});

/// Reads a value from its text form, naming what was expected otherwise.
fn text<'de, T, D>(from: D, expecting: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    struct Text<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    from.deserialize_str(Text(expecting, std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn relative_days_are_days_in_the_projects_zone() {
        // 02:00 UTC on the 2nd is still the 1st in California.
        let now: Timestamp = "2024-03-02T02:00:00Z".parse().expect("a time");
        let pacific = TimeZone::get("US/Pacific").expect("a zone");
        let resolve = |text: &str, zone: &TimeZone| {
            let spec: DateSpec = text.parse().expect("a date");
            spec.resolve(now, zone).expect("in range")
        };
        assert_eq!(resolve("today", &TimeZone::UTC), date(2024, 3, 2));
        assert_eq!(resolve("today", &pacific), date(2024, 3, 1));
        assert_eq!(resolve("yesterday", &pacific), date(2024, 2, 29));
        assert_eq!(resolve("-7d", &TimeZone::UTC), date(2024, 2, 24));
        assert_eq!(resolve("2024-02-29", &pacific), date(2024, 2, 29));
    }

    #[test]
    fn only_the_forms_that_are_promised_are_dates() {
        for text in [
            "2024-13-45",
            "2024-1-5",
            "20240105",
            "2023-02-29",
            "",
            "-d",
            "-7",
            "tomorrow",
            "+7d",
            "2024-01-01T00:00",
        ] {
            assert!(text.parse::<DateSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        let seconds = |text: &str| text.parse::<Seconds>().ok().map(|s| s.0);
        assert_eq!(seconds("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(seconds("2m"), Some(Duration::from_secs(120)));
        assert_eq!(seconds("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(seconds("10"), None);
        assert_eq!(seconds("-1s"), None);
        assert_eq!("5d".parse::<Days>().map(|d| d.0), Ok(5));
        assert!("5".parse::<Days>().is_err());
    }
}
