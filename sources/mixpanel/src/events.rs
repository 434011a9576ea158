//! `mixpanel_events`: date windows of the export endpoint.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};
use mixflow_core::config::{Env, Invalid};
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, DayRange, Extent, Fate, Outline, Plan, Session, Source,
    SourceInfo, Unit,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decode::Form;
use crate::http::checkpoint::Checkpoints;
use crate::http::client::{Client, Request};
use crate::http::quota::{Limits, Quota, Shared};
use crate::http::retry::RetryOptions;
use crate::http::room::Room;
use crate::options::{
    Auth, Endpoint, EndpointKind, EventsOptions, MAX_REJECTS, WindowDays, check_limits,
};
use crate::schema;
use crate::time::{EventClock, midnight_us};
use crate::window::EventWindow;

/// Events of a project, by date window.
#[derive(Debug)]
pub struct EventsSource {
    endpoint: Endpoint,
    auth: Auth,
    env: Env,
    form: Form,
    windows: Vec<Window>,
    zone: Option<TimeZone>,
    query: Vec<(&'static str, String)>,
    filters: serde_json::Map<String, Value>,
    retry: RetryOptions,
    limits: Limits,
    max_rejects: u64,
    state: Option<PathBuf>,
    warnings: Vec<String>,
}

/// A range of days, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    first: Date,
    last: Date,
}

impl EventsSource {
    /// Checks the options. Makes no I/O; relative dates are read as of `cx.now`.
    pub fn new(options: EventsOptions, cx: &BuildContext) -> Result<EventsSource, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut warnings = Vec::new();
        let zone = zone(options.timezone.as_deref(), &mut invalid);
        let windows = windows(&options, zone.as_ref(), cx, &mut invalid);
        let (query, filters) = filters(&options, windows.len(), &mut invalid);
        check_limits(&options.retry, options.limits, &mut invalid);
        let auth = Auth::new(
            options.auth,
            options.project_id.is_some(),
            cx,
            &mut invalid,
            &mut warnings,
        );
        let mut endpoint = Endpoint::new(
            EndpointKind::Export,
            options.region.unwrap_or_default(),
            options.base_url,
            options.project_id,
            &mut invalid,
        );
        endpoint.zone = zone.clone();
        let (Some(auth), true) = (auth, invalid.is_empty()) else {
            return Err(invalid);
        };
        let form = match cx.records {
            RecordFormat::Raw => Form::Raw,
            RecordFormat::Normalized => Form::Events(EventClock {
                in_ms: options.time_in_ms.unwrap_or(false),
                zone: zone.clone(),
            }),
        };
        Ok(EventsSource {
            endpoint,
            auth,
            env: cx.env.clone(),
            form,
            windows,
            zone,
            query,
            filters,
            retry: options.retry,
            limits: Limits::EXPORT.with(options.limits),
            max_rejects: options.max_rejects.unwrap_or(MAX_REJECTS),
            state: cx.state.clone(),
            warnings,
        })
    }

    fn units(&self) -> Vec<Unit> {
        let dataset = self.dataset();
        let unit = |window: &Window| {
            let request = json!(Days {
                from_date: window.first,
                to_date: window.last,
            });
            let extent = window.extent(self.zone.as_ref());
            Unit::new(&dataset, extent, window.to_string(), request)
        };
        self.windows.iter().map(unit).collect()
    }

    fn dataset(&self) -> Dataset {
        let zone = self.zone.as_ref().and_then(TimeZone::iana_name);
        Dataset {
            project: self.endpoint.project_id.clone().unwrap_or_default(),
            kind: DataKind::Events,
            zone: zone.unwrap_or("UTC").to_owned(),
            filters: self.filters.clone(),
        }
    }

    /// Returns a day that nowhere in the project's zone is later than today.
    ///
    /// Without a zone the project may be in any, and in the last of them it
    /// is twelve hours before UTC.
    fn today(&self) -> Date {
        let now = Timestamp::now();
        match &self.zone {
            Some(zone) => now.to_zoned(zone.clone()).date(),
            None => now.to_zoned(TimeZone::fixed(jiff::tz::offset(-12))).date(),
        }
    }

    fn quota(&self) -> Quota {
        let shared = self.state.as_ref().map(|state| Shared {
            state: state.clone(),
            endpoint: self.endpoint.quota_name(),
        });
        Quota::new(self.limits, shared.as_ref())
    }

    fn quota_warning(&self) -> Option<String> {
        let (requests, hourly) = (self.windows.len(), self.limits.per_hour as usize);
        (requests * 5 >= hourly * 4).then(|| {
            format!(
                "{requests} requests are {} % of the {hourly} that Mixpanel allows in an hour; a larger `window_days` makes fewer",
                requests * 100 / hourly
            )
        })
    }
}

impl Source for EventsSource {
    fn schema(&self) -> SchemaRef {
        match self.form {
            Form::Raw => schema::raw(),
            _ => schema::events(),
        }
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            dataset: self.dataset(),
            title: self.endpoint.what(),
            from_date: self.windows.first().map(|window| window.first),
            to_date: self.windows.last().map(|window| window.last),
            partitions_are_days: true,
            warnings: self.warnings.clone(),
            provenance: None,
            roles: Some(schema::ROLES),
        }
    }

    fn outline(&self) -> Outline {
        Outline {
            units: self.units(),
            requests: Some(self.windows.len() as u64),
            requests_per_hour: Some(self.limits.per_hour),
            used_in_last_hour: Some(self.quota().used()),
            max_workers: NonZeroUsize::new(self.limits.concurrent as usize),
            notes: self.quota_warning().into_iter().collect(),
        }
    }

    fn max_rejects(&self) -> u64 {
        self.max_rejects
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>> {
        let credentials = self.auth.resolve(&self.env, &cx.cancel)?;
        let client = Client::new(
            self.endpoint.clone(),
            &credentials,
            self.retry.clone(),
            self.quota(),
            &self.env,
            &cx.cancel,
        )?;
        // Without the folder the system's temporary one serves.
        let checkpoints = self.state.as_ref().and_then(|state| {
            Checkpoints::open(state)
                .inspect_err(|error| log::warn!("cannot keep what is fetched: {error}"))
                .ok()
        });
        Ok(Box::new(EventsSession {
            client,
            form: self.form.clone(),
            query: self.query.clone(),
            plan: Plan {
                units: self.units(),
                max_workers: NonZeroUsize::new(self.limits.concurrent as usize),
                ordered: false,
                expected_rows: None,
                requests: self.windows.len() as u64,
                warnings: self.quota_warning().into_iter().collect(),
            },
            spool: checkpoints.as_ref().map(Checkpoints::folder),
            checkpoints,
            room: Room::new(&cx.cancel),
            today: self.today(),
        }))
    }
}

/// What tells a window from the others of its dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Days {
    from_date: Date,
    to_date: Date,
}

/// The events of one run.
struct EventsSession {
    client: Client,
    form: Form,
    query: Vec<(&'static str, String)>,
    plan: Plan,
    spool: Option<PathBuf>,
    checkpoints: Option<Checkpoints>,
    room: Room,
    today: Date,
}

impl EventsSession {
    fn request(&self, days: Days) -> Request {
        let mut query = vec![
            ("from_date", days.from_date.to_string()),
            ("to_date", days.to_date.to_string()),
        ];
        query.extend(self.query.iter().cloned());
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
        // A day that is not over will be another one next time.
        let checkpoints = self.checkpoints.as_ref();
        let checkpoint = checkpoints
            .filter(|_| days.to_date < self.today)
            .map(|checkpoints| checkpoints.at(&self.client.identity(&request)));
        let window = EventWindow {
            label: &unit.label,
            request,
            client: &self.client,
            form: &self.form,
            spool: self.spool.as_deref(),
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

impl Window {
    fn extent(self, zone: Option<&TimeZone>) -> Extent {
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
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}..{}", self.first, self.last),
        }
    }
}

fn zone(name: Option<&str>, invalid: &mut Vec<Invalid>) -> Option<TimeZone> {
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

/// Splits the days asked for into windows.
fn windows(
    options: &EventsOptions,
    zone: Option<&TimeZone>,
    cx: &BuildContext,
    invalid: &mut Vec<Invalid>,
) -> Vec<Window> {
    let utc = TimeZone::UTC;
    let zone = zone.unwrap_or(&utc);
    let mut day = |key: &str, spec: Option<mixflow_core::config::DateSpec>| {
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
    let (Some(from), Some(to)) = (from, to) else {
        return Vec::new();
    };
    if from > to {
        invalid.push(Invalid::new("from", format!("{from} is after `to`, {to}")));
        return Vec::new();
    }
    let lookback = options.lookback.map_or(0, |days| days.0);
    let from = from.saturating_sub(Span::new().days(i64::from(lookback)));
    let span = (to - from).get_days() as u32 + 1;
    let size = match options.window_days {
        Some(WindowDays::Days(days)) => days,
        _ if options.limit.is_some() => span,
        // Days while they take at most half of an hour's quota.
        _ => span.div_ceil(
            Limits::EXPORT
                .with(options.limits)
                .per_hour
                .div_ceil(2)
                .max(1),
        ),
    };
    let mut windows = Vec::new();
    let mut first = from;
    while first <= to {
        let last = first
            .saturating_add(Span::new().days(i64::from(size - 1)))
            .min(to);
        windows.push(Window { first, last });
        match last.tomorrow() {
            Ok(next) => first = next,
            Err(_) => break,
        }
    }
    windows
}

/// Turns the filters into parameters and into what the metadata shows.
fn filters(
    options: &EventsOptions,
    windows: usize,
    invalid: &mut Vec<Invalid>,
) -> (Vec<(&'static str, String)>, serde_json::Map<String, Value>) {
    let mut query = Vec::new();
    let mut filters = serde_json::Map::new();
    if let Some(events) = &options.events {
        if events.is_empty() {
            invalid.push(Invalid::new(
                "events",
                "this names no event; leave it out to get all of them",
            ));
        }
        query.push(("event", json!(events).to_string()));
        filters.insert("events".to_owned(), json!(events));
    }
    if let Some(expression) = &options.where_ {
        if expression.trim().is_empty() {
            invalid.push(Invalid::new("where", "this is empty; leave it out instead"));
        }
        query.push(("where", expression.clone()));
        filters.insert("where".to_owned(), json!(expression));
    }
    if let Some(limit) = options.limit {
        if !(1..=100_000).contains(&limit) {
            invalid.push(Invalid::new("limit", "a limit is from 1 to 100000"));
        }
        if windows > 1 {
            invalid.push(Invalid::new(
                "limit",
                format!("this needs one window, and there are {windows}: leave `window_days` out"),
            ));
        }
        query.push(("limit", limit.to_string()));
        filters.insert("limit".to_owned(), json!(limit));
    }
    if options.time_in_ms == Some(true) {
        query.push(("time_in_ms", "true".to_owned()));
    }
    (query, filters)
}
