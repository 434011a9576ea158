//! Events out of the archive: whole bodies that earlier runs have kept.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use mixflow_core::context::{RunContext, UnitContext, incomplete};
use mixflow_core::error::{Error, Result};
use mixflow_core::source::{BatchIter, Dataset, Extent, Plan, Session};
use mixflow_core::unit::{DatasetKey, Unit};
use mixflow_source_archive::{Archive, Kept, Piece, choose};

use super::raw_rows::RawRows;
use super::reading::Reading;
use super::rows::BodyRows;
use super::taken::Taken;
use super::windows::{Window, limit_of};
use crate::decode::{Decoder, Form};
use crate::http::encoding::{Encoding, decoded};
use crate::http::lines::Lines;
use crate::http::room::Room;
use crate::time::EventClock;

/// The longest window that an option can ask for.
const MOST_DAYS: i64 = 3_650;

/// Up to so many days that are missing are named one by one.
const NAMED: usize = 60;

/// Which events are to come out of the archive.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) dataset: Dataset,
    pub(super) days: Window,
    pub(super) zone: Option<TimeZone>,
    pub(super) limit: Option<i64>,
    pub(super) form: Form,
}

/// The events of one run, from the archive.
pub(super) struct ReplaySession {
    asked: Asked,
    archive: Archive,
    room: Room,
    units: Vec<Unit>,
    /// What the units are read from, by their first days.
    sources: BTreeMap<Date, Source>,
}

/// What a unit is read from.
#[derive(Clone, Debug)]
struct Source {
    kept: Kept,
    /// The days of the body, of which the unit may be a part.
    days: Window,
}

impl ReplaySession {
    /// Looks up which bodies have the newest rows of the days asked for.
    ///
    /// Fails when none has any of them, or the archive cannot be read. `what`
    /// says which data it is.
    pub(super) fn open(
        asked: Asked,
        archive: &Archive,
        what: &str,
        cx: &RunContext,
    ) -> Result<ReplaySession> {
        let key = asked.dataset.key();
        let kept = archive.kept(&asked.dataset)?.into_iter();
        let bodies = kept.filter_map(|kept| of_dataset(kept, &key, asked.limit));
        let bodies: Vec<Source> = bodies.collect();
        let days = bodies.iter().map(|body| (body.days.first, body.days.last));
        let pieces = choose(days, asked.days.first, asked.days.last);
        if pieces.iter().all(|piece| piece.body.is_none()) {
            return Err(nothing(archive, what, asked.days));
        }
        let one_by_one = days_missing(&pieces) <= NAMED;
        let (mut units, mut sources) = (Vec::new(), BTreeMap::new());
        for piece in pieces {
            let Piece { first, last, body } = piece;
            let days = Window { first, last };
            let unit = |days: Window| days.unit(&key, asked.zone.as_ref(), asked.limit);
            match body {
                Some(n) => {
                    sources.insert(first, bodies[n].clone());
                    units.push(unit(days));
                }
                None if one_by_one => units.extend(days.each().map(unit)),
                None => units.push(unit(days)),
            }
        }
        Ok(ReplaySession {
            asked,
            archive: archive.clone(),
            room: Room::new(&cx.cancel),
            units,
            sources,
        })
    }

    /// Returns what to read a unit from.
    fn source(&self, unit: &Unit, days: Window) -> Result<&Source> {
        self.sources.get(&days.first).ok_or_else(|| {
            let path = self.archive.path().display();
            incomplete(format!("the archive `{path}` has no {}", unit.label))
        })
    }
}

fn nothing(archive: &Archive, what: &str, days: Window) -> Error {
    let path = archive.path().display();
    incomplete(format!("there is nothing to replay of {what}"))
        .because(format!("the archive `{path}` has nothing of {days}"))
        .hint("give days that it has with `--from` and `--to`; `mixflow archive list FILE` shows them")
}

fn days_missing(pieces: &[Piece]) -> usize {
    let lacking = pieces.iter().filter(|piece| piece.body.is_none());
    let days = lacking.map(|piece| (piece.last - piece.first).get_days() as usize + 1);
    days.sum()
}

/// Returns a body with its days, if it is one of the dataset.
///
/// Its name says which unit it is, also where what stands beside it is damaged.
/// It counts then, too, so that no older body takes its place unseen. What was
/// fetched under a limit is of use only under the same one.
fn of_dataset(kept: Kept, dataset: &DatasetKey, limit: Option<i64>) -> Option<Source> {
    let days = match &kept.note {
        Ok(note) if note.dataset.key() != *dataset || limit_of(&note.unit) != limit => return None,
        Ok(note) => match note.unit.extent {
            Extent::Days(days) => Window {
                first: days.first,
                last: days.last,
            },
            Extent::Page(_) | Extent::Whole => return None,
        },
        Err(_) => named_days(&kept, dataset, limit)?,
    };
    Some(Source { kept, days })
}

/// Finds the days of the dataset whose key is in the name of a body.
fn named_days(kept: &Kept, dataset: &DatasetKey, limit: Option<i64>) -> Option<Window> {
    let first = kept.day;
    (0..MOST_DAYS)
        .map_while(|days| first.checked_add(Span::new().days(days)).ok())
        .map(|last| Window { first, last })
        .find(|days| days.key(dataset, limit).as_str() == kept.unit_key())
}

impl Session for ReplaySession {
    fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            units: self.units.clone(),
            ..Plan::default()
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let days = Window::of(unit)?;
        let Source { kept, days: all } = self.source(unit, days)?;
        // Compared with its hash here, and read from the same open file.
        let file = kept.open(&cx.cancel)?;
        cx.note_body(kept.body_facts());
        // A day without events has no bytes, which is known.
        cx.count_records(Some(&[]), &[]);
        let clock = EventClock {
            in_ms: Reading::of(kept)?.time_in_ms,
            zone: self.asked.zone.clone(),
        };
        let body = decoded(Box::new(file), Encoding::Gzip);
        let room = self.room.clone();
        let taken = Taken::of(unit.extent, days, *all);
        let form = match self.asked.form {
            Form::Raw if !taken.is_all() => {
                let lines = Lines::new(body, room);
                return Ok(Box::new(RawRows::new(lines, clock, taken, cx)));
            }
            Form::Raw => Form::Raw,
            Form::Events(_) | Form::Profiles => Form::Events(clock),
        };
        let decoder = Decoder::new(form).with_stand_ins(cx.stand_ins());
        let rows = BodyRows::new(Lines::new(body, room), decoder, &unit.label, cx);
        Ok(Box::new(rows.of(taken)))
    }
}

impl Window {
    /// Returns each of the days, as a window.
    fn each(self) -> impl Iterator<Item = Window> {
        let days = self.first.series(1.day());
        days.take_while(move |day| *day <= self.last)
            .map(Window::day)
    }
}
