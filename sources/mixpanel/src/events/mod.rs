//! Events: date windows of the export endpoint.

mod ahead;
mod asking;
mod blocks;
mod direct;
mod filters;
#[cfg(test)]
mod given;
mod parallel;
mod part;
mod parts;
mod raw_rows;
mod read;
mod reading;
mod replay;
mod rows;
mod taken;
mod wanted;
mod window;
mod windows;

use std::sync::atomic::AtomicBool;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::clock;
use mixflow_core::config::Invalid;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::Result;
use mixflow_core::ledger::{Calendar, DayRecord, DayState, Held, Ledger};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, Fate, Outline, Plan, Session, SourceInfo, Unit,
};
use mixflow_source_archive::Archive;

use self::filters::Filters;
use self::read::read;
use self::reading::Reading;
use self::replay::{Asked, ReplaySession};
use self::wanted::Wanted;
use self::window::EventWindow;
use self::windows::{Window, WindowSize, zone};
use crate::decode::{Decoder, Form};
use crate::http::checkpoint::Checkpoints;
use crate::http::client::{Client, Request};
use crate::http::endpoint::Service;
use crate::http::quota::Limits;
use crate::http::room::Room;
use crate::keeper::Keeper;
use crate::options::EventsOptions;
use crate::project::Project;
use crate::schema;
use crate::stream::{Question, Stream};
use crate::time::EventClock;

/// The raw export.
static EXPORT: Service = Service {
    name: "export",
    data: "events",
    path: "/api/2.0/export",
    hosts: [
        "data.mixpanel.com",
        "data-eu.mixpanel.com",
        "data-in.mixpanel.com",
    ],
    limits: Limits::EXPORT,
};

/// The events of a project.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    dataset: Dataset,
    form: Form,
    reading: Reading,
    wanted: Wanted,
    size: WindowSize,
    zone: Option<TimeZone>,
    limit: Option<i64>,
    query: Vec<(&'static str, String)>,
    /// Those of `query` that name events.
    names: Vec<String>,
}

impl Events {
    /// Checks the options; fails with all that is wrong with them.
    pub(crate) fn new(
        options: EventsOptions,
        cx: &BuildContext,
    ) -> Result<(Project, Events), Vec<Invalid>> {
        let mut invalid = Vec::new();
        let zone = zone(options.timezone.as_deref(), &mut invalid);
        let calendar = Calendar {
            zone: zone.clone().unwrap_or(TimeZone::UTC),
            lookback: options.lookback.map_or(0, |days| days.0),
            start: None,
            catches_up: false,
        };
        let wanted = Wanted::new(&options, calendar, cx, &mut invalid);
        let size = WindowSize::new(&options);
        let windows = wanted.as_ref().map_or(0, |wanted| {
            let all: Vec<Date> = wanted.days(&Held::default()).into_iter().collect();
            size.split(&all, &Ledger::default()).len()
        });
        let filters = Filters::new(&options, windows, &mut invalid);
        let limit = options.limit;
        let in_ms = options.time_in_ms.unwrap_or(false);
        let options = options.project();
        let project = Project::new(options, &EXPORT, zone.clone(), cx, &mut invalid);
        let (Some(wanted), true) = (wanted, invalid.is_empty()) else {
            return Err(invalid);
        };
        let form = match cx.records {
            RecordFormat::Raw => Form::Raw,
            RecordFormat::Normalized => Form::Events(EventClock {
                in_ms,
                zone: zone.clone(),
            }),
        };
        let events = Events {
            dataset: project.dataset(DataKind::Events, filters.chosen),
            form,
            reading: Reading { time_in_ms: in_ms },
            wanted,
            size,
            zone,
            limit,
            query: filters.query,
            names: filters.names,
        };
        Ok((project, events))
    }

    /// Returns the windows to fetch for a destination that holds `held`.
    fn windows(&self, held: &Held) -> Vec<Window> {
        let days: Vec<Date> = self.wanted.days(held).into_iter().collect();
        self.size.split(&days, &held.ledger)
    }

    /// Returns what is to be fetched for a destination that holds `held`.
    #[cfg(test)]
    pub(crate) fn planned(&self, held: &Held) -> Vec<Unit> {
        self.units(&self.windows(held))
    }

    /// Returns windows as units.
    fn units(&self, windows: &[Window]) -> Vec<Unit> {
        let dataset = self.dataset.key();
        let zone = self.zone.as_ref();
        let windows = windows.iter();
        windows
            .map(|window| window.unit(&dataset, zone, self.limit))
            .collect()
    }

    /// Returns a day that nowhere in the project's zone is later than today.
    ///
    /// Without a zone the project may be in any, and in the last of them it
    /// is twelve hours before UTC.
    fn today(&self) -> Date {
        let now = clock::now();
        match &self.zone {
            Some(zone) => now.to_zoned(zone.clone()).date(),
            None => now.to_zoned(TimeZone::fixed(jiff::tz::offset(-12))).date(),
        }
    }

    /// Returns the smallest request of a day, with the filters of all.
    fn question(&self, day: Date) -> Question {
        let mut query = vec![("from_date", day.to_string()), ("to_date", day.to_string())];
        let filters = self.query.iter().filter(|(key, _)| *key != "limit");
        query.extend(filters.cloned());
        query.push(("limit", "1".to_owned()));
        Question {
            request: Request {
                query,
                form: None,
                counts: true,
            },
            label: day.to_string(),
            day: Some(day),
        }
    }

    /// Warns of what a person might want to change before the windows are
    /// fetched.
    fn warnings(&self, windows: &[Window], project: &Project) -> Vec<String> {
        let (requests, hourly) = (windows.len(), project.per_hour() as usize);
        let quota = (requests * 5 >= hourly * 4).then(|| {
            format!(
                "{requests} requests are {} % of the {hourly} that Mixpanel allows in an hour; a larger `window_days` makes fewer",
                requests * 100 / hourly
            )
        });
        let first = windows.first().map(|window| &window.first);
        let age = self.wanted.warning_of_age(first, clock::now());
        quota.into_iter().chain(age).collect()
    }
}

impl Stream for Events {
    fn form(&self) -> &Form {
        &self.form
    }

    fn info(&self) -> SourceInfo {
        let (from, to) = self.wanted.range();
        SourceInfo {
            dataset: self.dataset.clone(),
            from_date: Some(from),
            to_date: Some(to),
            partitions_are_days: true,
            calendar: Some(self.wanted.calendar.clone()),
            limit: self.limit.and_then(|limit| u64::try_from(limit).ok()),
            roles: Some(schema::ROLES),
            ..SourceInfo::default()
        }
    }

    fn accepts_short(&self) -> bool {
        false
    }

    fn outline(&self, project: &Project, held: &Held) -> Outline {
        let windows = self.windows(held);
        Outline {
            units: self.units(&windows),
            requests: Some(windows.len() as u64),
            requests_per_hour: Some(project.per_hour()),
            used_in_last_hour: Some(project.quota().used()),
            max_workers: project.max_workers(),
            notes: self.warnings(&windows, project),
        }
    }

    /// Today, as far as is known; then the last day that is wanted and over.
    fn questions(&self) -> Vec<Question> {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let today = mixflow_core::clock::now().to_zoned(zone).date();
        let (_, last) = self.wanted.range();
        let over = today
            .yesterday()
            .map_or(last, |yesterday| last.min(yesterday));
        [today, over].map(|day| self.question(day)).into()
    }

    fn replay(&self, archive: &Archive, what: &str, cx: &RunContext) -> Result<Box<dyn Session>> {
        let (first, last) = self.wanted.range();
        let asked = Asked {
            dataset: self.dataset.clone(),
            days: Window { first, last },
            zone: self.zone.clone(),
            limit: self.limit,
            form: self.form.clone(),
        };
        Ok(Box::new(ReplaySession::open(asked, archive, what, cx)?))
    }

    fn session(&self, project: &Project, client: Client, cx: &RunContext) -> Box<dyn Session> {
        let windows = self.windows(&cx.held);
        Box::new(EventsSession {
            client,
            checkpoints: project.checkpoints(),
            keeper: project.keeper(&self.dataset),
            room: Room::new(&cx.cancel),
            plan: Plan {
                units: self.units(&windows),
                max_workers: project.max_workers(),
                ordered: false,
                expected_rows: None,
                requests: windows.len() as u64,
                warnings: self.warnings(&windows, project),
            },
            today: self.today(),
            knows_days: cx.held.ledger.days().any(has_rows),
            was_too_large: AtomicBool::new(false),
            events: self.clone(),
        })
    }
}

/// Returns whether a day has come whole, and something with it.
fn has_rows(day: &DayRecord) -> bool {
    day.state == DayState::Complete
}

/// The events of one run.
struct EventsSession {
    events: Events,
    client: Client,
    /// Where bodies are until their run has committed.
    checkpoints: Option<Checkpoints>,
    /// Where they are for good.
    keeper: Option<Keeper>,
    /// For long lines.
    room: Room,
    plan: Plan,
    today: Date,
    /// Whether the destination has days that have come whole.
    knows_days: bool,
    /// Whether a window was too large for one answer, which the others are then
    /// likely to be.
    was_too_large: AtomicBool,
}

impl Session for EventsSession {
    fn plan(&self) -> Result<Plan> {
        Ok(self.plan.clone())
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let days = Window::of(unit)?;
        let checkpoints = self.checkpoints.as_ref();
        let window = EventWindow {
            unit,
            days,
            decoder: Decoder::new(self.events.form.clone()).with_stand_ins(cx.stand_ins()),
            reading: self.events.reading,
            query: &self.events.query,
            names: &self.events.names,
            is_limited: self.events.limit.is_some(),
            knows_days: self.knows_days,
            was_too_large: &self.was_too_large,
            client: &self.client,
            spool: checkpoints.map(Checkpoints::folder),
            room: &self.room,
            // A day that is not over will be another one next time.
            checkpoints: checkpoints.filter(|_| days.last < self.today),
            keeper: self.keeper.as_ref(),
        };
        read(window, cx)
    }

    fn finish(&self, fate: Fate) {
        if let Some(keeper) = &self.keeper {
            keeper.finish(fate);
        }
        if fate != Fate::Unfinished
            && let Some(checkpoints) = &self.checkpoints
        {
            checkpoints.release();
        }
    }
}
