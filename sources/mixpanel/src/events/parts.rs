//! A window in parts, where all of it is too much for one answer.
//!
//! The parts are pieces of one body: in the ledger, in the archive and for the
//! sink the window is what it would have been in one answer.

use std::sync::atomic::Ordering;

use mixflow_core::context::{Notice, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::asking::{Asking, Fetched, Unfetched};
use super::part::Part;
use super::window::{EventWindow, spool_error};
use crate::http::body::Body;
use crate::http::joined::joined;
use crate::http::lines::Lines;
use crate::http::retry::Size;

/// An answer that breaks off after so many bytes, as they came, may do so for its
/// size, whatever is known: as much as windows have where days are known.
const LARGE: u64 = 64 << 20;

/// Tries of what is likely to be too large and can be split: that costs less
/// than many tries.
const FEW: u32 = 2;

/// What has come whole so far.
#[derive(Clone, Copy)]
struct Known {
    /// Days of the dataset, in earlier runs.
    a_day: bool,
    /// Parts of this window.
    a_part: bool,
}

impl Known {
    /// Returns whether a failure may well be for the size of what was asked for.
    fn speaks_for_size(self, size: Size, is_all: bool) -> bool {
        match size {
            Size::NoMatter => false,
            Size::BrokeOff { after } => self.a_day || self.a_part || after >= LARGE,
            // A server that is down would be asked in vain again and again.
            Size::NoAnswer => self.a_part || (self.a_day && is_all),
        }
    }
}

/// Fetches a window: in parts, if need be.
pub(super) struct Parts<'a> {
    window: &'a EventWindow<'a>,
    cx: &'a UnitContext,
    whole: Vec<(Part, Fetched)>,
    /// Events that came where only those before some time were asked for.
    before_a_bound: u64,
}

impl<'a> Parts<'a> {
    /// Fetches the body of a window until it is whole.
    ///
    /// Where the last try fails as one does for its size, smaller parts are
    /// asked for. If the first of them fails like that as well, size is not
    /// the cause, and it ends. Where no day has ever come whole, other causes
    /// are likelier than size.
    pub(super) fn fetch(window: &'a EventWindow<'a>, cx: &'a UnitContext) -> Result<Fetched> {
        let mut parts = Parts {
            window,
            cx,
            whole: Vec::new(),
            before_a_bound: 0,
        };
        let tries = if window.was_too_large.load(Ordering::Relaxed) {
            FEW
        } else {
            u32::MAX
        };
        let got = parts.get(&Part::all(window.days), tries);
        got.map_err(|unfetched| unfetched.error)?;
        parts.into_body()
    }

    /// Adds the bodies of a part, or of what it is split into.
    fn get(&mut self, part: &Part, tries: u32) -> Result<(), Unfetched> {
        let asking = Asking::new(self.window, part, self.cx);
        if let Some(body) = asking.left() {
            self.tell_left(part);
            return Ok(self.add(part, (body, None))?);
        }
        let pieces = self.pieces(part);
        let too_large = if pieces.first().is_some_and(|first| self.is_left(first)) {
            None
        } else {
            match asking.body(tries) {
                Ok(fetched) => return Ok(self.add(part, fetched)?),
                Err(unfetched) if pieces.is_empty() || !self.goes_on(part, unfetched.size) => {
                    return Err(unfetched);
                }
                Err(unfetched) => Some(unfetched),
            }
        };
        log::info!("{part}: too much for one answer, as it seems; asked for in parts");
        self.get_pieces(&pieces)
            .map_err(|unfetched| match too_large {
                Some(too_large) if unfetched.size != Size::NoMatter => too_large,
                _ => unfetched,
            })
    }

    fn get_pieces(&mut self, pieces: &[Part]) -> Result<(), Unfetched> {
        for piece in pieces {
            // Until a part comes whole there may be another cause.
            let tries = if self.whole.is_empty() {
                1
            } else if self.pieces(piece).is_empty() {
                u32::MAX
            } else {
                FEW
            };
            self.get(piece, tries)?;
        }
        Ok(())
    }

    /// Returns what a part is split into; none where that cannot be.
    fn pieces(&self, part: &Part) -> Vec<Part> {
        // With a limit the size is what was asked for, and of each part it
        // would be another choice of events.
        if self.window.is_limited {
            return Vec::new();
        }
        part.split(self.window.names)
    }

    /// Returns whether less is asked for after a part has failed.
    fn goes_on(&self, part: &Part, size: Size) -> bool {
        let known = Known {
            a_day: self.window.knows_days,
            a_part: !self.whole.is_empty(),
        };
        known.speaks_for_size(size, *part == Part::all(self.window.days))
    }

    /// Returns whether an earlier run has left a part, or the first of those
    /// that it is split into: then it has learned that the part is too large.
    fn is_left(&self, part: &Part) -> bool {
        Asking::new(self.window, part, self.cx).is_left()
            || self
                .pieces(part)
                .first()
                .is_some_and(|first| self.is_left(first))
    }

    fn tell_left(&self, part: &Part) {
        log::info!("{part}: an earlier run has left it whole");
        if *part == Part::all(self.window.days) {
            let label = self.window.unit.label.clone();
            self.cx.notify(Notice::Reused { label });
        }
    }

    fn add(&mut self, part: &Part, mut fetched: Fetched) -> Result<()> {
        if part.is_by_time() {
            let events = self.check_times(part, &mut fetched.0)?;
            if part.is_bounded() {
                self.before_a_bound += events;
            }
        }
        self.whole.push((part.clone(), fetched));
        Ok(())
    }

    /// Counts the events of a part that is bounded in time; fails if there is
    /// one that was not asked for.
    fn check_times(&self, part: &Part, body: &mut Body) -> Result<u64> {
        let in_ms = self.window.reading.time_in_ms;
        let reader = body.reader().map_err(spool_error)?;
        let mut lines = Lines::new(reader, self.window.room.clone());
        let mut events = 0;
        while let Some(line) = lines.next().map_err(spool_error)? {
            events += 1;
            if time_of(line.bytes, in_ms).is_some_and(|time| !part.has(time)) {
                let reason = format!("it has events of other times than were asked for: {part}");
                return Err(self.no_parts(reason));
            }
        }
        Ok(events)
    }

    /// Makes one body of them all.
    fn into_body(mut self) -> Result<Fetched> {
        let label = &self.window.unit.label;
        if self.whole.len() == 1 {
            let (_, fetched) = self.whole.pop().expect("there is one");
            return Ok(fetched);
        }
        // What was decoded of parts is given up: the one body is read again.
        let whole = self.whole.drain(..).map(|(part, (body, _))| (part, body));
        let (parts, bodies): (Vec<Part>, Vec<Body>) = whole.unzip();
        let by_time = parts.iter().any(Part::is_by_time);
        // A server for which no time is before another might leave all of them
        // out of every part.
        if by_time && self.before_a_bound == 0 {
            return Err(self.no_parts("it has no event before any time".to_owned()));
        }
        let way = match (by_time, parts.iter().any(Part::is_by_name)) {
            (true, true) => "event name and time of day",
            (true, false) => "time of day",
            (false, true) => "event name",
            (false, false) => "day",
        };
        self.window.was_too_large.store(true, Ordering::Relaxed);
        let n = parts.len();
        self.cx.notify(Notice::Warning(format!(
            "{label} was too large in one answer: fetched in {n} parts by {way}"
        )));
        let hashed = self.window.hashed();
        let body = joined(bodies, self.window.room, self.window.spool, hashed);
        Ok((body.map_err(spool_error)?, None))
    }

    /// Returns the error of answers that cannot be those to `where` with times.
    fn no_parts(&self, reason: String) -> Error {
        let label = &self.window.unit.label;
        let message = format!("{label} is too large in one answer, and cannot be split by time");
        Error::new(ErrorKind::Incomplete, message)
            .because(reason)
            .hint("name the events that are wanted with `events`: then each can be asked for by itself")
    }
}

/// Returns the second of a record, as it was sent; `None` if it has none that
/// tells which part it is of.
fn time_of(record: &[u8], in_ms: bool) -> Option<f64> {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        properties: Properties<'a>,
    }
    #[derive(Deserialize)]
    struct Properties<'a> {
        #[serde(borrow)]
        time: &'a RawValue,
    }
    let record: Record<'_> = serde_json::from_slice(record).ok()?;
    let time: f64 = record
        .properties
        .time
        .get()
        .trim_matches('"')
        .parse()
        .ok()?;
    if in_ms {
        return Some(time / 1e3);
    }
    // Milliseconds that somebody sent as seconds: late for the server.
    Some(time).filter(|time| *time < 1e12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_whole_tells_whether_size_is_the_cause() {
        let cut = |after| Size::BrokeOff { after };
        let of = |a_day, a_part| Known { a_day, a_part };
        // Nothing is known: only what is large breaks off for its size.
        assert!(!of(false, false).speaks_for_size(cut(LARGE - 1), true));
        assert!(of(false, false).speaks_for_size(cut(LARGE), true));
        assert!(!of(false, false).speaks_for_size(Size::NoAnswer, true));
        assert!(of(true, false).speaks_for_size(cut(1), false));
        // One smaller request tells whether a server is down.
        assert!(of(true, false).speaks_for_size(Size::NoAnswer, true));
        assert!(!of(true, false).speaks_for_size(Size::NoAnswer, false));
        assert!(of(false, true).speaks_for_size(Size::NoAnswer, false));
        assert!(!of(true, true).speaks_for_size(Size::NoMatter, true));
    }

    #[test]
    fn the_time_of_a_record_is_what_was_sent() {
        let of = |time: &str, in_ms| {
            let record = format!("{{\"event\":\"a\",\"properties\":{{\"time\":{time}}}}}");
            time_of(record.as_bytes(), in_ms)
        };
        assert_eq!(of("1704434400", false), Some(1_704_434_400.0));
        assert_eq!(of("\"1704434400.5\"", false), Some(1_704_434_400.5));
        assert_eq!(of("1704434400500", true), Some(1_704_434_400.5));
        assert_eq!(of("1704434400500", false), None);
        assert_eq!(of("null", false), None);
        assert_eq!(time_of(b"{}", false), None);
    }
}
