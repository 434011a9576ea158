//! The sources: generated lines through Mixpanel's decoder.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::config::{DateSpec, Invalid};
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::{Calendar, Held};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, DayRange, Extent, Outline, Plan, Session, Source, SourceInfo,
    Unit,
};
use mixflow_source_mixpanel::decode::{Decoder, Form};
use mixflow_source_mixpanel::schema;
use mixflow_source_mixpanel::time::EventClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::generate::{EventGenerator, ProfileGenerator, Shape};

/// The profiles of one partition, as many as a page of Mixpanel's.
const PAGE: u64 = 1000;

/// The options of both sources.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyntheticOptions {
    /// How many to make.
    pub rows: Option<u64>,
    /// The same seed gives the same rows.
    pub seed: Option<u64>,
    /// The first day, inclusive.
    pub from: Option<DateSpec>,
    /// The last day, inclusive.
    pub to: Option<DateSpec>,
    /// How many people the events are about.
    pub users: Option<u64>,
}

/// Records-up events or profiles.
#[derive(Clone, Debug)]
pub struct SyntheticSource {
    shape: Shape,
    form: Form,
    what: Records,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    Events,
    Profiles,
}

impl SyntheticSource {
    /// Creates a source of events, a partition for each day.
    pub fn events(options: SyntheticOptions, cx: &BuildContext) -> Result<Self, Vec<Invalid>> {
        let form = Form::Events(EventClock::UTC_SECONDS);
        SyntheticSource::new(options, cx, Records::Events, form)
    }

    /// Creates a source of profiles, a partition for each thousand.
    pub fn profiles(options: SyntheticOptions, cx: &BuildContext) -> Result<Self, Vec<Invalid>> {
        SyntheticSource::new(options, cx, Records::Profiles, Form::Profiles)
    }

    fn new(
        options: SyntheticOptions,
        cx: &BuildContext,
        what: Records,
        form: Form,
    ) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut day = |key: &str, spec: Option<DateSpec>, default: u32| {
            let spec = spec.unwrap_or(DateSpec::DaysAgo(default));
            spec.resolve(cx.now, &TimeZone::UTC)
                .unwrap_or_else(|message| {
                    invalid.push(Invalid::new(key, message));
                    Date::constant(1970, 1, 1)
                })
        };
        let (from, to) = (day("from", options.from, 6), day("to", options.to, 0));
        if from > to {
            invalid.push(Invalid::new("from", format!("{from} is after `to`, {to}")));
        }
        if from.year() < 1970 {
            invalid.push(Invalid::new("from", "made-up days begin in 1970"));
        }
        if options.users == Some(0) {
            invalid.push(Invalid::new("users", "at least 1 is needed"));
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(SyntheticSource {
            shape: Shape {
                rows: options.rows.unwrap_or(1000),
                seed: options.seed.unwrap_or(0),
                from,
                to,
                users: options.users.unwrap_or(1000),
            },
            form: match cx.records {
                RecordFormat::Raw => Form::Raw,
                RecordFormat::Normalized => form,
            },
            what,
        })
    }

    fn dataset(&self) -> Dataset {
        let Shape { seed, users, .. } = self.shape;
        Dataset {
            project: format!("{users} users, seed {seed}"),
            kind: self.kind(),
            zone: "UTC".to_owned(),
            filters: serde_json::Map::new(),
        }
    }

    fn kind(&self) -> DataKind {
        match self.what {
            Records::Events => DataKind::Events,
            Records::Profiles => DataKind::Profiles,
        }
    }

    fn units(&self) -> Vec<Unit> {
        let (shape, dataset) = (self.shape, self.dataset().key());
        let unit = |label: String, extent, rows: Range<u64>| {
            Unit::new(
                &dataset,
                extent,
                label,
                json!(Rows {
                    start: rows.start,
                    end: rows.end,
                    of: shape.rows,
                    from: shape.from,
                    to: shape.to,
                }),
            )
        };
        match self.what {
            Records::Events => (0..shape.days())
                .map(|n| {
                    let day = shape.day(n);
                    let extent = Extent::Days(whole(day));
                    unit(day.to_string(), extent, shape.rows_of_day(n))
                })
                .collect(),
            Records::Profiles => (0..shape.rows.div_ceil(PAGE).max(1))
                .map(|n| {
                    let rows = n * PAGE..((n + 1) * PAGE).min(shape.rows);
                    unit(format!("page {n}"), Extent::Page(n), rows)
                })
                .collect(),
        }
    }
}

/// Which of the rows a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rows {
    start: u64,
    end: u64,
    /// What all of them are spread over, because that changes every row.
    of: u64,
    from: Date,
    to: Date,
}

fn whole(day: Date) -> DayRange {
    let start = |day: Date| {
        day.to_zoned(TimeZone::UTC)
            .map_or(i64::MAX, |zoned| zoned.timestamp().as_microsecond())
    };
    DayRange {
        first: day,
        last: day,
        start_us: start(day),
        end_us: start(day.saturating_add(Span::new().days(1))),
    }
}

impl Source for SyntheticSource {
    fn schema(&self) -> SchemaRef {
        match (&self.form, self.what) {
            (Form::Raw, _) => schema::raw(),
            (_, Records::Events) => schema::events(),
            (_, Records::Profiles) => schema::profiles(),
        }
    }

    fn info(&self) -> SourceInfo {
        let is_events = self.what == Records::Events;
        SourceInfo {
            title: format!("made-up {}", self.kind()),
            dataset: self.dataset(),
            from_date: is_events.then_some(self.shape.from),
            to_date: is_events.then_some(self.shape.to),
            partitions_are_days: is_events,
            calendar: is_events.then_some(Calendar {
                zone: TimeZone::UTC,
                lookback: 0,
                start: None,
                catches_up: false,
            }),
            roles: is_events.then_some(schema::ROLES),
            ..SourceInfo::default()
        }
    }

    fn open(&self, _cx: &RunContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }

    fn outline(&self, _held: &Held) -> Outline {
        Outline {
            units: self.units(),
            requests: Some(0),
            notes: vec![format!(
                "{} rows are made, nothing is asked for",
                self.shape.rows
            )],
            ..Outline::default()
        }
    }
}

/// Making rows needs nothing of a run, so the recipe is its own session.
impl Session for SyntheticSource {
    fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            units: self.units(),
            ordered: self.what == Records::Profiles,
            expected_rows: Some(self.shape.rows),
            ..Plan::default()
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let Rows { start, end, .. } = Rows::deserialize(&unit.request).map_err(|error| {
            let message = format!("`{}` is no part of made-up rows", unit.label);
            Error::new(ErrorKind::Other, message).with_source(error)
        })?;
        let events = EventGenerator::new(self.shape);
        let profiles = ProfileGenerator::new(self.shape);
        let what = self.what;
        Ok(Box::new(MadeRows {
            cx,
            rows: start..end,
            decoder: Decoder::new(self.form.clone()),
            line: Vec::with_capacity(2048),
            write: move |n, line: &mut Vec<u8>| match what {
                Records::Events => events.write(n, line),
                Records::Profiles => profiles.write(n, line),
            },
        }))
    }
}

struct MadeRows<'a, W> {
    cx: &'a UnitContext,
    rows: Range<u64>,
    decoder: Decoder,
    line: Vec<u8>,
    write: W,
}

impl<W: Fn(u64, &mut Vec<u8>)> Iterator for MadeRows<'_, W> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Err(error) = self.cx.cancel.check() {
            return Some(Err(error));
        }
        while !self.decoder.is_full() {
            let Some(n) = self.rows.next() else { break };
            self.line.clear();
            (self.write)(n, &mut self.line);
            if let Err(reason) = self.decoder.push(&self.line) {
                let message = format!("the made-up row {n} cannot be read");
                return Some(Err(Error::new(ErrorKind::Other, message).because(reason)));
            }
        }
        self.decoder.take_counted(self.cx).map(Ok)
    }
}
