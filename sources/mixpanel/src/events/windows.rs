//! The days that are asked for, split into windows.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use mixflow_core::config::{DateSpec, Invalid};
use mixflow_core::registry::BuildContext;
use mixflow_core::source::{DayRange, Extent};

use crate::http::quota::Limits;
use crate::options::{EventsOptions, WindowDays};
use crate::time::midnight_us;

/// A range of days, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: Date,
    pub(super) last: Date,
}

impl Window {
    /// Returns the days, with the instants at which they begin and end.
    pub(super) fn extent(self, zone: Option<&TimeZone>) -> Extent {
        let after = self.last.saturating_add(1.day());
        Extent::Days(DayRange {
            first: self.first,
            last: self.last,
            start_us: midnight_us(self.first, zone),
            end_us: midnight_us(after, zone),
        })
    }
}

/// Shows `2024-01-01`, or `2024-01-01..2024-01-07`.
impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

/// Returns the zone of a name; `None` is UTC.
pub(super) fn zone(name: Option<&str>, invalid: &mut Vec<Invalid>) -> Option<TimeZone> {
    let name = name.filter(|name| !matches!(*name, "UTC" | "Etc/UTC"))?;
    match TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(_) => {
            invalid.push(Invalid::new(
                "timezone",
                format!("`{name}` is not a time zone; one is called like `US/Pacific` or `Europe/Berlin`"),
            ));
            None
        }
    }
}

/// Splits the days asked for into windows; none if these are not known.
pub(super) fn windows(
    options: &EventsOptions,
    zone: Option<&TimeZone>,
    cx: &BuildContext,
    invalid: &mut Vec<Invalid>,
) -> Vec<Window> {
    match days(options, zone, cx, invalid) {
        Some(days) => split(days, window_days(options, days)),
        None => Vec::new(),
    }
}

/// Returns the days asked for, as one window.
fn days(
    options: &EventsOptions,
    zone: Option<&TimeZone>,
    cx: &BuildContext,
    invalid: &mut Vec<Invalid>,
) -> Option<Window> {
    let utc = TimeZone::UTC;
    let zone = zone.unwrap_or(&utc);
    let mut day = |key: &str, spec: Option<DateSpec>| {
        let Some(spec) = spec else {
            invalid.push(Invalid::new(
                key,
                "this is missing, such as `yesterday` or `2024-01-31`",
            ));
            return None;
        };
        spec.resolve(cx.now, zone)
            .map_err(|message| invalid.push(Invalid::new(key, message)))
            .ok()
    };
    let (from, to) = (day("from", options.from), day("to", options.to));
    let (from, to) = (from?, to?);
    if from > to {
        invalid.push(Invalid::new("from", format!("{from} is after `to`, {to}")));
        return None;
    }
    let lookback = options.lookback.map_or(0, |days| days.0);
    Some(Window {
        first: from.saturating_sub(Span::new().days(i64::from(lookback))),
        last: to,
    })
}

/// Returns how many days a window has.
fn window_days(options: &EventsOptions, days: Window) -> u32 {
    let span = (days.last - days.first).get_days() as u32 + 1;
    match options.window_days {
        Some(WindowDays::Days(days)) => days,
        _ if options.limit.is_some() => span,
        // Days while they take at most half of an hour's quota.
        _ => {
            let per_hour = Limits::EXPORT.with(options.limits).per_hour;
            span.div_ceil(per_hour.div_ceil(2).max(1))
        }
    }
}

fn split(days: Window, size: u32) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut first = days.first;
    while first <= days.last {
        let last = first
            .saturating_add(Span::new().days(i64::from(size - 1)))
            .min(days.last);
        windows.push(Window { first, last });
        match last.tomorrow() {
            Ok(next) => first = next,
            Err(_) => break,
        }
    }
    windows
}
