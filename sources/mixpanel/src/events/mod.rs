//! Events: date windows of the export endpoint.

mod direct;
mod filters;
mod wanted;
mod window;
mod windows;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::clock;
use mixflow_core::config::Invalid;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::{Calendar, Held, Ledger};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, Fate, Outline, Plan, Session, SourceInfo, Unit,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::filters::Filters;
use self::wanted::Wanted;
use self::window::EventWindow;
use self::windows::{Window, WindowSize, zone};
use crate::decode::Form;
use crate::http::checkpoint::Checkpoints;
use crate::http::client::{Client, Request};
use crate::http::endpoint::Service;
use crate::http::quota::Limits;
use crate::http::room::Room;
use crate::options::EventsOptions;
use crate::probe::Question;
use crate::project::Project;
use crate::schema;
use crate::stream::Stream;
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
    wanted: Wanted,
    size: WindowSize,
    zone: Option<TimeZone>,
    limit: Option<i64>,
    query: Vec<(&'static str, String)>,
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
        let (Some(project), Some(wanted), true) = (project, wanted, invalid.is_empty()) else {
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
            wanted,
            size,
            zone,
            limit,
            query: filters.query,
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
        let unit = |window: &Window| {
            let request = json!(Days {
                from_date: window.first,
                to_date: window.last,
                limit: self.limit,
            });
            let extent = window.extent(self.zone.as_ref());
            Unit::new(&dataset, extent, window.to_string(), request)
        };
        windows.iter().map(unit).collect()
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

    fn session(&self, project: &Project, client: Client, cx: &RunContext) -> Box<dyn Session> {
        let windows = self.windows(&cx.held);
        Box::new(EventsSession {
            client,
            checkpoints: project.checkpoints(),
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
            events: self.clone(),
        })
    }
}

/// What tells a window from the others of its dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Days {
    from_date: Date,
    to_date: Date,
    /// The most events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
}

/// The events of one run.
struct EventsSession {
    events: Events,
    client: Client,
    /// Where bodies are until their run has committed.
    checkpoints: Option<Checkpoints>,
    /// For long lines.
    room: Room,
    plan: Plan,
    today: Date,
}

impl EventsSession {
    fn request(&self, days: Days) -> Request {
        let mut query = vec![
            ("from_date", days.from_date.to_string()),
            ("to_date", days.to_date.to_string()),
        ];
        query.extend(self.events.query.iter().cloned());
        Request {
            query,
            form: None,
            counts: true,
        }
    }
}

impl Session for EventsSession {
    fn plan(&self) -> Result<Plan> {
        Ok(self.plan.clone())
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let days = Days::deserialize(&unit.request).map_err(|error| not_a_window(unit, error))?;
        let request = self.request(days);
        let checkpoints = self.checkpoints.as_ref();
        // A day that is not over will be another one next time.
        let to_keep = checkpoints.filter(|_| days.to_date < self.today);
        let checkpoint = to_keep.map(|all| all.at(&self.client.identity(&request)));
        let window = EventWindow {
            label: &unit.label,
            request,
            client: &self.client,
            form: &self.events.form,
            spool: checkpoints.map(Checkpoints::folder),
            room: &self.room,
            checkpoint,
        };
        window.read(cx)
    }

    fn finish(&self, fate: Fate) {
        if fate != Fate::Unfinished
            && let Some(checkpoints) = &self.checkpoints
        {
            checkpoints.release();
        }
    }
}

fn not_a_window(unit: &Unit, error: serde_json::Error) -> Error {
    let message = format!("`{}` is not a window of events", unit.label);
    Error::new(ErrorKind::Other, message).with_source(error)
}
