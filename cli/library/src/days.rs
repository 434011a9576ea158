//! What a pipeline's destination holds, day by day.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::config::DateSpec;
use mixflow_core::destination::Destination;
use mixflow_core::engine::Pipeline;
use mixflow_core::ledger::{Calendar, DayRecord, Holding, Ledger, Standing, ranges};
use mixflow_core::sink::{Dataset, Sink};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::State;

/// Returns what the pipeline's destination holds of what its source gives: from
/// the ledger that the sink keeps, else from the one in the folder `state`. Of
/// several destinations it is what all of them hold.
///
/// Needs no secret, asks no server, and makes and changes nothing; a
/// destination that is not there holds nothing. Fails with
/// [`ErrorKind::Locked`] while another process writes to a database.
pub fn ledger_of(pipeline: &Pipeline, state: Option<&Path>) -> Result<Ledger> {
    let ledgers = ledgers_of(pipeline, state)?;
    Ok(Ledger::in_all(
        ledgers.into_iter().map(|(_, ledger)| ledger),
    ))
}

/// As [`ledger_of`], of each destination, in the order of the sinks.
pub fn ledgers_of(pipeline: &Pipeline, state: Option<&Path>) -> Result<Vec<(Destination, Ledger)>> {
    let dataset = pipeline.source.info().dataset;
    let state = state.map(State::at);
    let mut ledgers = Vec::new();
    for named in pipeline.sinks.iter() {
        let ledger = ledger_at(&*named.sink, &dataset, state.as_deref())?;
        ledgers.push((named.sink.destination(&dataset.kind), ledger));
    }
    Ok(ledgers)
}

fn ledger_at(sink: &dyn Sink, dataset: &Dataset, state: Option<&State>) -> Result<Ledger> {
    if let Some(ledger) = sink.ledger(dataset)? {
        return Ok(ledger);
    }
    let Some(state) = state else {
        return Ok(Ledger::default());
    };
    let destination = sink.destination(&dataset.kind);
    state.ledger(&destination, dataset).map_err(|error| {
        // The error says it.
        state.take_warnings();
        let message = format!("cannot read the ledger of {destination}");
        Error::new(ErrorKind::Destination, message).with_source(error)
    })
}

/// Returns how many days are missing or partial from `start` (else from the
/// first day held) to yesterday; `None` for a source that has no days.
///
/// Fails as [`ledger_of`] does.
pub fn missing_days(pipeline: &Pipeline, state: Option<&Path>) -> Result<Option<u64>> {
    if pipeline.source.info().calendar.is_none() {
        return Ok(None);
    }
    let days = Days::of(pipeline, state, DaysAsked::default())?;
    Ok(Some(days.missing()))
}

/// Which days are looked at, both inclusive.
#[derive(Clone, Copy, Debug, Default)]
pub struct DaysAsked {
    /// The first day; by default `start`, else the first day held, else the
    /// first day that the pipeline asks for.
    pub from: Option<DateSpec>,
    /// The last day; by default yesterday.
    pub to: Option<DateSpec>,
}

impl DaysAsked {
    /// Returns the days that were asked for, as far as they were.
    fn days(self, calendar: &Calendar) -> Result<(Option<Date>, Option<Date>)> {
        let now = mixflow_core::clock::now();
        let day = |spec: Option<DateSpec>| resolve(spec, now, calendar);
        let (from, to) = (day(self.from)?, day(self.to)?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            let message = format!("the first day, {from}, is after the last one, {to}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok((from, to))
    }
}

/// The days of a pipeline's destination, and how each stands now.
#[derive(Clone, Debug)]
pub struct Days {
    /// How days are counted.
    pub calendar: Calendar,
    /// What is held, also of other days.
    pub ledger: Ledger,
    /// The first and the last day that were asked for; `None` if there are
    /// none, as when everything begins today.
    pub range: Option<(Date, Date)>,
}

impl Days {
    /// Looks at the days of the pipeline's destination.
    ///
    /// Fails with [`ErrorKind::Config`] for a source that has no days and for
    /// days that are in the wrong order, and as [`ledger_of`] does.
    pub fn of(pipeline: &Pipeline, state: Option<&Path>, asked: DaysAsked) -> Result<Days> {
        let Some(calendar) = pipeline.source.info().calendar else {
            return Err(no_days(pipeline));
        };
        let (from, to) = asked.days(&calendar)?;
        let ledger = ledger_of(pipeline, state)?;
        let first = from
            .or(calendar.start)
            .or_else(|| ledger.first_day())
            .or_else(|| pipeline.source.info().from_date);
        Ok(Days {
            range: range(first, to, &calendar),
            calendar,
            ledger,
        })
    }

    /// Takes the days that a table holds. As no pipeline says how long a day may
    /// still change, none is stale.
    ///
    /// Fails with [`ErrorKind::Config`] for days that are in the wrong order.
    pub fn held(holding: &Holding, asked: DaysAsked) -> Result<Days> {
        let calendar = Calendar {
            zone: TimeZone::get(&holding.dataset.zone).unwrap_or(TimeZone::UTC),
            lookback: 0,
            start: None,
            catches_up: false,
        };
        let (from, to) = asked.days(&calendar)?;
        let first = from.or_else(|| holding.ledger.first_day());
        Ok(Days {
            range: range(first, to, &calendar),
            calendar,
            ledger: holding.ledger.clone(),
        })
    }

    /// Returns each day with how it stands, and what is held of it.
    pub fn iter(&self) -> impl Iterator<Item = (Date, Standing, Option<&DayRecord>)> {
        let range = self.range.into_iter();
        range.flat_map(|(first, last)| {
            let standings = self.calendar.standings(&self.ledger, first, last);
            standings.map(|(day, standing)| (day, standing, self.ledger.get(day)))
        })
    }

    /// Returns the ranges of days that are missing or partial, both ends
    /// inclusive.
    pub fn gaps(&self) -> Vec<(Date, Date)> {
        ranges(self.lacking())
    }

    /// Returns how many days are missing or partial.
    pub fn missing(&self) -> u64 {
        self.lacking().count() as u64
    }

    fn lacking(&self) -> impl Iterator<Item = Date> {
        let days = self.iter();
        days.filter(|(_, standing, _)| !standing.is_whole())
            .map(|(day, _, _)| day)
    }
}

/// Returns the days from `first` to `last`, or to yesterday, if there are any.
fn range(first: Option<Date>, last: Option<Date>, calendar: &Calendar) -> Option<(Date, Date)> {
    let last = last.unwrap_or_else(|| calendar.yesterday(mixflow_core::clock::now()));
    let range = first.map(|first| (first, last));
    range.filter(|(first, last)| first <= last)
}

fn resolve(spec: Option<DateSpec>, now: Timestamp, calendar: &Calendar) -> Result<Option<Date>> {
    let day = spec.map(|spec| spec.resolve(now, &calendar.zone));
    day.transpose()
        .map_err(|why| Error::new(ErrorKind::Config, why))
}

fn no_days(pipeline: &Pipeline) -> Error {
    let Pipeline {
        name, source_type, ..
    } = pipeline;
    Error::new(
        ErrorKind::Config,
        format!("cannot count the days of `{name}`"),
    )
    .because(format!(
        "`{source_type}` gives no days, but all that there is now"
    ))
    .hint("see `mixflow runs` for when it was fetched")
}
