//! Points in time as texts have them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Returns the instant that a text means, in microseconds since 1970 (UTC).
///
/// `2024-01-31`, `2024-01-31T12:00:00` and `2024-01-31 12:00:00.5` are UTC;
/// with `Z` or `+02:00` behind it, a time is converted.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    // A zone's name in brackets is jiff's own way to write one.
    if text.contains('[') {
        return None;
    }
    let exact = text.parse::<Timestamp>().ok();
    let exact = exact.or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    exact.map(Timestamp::as_microsecond)
}

/// Returns the day that a text means, in days since 1970: `2024-01-31`.
pub(super) fn date(text: &str) -> Option<i32> {
    if text.len() != "2024-01-31".len() {
        return None;
    }
    let date: Date = text.parse().ok()?;
    let epoch = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).date();
    Some((date - epoch).get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone_are_utc() {
        let noon = Some(1_704_110_400_000_000);
        for text in [
            "2024-01-01T12:00:00",
            "2024-01-01 12:00:00",
            "2024-01-01T12:00",
            "2024-01-01T12:00:00Z",
            "2024-01-01T14:00:00+02:00",
            "2024-01-01T12:00:00.000000",
        ] {
            assert_eq!(timestamp(text), noon, "{text}");
        }
        assert_eq!(
            timestamp("2024-01-01"),
            noon.map(|us| us - 12 * 3_600_000_000)
        );
        assert_eq!(
            timestamp("2024-01-01T12:00:00.25"),
            noon.map(|us| us + 250_000)
        );
        for text in [
            "",
            "now",
            "12:00",
            "2024-13-01",
            "1704110400",
            "2024-01-01T12:00[Europe/Paris]",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_a_day_and_nothing_more() {
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2024-02-29"), Some(19_782));
        for text in ["2024-02-30", "2024-01-01T00:00", "20240101", "2024-1-01x"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
