//! Events: date windows of the export endpoint.

mod direct;
mod filters;
mod window;
mod windows;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mixflow_core::config::Invalid;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::Calendar;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, Fate, Outline, Plan, Session, SourceInfo, Unit,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::filters::Filters;
use self::window::EventWindow;
use self::windows::{Window, windows, zone};
use crate::decode::Form;
use crate::http::checkpoint::Checkpoints;
use crate::http::client::{Client, Request};
use crate::http::endpoint::Service;
use crate::http::quota::Limits;
use crate::http::room::Room;
use crate::options::EventsOptions;
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
    windows: Vec<Window>,
    zone: Option<TimeZone>,
    calendar: Calendar,
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
        let windows = windows(&options, zone.as_ref(), cx, &mut invalid);
        let filters = Filters::new(&options, windows.len(), &mut invalid);
        let calendar = Calendar {
            zone: zone.clone().unwrap_or(TimeZone::UTC),
            lookback: options.lookback.map_or(0, |days| days.0),
            start: None,
        };
        let limit = options.limit;
        let in_ms = options.time_in_ms.unwrap_or(false);
        let options = options.project();
        let project = Project::new(options, &EXPORT, zone.clone(), cx, &mut invalid);
        let (Some(project), true) = (project, invalid.is_empty()) else {
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
            windows,
            zone,
            calendar,
            limit,
            query: filters.query,
        };
        Ok((project, events))
    }

    /// Returns the windows, as units.
    pub(crate) fn units(&self) -> Vec<Unit> {
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
        self.windows.iter().map(unit).collect()
    }

    /// Returns a day that nowhere in the project's zone is later than today.
    ///
    /// Without a zone the project may be in any, and in the last of them it
    /// is twelve hours before UTC.
    fn today(&self) -> Date {
        let now = mixflow_core::clock::now();
        match &self.zone {
            Some(zone) => now.to_zoned(zone.clone()).date(),
            None => now.to_zoned(TimeZone::fixed(jiff::tz::offset(-12))).date(),
        }
    }

    fn quota_warning(&self, project: &Project) -> Option<String> {
        let (requests, hourly) = (self.windows.len(), project.per_hour() as usize);
        (requests * 5 >= hourly * 4).then(|| {
            format!(
                "{requests} requests are {} % of the {hourly} that Mixpanel allows in an hour; a larger `window_days` makes fewer",
                requests * 100 / hourly
            )
        })
    }
}

impl Stream for Events {
    fn form(&self) -> &Form {
        &self.form
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            dataset: self.dataset.clone(),
            from_date: self.windows.first().map(|window| window.first),
            to_date: self.windows.last().map(|window| window.last),
            partitions_are_days: true,
            calendar: Some(self.calendar.clone()),
            limit: self.limit.and_then(|limit| u64::try_from(limit).ok()),
            roles: Some(schema::ROLES),
            ..SourceInfo::default()
        }
    }

    fn accepts_short(&self) -> bool {
        false
    }

    fn outline(&self, project: &Project) -> Outline {
        Outline {
            units: self.units(),
            requests: Some(self.windows.len() as u64),
            requests_per_hour: Some(project.per_hour()),
            used_in_last_hour: Some(project.quota().used()),
            max_workers: project.max_workers(),
            notes: self.quota_warning(project).into_iter().collect(),
        }
    }

    fn session(&self, project: &Project, client: Client, cx: &RunContext) -> Box<dyn Session> {
        Box::new(EventsSession {
            client,
            checkpoints: project.checkpoints(),
            room: Room::new(&cx.cancel),
            plan: Plan {
                units: self.units(),
                max_workers: project.max_workers(),
                ordered: false,
                expected_rows: None,
                requests: self.windows.len() as u64,
                warnings: self.quota_warning(project).into_iter().collect(),
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
