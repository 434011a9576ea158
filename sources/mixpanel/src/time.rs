//! Mixpanel's times, as microseconds since 1970 (UTC).

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mixflow_core::ledger::start_of;

/// The first and the last microsecond of the years 1 to 9999: what DuckDB,
/// Parquet readers and RFC 3339 can all say.
const RANGE_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// From here on a time counts milliseconds, whatever the options say: as
/// seconds it would be after the year 30,000. Exports hold both at once, since
/// some libraries send milliseconds.
const FIRST_IN_MS: f64 = 1e12;

/// How an event's `time` is to be read.
#[derive(Clone, Debug)]
pub struct EventClock {
    /// Whether it counts milliseconds rather than seconds; one of 13 digits
    /// and more always does.
    pub in_ms: bool,
    /// The zone whose wall clock it shows as if it were UTC; `None` for UTC.
    pub zone: Option<TimeZone>,
}

impl EventClock {
    /// Reads seconds, in UTC.
    pub const UTC_SECONDS: EventClock = EventClock {
        in_ms: false,
        zone: None,
    };

    /// Reads a number's text: whole, with a fraction, or with an exponent.
    pub(crate) fn read(&self, text: &str) -> Option<i64> {
        let micros = match whole(text, self.in_ms) {
            Some(micros) => micros,
            None => i64::try_from(scaled(text, self.in_ms)?).ok()?,
        };
        if !RANGE_US.contains(&micros) {
            return None;
        }
        match &self.zone {
            None => Some(micros),
            Some(zone) => to_utc(micros, zone),
        }
    }
}

/// Reads the wall clock that `micros` shows as if it were UTC.
///
/// An hour that the clocks skip is read with the offset before the change, one
/// that they repeat is the first of the two, as RFC 5545 has it.
fn to_utc(micros: i64, zone: &TimeZone) -> Option<i64> {
    let wall = Timestamp::from_microsecond(micros).ok()?;
    let wall = TimeZone::UTC.to_datetime(wall);
    let instant = zone.to_timestamp(wall).ok()?;
    Some(instant.as_microsecond())
}

/// Reads a time of digits alone, in microseconds, which nearly all are: a tenth of
/// the instructions of [`scaled`].
#[inline]
fn whole(text: &str, in_ms: bool) -> Option<i64> {
    if !(1..=15).contains(&text.len()) {
        return None;
    }
    let mut value = 0;
    for byte in text.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    let is_in_ms = in_ms || value >= 1_000_000_000_000;
    Some(value * if is_in_ms { 1_000 } else { 1_000_000 })
}

/// Returns a time in microseconds, rounded: senders write 0.123 as 0.12299999.
fn scaled(text: &str, in_ms: bool) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return with_exponent(text, in_ms);
    }
    let significant = whole.trim_start_matches('0').len();
    if significant > 20 {
        return None;
    }
    let power = if in_ms || significant > 12 { 3 } else { 6 };
    let mut value: i128 = whole.parse().ok()?;
    let mut fraction = fraction.bytes();
    for _ in 0..power {
        let digit = fraction.next().map_or(0, |byte| byte - b'0');
        value = value * 10 + i128::from(digit);
    }
    value += i128::from(fraction.next().is_some_and(|digit| digit >= b'5'));
    Some(if negative { -value } else { value })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond i128 saturates and is then out of range"
)]
fn with_exponent(text: &str, in_ms: bool) -> Option<i128> {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let value = f64::from_str(text).ok().filter(|value| value.is_finite())?;
    let factor = if in_ms || value.abs() >= FIRST_IN_MS {
        1e3
    } else {
        1e6
    };
    has_digit.then_some((value * factor).round() as i128)
}

/// Reads a profile's `$last_seen`: a date or time without a zone is UTC, an
/// offset is converted.
pub(crate) fn last_seen(text: &str) -> Option<i64> {
    let micros = match text.parse::<Timestamp>() {
        Ok(instant) => instant.as_microsecond(),
        Err(_) => {
            let wall: DateTime = text.parse().ok()?;
            let instant = TimeZone::UTC.to_timestamp(wall).ok()?;
            instant.as_microsecond()
        }
    };
    RANGE_US.contains(&micros).then_some(micros)
}

/// Returns the first instant of `date` in `zone`, in microseconds since 1970.
pub(crate) fn midnight_us(date: jiff::civil::Date, zone: Option<&TimeZone>) -> i64 {
    start_of(date, zone.unwrap_or(&TimeZone::UTC)).as_microsecond()
}

/// Returns a wait in words: `40 s`, `2 min`.
pub(crate) fn in_words(wait: std::time::Duration) -> String {
    let rounded = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    match rounded.as_secs() {
        0 => format!("{} ms", wait.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: EventClock = EventClock::UTC_SECONDS;

    proptest::proptest! {
        #[test]
        fn digits_alone_are_read_as_any_time_is(text in "[0-9]{0,17}", in_ms: bool) {
            if let Some(micros) = whole(&text, in_ms) {
                proptest::prop_assert_eq!(scaled(&text, in_ms), Some(i128::from(micros)));
            } else {
                proptest::prop_assert!(text.is_empty() || text.len() > 15);
            }
        }
    }

    #[test]
    fn times_are_read_exactly() {
        assert_eq!(SECONDS.read("1705276123"), Some(1_705_276_123_000_000));
        assert_eq!(SECONDS.read("1705276123.25"), Some(1_705_276_123_250_000));
        // As a float this would be …123.456788.
        assert_eq!(
            SECONDS.read("1705276123.456789"),
            Some(1_705_276_123_456_789)
        );
        assert_eq!(SECONDS.read("0.12299999"), Some(123_000));
        assert_eq!(SECONDS.read("-1.5"), Some(-1_500_000));
        assert_eq!(SECONDS.read("1.7e9"), Some(1_700_000_000_000_000));
        assert_eq!(SECONDS.read("0"), Some(0));
        let ms = EventClock {
            in_ms: true,
            ..SECONDS
        };
        assert_eq!(ms.read("1705276123456"), Some(1_705_276_123_456_000));
    }

    #[test]
    fn times_of_13_digits_and_more_are_milliseconds_whatever_is_said() {
        let ms = EventClock {
            in_ms: true,
            ..SECONDS
        };
        for clock in [&SECONDS, &ms] {
            for (text, micros) in [
                ("1705276123456", 1_705_276_123_456_000),
                ("1705276123456.7891", 1_705_276_123_456_789),
                ("-1705276123456", -1_705_276_123_456_000),
                ("1000000000000", 1_000_000_000_000_000),
                ("0001705276123456", 1_705_276_123_456_000),
                ("1.705276123456e12", 1_705_276_123_456_000),
                ("253402300799999", 253_402_300_799_999_000),
            ] {
                assert_eq!(clock.read(text), Some(micros), "{text}");
            }
            assert_eq!(clock.read("253402300800000"), None);
        }
        // Twelve digits and fewer are what the options say.
        assert_eq!(SECONDS.read("253402300799"), Some(253_402_300_799_000_000));
        assert_eq!(ms.read("253402300799"), Some(253_402_300_799_000));
        assert_eq!(
            SECONDS.read("000253402300799"),
            Some(253_402_300_799_000_000)
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "1.",
            "x",
            "1e400",
            "NaN",
            "inf",
            "99999999999999999999999",
            "253402300800",
            "1705276123 ",
        ] {
            let expected = if text == "1." { Some(1_000_000) } else { None };
            assert_eq!(SECONDS.read(text), expected, "{text}");
        }
        assert_eq!(SECONDS.read("253402300799"), Some(253_402_300_799_000_000));
        assert_eq!(SECONDS.read("-62135596800"), Some(-62_135_596_800_000_000));
    }

    #[test]
    fn a_projects_wall_clock_is_converted_with_its_rules() {
        let pacific = EventClock {
            in_ms: false,
            zone: TimeZone::get("US/Pacific").ok(),
        };
        let utc = |text: &str| text.parse::<Timestamp>().expect("a time").as_microsecond();
        let wall = |text: &str| (utc(text) / 1_000_000).to_string();
        // Winter is UTC-8, summer UTC-7.
        assert_eq!(
            pacific.read(&wall("2024-01-01T12:00:00Z")),
            Some(utc("2024-01-01T20:00:00Z"))
        );
        assert_eq!(
            pacific.read(&wall("2024-07-01T12:00:00Z")),
            Some(utc("2024-07-01T19:00:00Z"))
        );
        // 02:30 did not exist on 2024-03-10; 01:30 happened twice on 2024-11-03.
        assert_eq!(
            pacific.read(&wall("2024-03-10T02:30:00Z")),
            Some(utc("2024-03-10T10:30:00Z"))
        );
        assert_eq!(
            pacific.read(&wall("2024-11-03T01:30:00Z")),
            Some(utc("2024-11-03T08:30:00Z"))
        );
    }

    #[test]
    fn last_seen_is_read_with_and_without_an_offset() {
        let us = |text: &str| text.parse::<Timestamp>().ok().map(|t| t.as_microsecond());
        assert_eq!(last_seen("2008-06-09T23:08:40"), us("2008-06-09T23:08:40Z"));
        assert_eq!(
            last_seen("2008-06-09T23:08:40+02:00"),
            us("2008-06-09T21:08:40Z")
        );
        assert_eq!(
            last_seen("2008-06-09T23:08:40.5Z"),
            us("2008-06-09T23:08:40.5Z")
        );
        assert_eq!(last_seen("2008-06-09 23:08:40"), us("2008-06-09T23:08:40Z"));
        assert_eq!(last_seen("2008-06-09"), us("2008-06-09T00:00:00Z"));
        for garbage in [
            "",
            "yesterday",
            "2008-13-45",
            "1213052920",
            "2008-06-09T99:00:00",
        ] {
            assert_eq!(last_seen(garbage), None, "{garbage}");
        }
    }
}
